// What was sent, by whom, and what became of it. An entry is `open` until it is `kept` (its send resolved, or the API answered 200) or
// `refused` (for good, with a code) or `vanished` (the application crashed before the client had written it down).

export class Ledger {
  entries = [];
  /** What no promise allows, noticed while it happened: {what, ...}. */
  broken = [];
  #rank = 0;

  /** `n` is in the payload: it tells the messages apart, whatever the server calls them. */
  begin(entry) {
    const whole = { ...entry, n: this.entries.length + 1, state: 'open', receipts: [], rank: 0 };
    whole.data = { n: whole.n, by: entry.by, ...entry.data };
    this.entries.push(whole);
    whole.rank = ++this.#rank;
    return whole;
  }

  /** It was asked for anew, after it had vanished. */
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

  /** Those in a state. */
  in(state) {
    return this.entries.filter((entry) => entry.state === state);
  }
}
