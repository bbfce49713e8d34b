// All sends and their results. An entry is `open` until it is `kept` (the send resolved, or the API answered
// 200), `refused` (for good, with a code), or `vanished` (the application crashed before the client had saved
// the message).

export class Ledger {
  entries = [];
  /** Results that contradict each other: {what, ...}. */
  broken = [];
  #rank = 0;

  /**
   * Adds a send. Its number `n` is part of the payload, and identifies the message whatever the server does.
   */
  begin(entry) {
    const whole = { ...entry, n: this.entries.length + 1, state: 'open', receipts: [], rank: 0 };
    whole.data = { n: whole.n, by: entry.by, ...entry.data };
    this.entries.push(whole);
    whole.rank = ++this.#rank;
    return whole;
  }

  /** A vanished message is sent again. */
  again(entry) {
    entry.state = 'open';
    entry.rank = ++this.#rank;
  }

  get(n) {
    return this.entries[n - 1];
  }

  kept(entry, receipts) {
    if (entry.state === 'refused') this.broken.push({ what: 'refused and then kept', entry });
    if (entry.receipts.length > 0 && entry.receipts.some(({ mid }, i) => mid !== receipts[i]?.mid)) this.broken.push({ what: 'kept twice as different messages', entry, receipts });
    entry.state = 'kept';
    entry.receipts = receipts;
  }

  refused(entry, code) {
    if (entry.state === 'kept') this.broken.push({ what: 'kept and then refused', code, entry });
    entry.state = 'refused';
    entry.code = code;
  }

  /** The entries in a state. */
  in(state) {
    return this.entries.filter((entry) => entry.state === state);
  }
}
