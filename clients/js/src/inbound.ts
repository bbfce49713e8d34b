// Messages on their way to the application. Invariants: each stored message is handed over once, in order per conversation. A
// position is written after the handlers have finished, and acknowledged after it is written. A conversation whose handlers are
// slow holds up no other. A position of another history, as a gateway has that was rolled back, is dropped: a number beyond the gateway's
// head shows it, and a message whose number is not new although its id is (ids ascend).

import { Lane, type Item } from './core/lane.js';
import { backoff, type Pace } from './core/backoff.js';
import { isTemporary, MynahError } from './errors.js';
import type { Clock } from './host.js';
import type { Link } from './link.js';
import type { Lookup } from './lookup.js';
import type { Notebook } from './notebook.js';
import type { Message, RegisterResponse } from './protocol.js';
import { Slots } from './slots.js';

export interface InboundHooks {
  /** Gives a message to the application; resolves when it has finished with it. */
  hand(message: Message): Promise<void>;
  /** Whether this device sent it. What it sent is told to whoever waits for the send. */
  isOwn(message: Message): boolean;
  /** Everything in `conv` up to `seq` is finished and written down. */
  finished(conv: string, seq: number): void;
  /** The gateway has another history of `conv` than this device, under the same epoch: its position is dropped. */
  replaced(conv: string): void;
  error(error: MynahError): void;
}

export interface InboundPace {
  readonly retry: Pace;
  /** What seems to be missing may still be on its way for so long. */
  readonly gapMs: number;
  /** Messages fetched at a time. */
  readonly page: number;
}

/** A conversation, and what is going on in it. */
interface Talk {
  readonly conv: string;
  readonly lane: Lane<Message>;
  /** Finished and written down up to here; or where it began. */
  written: number;
  /** What the gateway says that this device has; undefined when it was not told. */
  cursor: number | undefined;
  /** The head in the answer to the register; undefined when it was not told. */
  head: number | undefined;
  /** The message with the lowest number, and that with the highest, that were pushed or sent; before them what was kept. */
  lowest: Known | undefined;
  newest: Known | undefined;
  /** The kept position is of another history. */
  isReplaced: boolean;
  looking: boolean;
  handing: boolean;
  fetching: boolean;
  attempts: number;
}

/** A message that exists. */
interface Known {
  readonly seq: number;
  readonly mid: string;
}

/** Whether a message belongs to another history than one that came before: it is later, and its number is not. */
function contradicts(message: Known, earlier: Known | undefined): boolean {
  return earlier !== undefined && message.seq <= earlier.seq && message.mid > earlier.mid;
}

/** Parts of the record fetched at once. */
const ABREAST = 4;

export class Inbound {
  readonly #slots = new Slots(ABREAST);
  #talks = new Map<string, Talk>();
  #epoch = '';
  /** From the answer to a register to the end of the replay. */
  #replaying = false;
  /** The gateway told of every conversation in which this device is behind. */
  #listed = false;
  #stopped = false;

  constructor(
    readonly link: Link,
    readonly notebook: Notebook,
    readonly lookup: Lookup,
    readonly clock: Clock,
    readonly pace: InboundPace,
    readonly hooks: InboundHooks,
  ) {}

  /** A connection is registered, and its replay begins. */
  registered({ epoch, conversations, more }: RegisterResponse): void {
    if (epoch !== this.#epoch) this.#talks = new Map();
    this.#epoch = epoch;
    this.#replaying = conversations !== undefined;
    this.#listed = !more;
    for (const { conv, head, cursor } of conversations ?? []) {
      // Nothing was pushed between what this says and now: this device cannot have more than the head.
      if ((this.#talks.get(conv)?.lane.taken ?? 0) > head) this.#replace(conv);
      this.#talk(conv).head = head;
      this.learn(conv, head, cursor);
    }
  }

  /** The gateway has less of this conversation than this device: begins it anew, where the gateway says that this device is. */
  beyond(conv: string): void {
    this.#replace(conv);
    this.#go(this.#talk(conv));
  }

  /** The gateway has another history of this conversation. */
  #replace(conv: string): void {
    this.#talks.delete(conv);
    this.#talk(conv).isReplaced = true;
    this.hooks.replaced(conv);
  }

  /** The gateway says where this device is in a conversation. */
  learn(conv: string, head: number, cursor: number): void {
    const talk = this.#talk(conv);
    talk.cursor = cursor;
    talk.lane.note(head);
    if (talk.written > cursor) this.hooks.finished(conv, talk.written);
    this.#go(talk);
  }

  /** The replay is over, or there is none: what is still missing is fetched. */
  resumed(): void {
    this.#replaying = false;
    for (const talk of this.#talks.values()) this.#go(talk);
  }

  /** A stored message came. */
  push(message: Message): void {
    const talk = this.#known(message.conv, message);
    talk.lane.see(message.seq, this.hooks.isOwn(message) ? undefined : message);
    this.#go(talk);
  }

  /** This device sent a message that got this number. */
  sent(conv: string, seq: number, mid: string): void {
    const talk = this.#known(conv, { seq, mid });
    talk.lane.see(seq, undefined);
    this.#go(talk);
  }

  /** Up to where a conversation was handed over: finished and written down, or not. */
  position(conv: string): { finished: number; taken: number; head: number } | undefined {
    const talk = this.#talks.get(conv);
    return talk?.lane.isBegun ? { finished: talk.written, taken: talk.lane.taken, head: talk.lane.head } : undefined;
  }

  #talk(conv: string): Talk {
    let talk = this.#talks.get(conv);
    if (!talk) {
      talk = { conv, lane: new Lane(), written: 0, cursor: undefined, head: undefined, lowest: undefined, newest: undefined, isReplaced: false, looking: false, handing: false, fetching: false, attempts: 0 };
      this.#talks.set(conv, talk);
    }
    return talk;
  }

  /** The conversation of a message that came now. */
  #known(conv: string, message: Known): Talk {
    if (contradicts(message, this.#talks.get(conv)?.newest)) this.#replace(conv);
    const talk = this.#talk(conv);
    if (!talk.lowest || message.seq < talk.lowest.seq) talk.lowest = message;
    if (!talk.newest || message.seq > talk.newest.seq) talk.newest = message;
    return talk;
  }

  /** The position that was kept, if it is of the history that the gateway has. */
  async #kept(talk: Talk): Promise<number | undefined> {
    const kept = await this.notebook.position(talk.conv, this.#epoch);
    if (!kept || talk.isReplaced || !this.#isCurrent(talk)) return undefined;
    const { seq, mid } = kept;
    const known = mid === undefined ? undefined : { seq, mid };
    if (seq > (talk.head ?? Infinity) || (talk.lowest && contradicts(talk.lowest, known))) {
      talk.isReplaced = true;
      this.hooks.replaced(talk.conv);
      return undefined;
    }
    if (known && seq > (talk.newest?.seq ?? 0)) talk.newest = known;
    return seq;
  }

  #isCurrent(talk: Talk): boolean {
    return this.#talks.get(talk.conv) === talk;
  }

  /** Does whatever can be done next in a conversation. */
  #go(talk: Talk): void {
    if (!talk.lane.isBegun) void this.#begin(talk);
    else {
      void this.#hand(talk);
      this.#fetchSoon(talk);
    }
  }

  /** Finds out where a conversation begins for us: where we were, else where the gateway says, else at what came first. */
  async #begin(talk: Talk): Promise<void> {
    if (talk.looking) return;
    talk.looking = true;
    const kept = await this.#kept(talk);
    const start = kept ?? (await this.#start(talk).catch(() => undefined));
    talk.looking = false;
    if (!this.#isCurrent(talk)) return;
    if (start === undefined) return this.#beginLater(talk);
    talk.attempts = 0;
    talk.lane.begin(start);
    talk.written = start;
    if (talk.cursor !== undefined && start > talk.cursor) this.hooks.finished(talk.conv, start);
    this.#go(talk);
  }

  async #start(talk: Talk): Promise<number> {
    const pushed = (): number => {
      const { lowest } = talk.lane;
      return lowest && !lowest.own ? lowest.seq - 1 : Infinity;
    };
    if (talk.cursor !== undefined) return Math.min(talk.cursor, pushed());
    // The gateway pushes a conversation from where this device is, so what was pushed first is what comes first, if
    // every conversation that lies behind was named.
    const { lowest } = talk.lane;
    if (lowest && (lowest.seq === 1 || (!lowest.own && this.#listed))) return lowest.seq - 1;
    const row = await this.lookup.find(talk.conv);
    return row ? Math.min(row.cursor, pushed()) : (talk.lane.lowest?.seq ?? 1) - 1;
  }

  /** The gateway could not say where to begin: asks again, now or with the next connection. */
  #beginLater(talk: Talk): void {
    const wait = backoff(++talk.attempts, this.pace.retry, this.clock.random());
    this.clock.later(wait, () => {
      if (this.#isCurrent(talk) && this.link.isOnline && !talk.lane.isBegun) void this.#begin(talk);
    });
  }

  async #hand(talk: Talk): Promise<void> {
    if (talk.handing) return;
    talk.handing = true;
    while (!this.#stopped && this.#isCurrent(talk)) {
      const item = talk.lane.next();
      if (!item) break;
      if (item.message) await this.hooks.hand(item.message);
      if (!this.#isCurrent(talk)) break;
      if (!(await this.notebook.setPosition(talk.conv, item.seq, this.#epoch, this.#midOf(talk, item))) || !this.#isCurrent(talk)) continue;
      talk.written = item.seq;
      this.hooks.finished(talk.conv, item.seq);
    }
    talk.handing = false;
    this.#fetchSoon(talk);
  }

  #midOf({ newest }: Talk, { seq, message }: Item<Message>): string | undefined {
    return message?.mid ?? (newest?.seq === seq ? newest.mid : undefined);
  }

  #fetchSoon(talk: Talk): void {
    if (!this.#mayFetch(talk)) return;
    talk.fetching = true;
    const wait = talk.attempts > 0 ? backoff(talk.attempts, this.pace.retry, this.clock.random()) : this.pace.gapMs;
    this.clock.later(wait, () => {
      talk.fetching = false;
      if (!this.#mayFetch(talk)) return;
      talk.fetching = true;
      void this.#slots.run(() => this.#fetch(talk));
    });
  }

  #mayFetch(talk: Talk): boolean {
    return this.#isCurrent(talk) && !talk.fetching && !this.#replaying && this.link.isOnline && talk.lane.wants() !== undefined;
  }

  async #fetch(talk: Talk): Promise<void> {
    const after = talk.lane.wants();
    if (after !== undefined) {
      try {
        const { messages, head, more } = await this.link.ask(104, { conv: talk.conv, after, limit: this.pace.page });
        if (head < after && this.#isCurrent(talk)) this.beyond(talk.conv);
        const items = messages.map((message): Item<Message> => ({
          seq: message.seq,
          message: this.hooks.isOwn(message) ? undefined : message,
        }));
        const last = messages[messages.length - 1];
        talk.lane.fetched(items, more && last ? last.seq : head);
        talk.attempts = 0;
      } catch (thrown) {
        this.#failed(talk, thrown);
      }
    }
    talk.fetching = false;
    this.#go(talk);
  }

  /** A conversation that is closed to us has no more to give; anything else is asked for again. */
  #failed(talk: Talk, thrown: unknown): void {
    if (thrown instanceof MynahError && (thrown.code === 403 || thrown.code === 404)) {
      talk.lane.settle(talk.lane.head);
      return;
    }
    talk.attempts++;
    if (thrown instanceof MynahError && thrown.code !== 'closed' && !isTemporary(thrown)) this.hooks.error(thrown);
  }

  /** Hands nothing more over; what is being handed over is still written down. */
  stop(): void {
    this.#stopped = true;
  }
}
