// Delivers received messages to the application. Invariants: each stored message is delivered once, and in
// seq order within its conversation. A position is written after the handlers have finished, and acknowledged
// after it is written. A conversation with slow handlers does not delay the others. When the gateway was
// rolled back and has another history, the position of this device is dropped. Two things show that: the
// position is beyond the gateway's head, or a message has a seq that was received before but a newer mid
// (mids ascend).

import { DeliveryQueue, type Item } from './core/delivery-queue.js';
import { backoff, type Pace } from './core/backoff.js';
import { isTemporary, MynahError } from './errors.js';
import type { Clock } from './host.js';
import type { Connection } from './connection.js';
import type { ConversationList } from './conversation-list.js';
import type { SavedState } from './saved-state.js';
import type { Message, RegisterResponse } from './protocol.js';
import { ConcurrencyLimit } from './concurrency-limit.js';

export interface InboundHooks {
  /** Delivers a message to the application. Resolves when its handlers have finished. */
  deliver(message: Message): Promise<void>;
  /** Whether this device has sent the message. If so, this also resolves the promise of that send. */
  isOwn(message: Message): boolean;
  /** All messages of `conv` up to `seq` were handled, and the position was written. */
  finished(conv: string, seq: number): void;
  /**
   * The gateway has another history of `conv` than this device, under the same epoch. The position was
   * dropped.
   */
  replaced(conv: string): void;
  /** Messages are missing that can only be replayed: registers again on this connection, with `resume`. */
  resume(): void;
  error(error: MynahError): void;
}

export interface InboundPace {
  readonly retry: Pace;
  /** Messages that seem to be missing are fetched after this time, because they may still be in flight. */
  readonly gapMs: number;
  /** The number of messages that one request fetches. */
  readonly page: number;
}

/** The state of one conversation. */
interface ConversationState {
  readonly conv: string;
  readonly queue: DeliveryQueue<Message>;
  /**
   * The last seq whose handlers have finished and whose position is written, or the seq at which delivery
   * began.
   */
  written: number;
  /** The gateway's cursor of this device; undefined if the gateway has not sent it. */
  cursor: number | undefined;
  /** The head in the answer to the register; undefined if the answer did not name this conversation. */
  head: number | undefined;
  /** The message with the lowest seq that was pushed or sent on this run. */
  lowest: Known | undefined;
  /** The message with the highest seq that was pushed or sent, or else the one at the saved position. */
  newest: Known | undefined;
  /** The saved position belongs to another history. */
  isReplaced: boolean;
  isFindingStart: boolean;
  isDelivering: boolean;
  isFetching: boolean;
  attempts: number;
  /** A message was dropped since the last replay, because the queue was full. */
  isMissing: boolean;
  /**
   * The seq up to which messages were delivered when the last additional replay was requested; undefined if
   * that never happened.
   */
  resumedAt: number | undefined;
}

/** A message that is known to exist. */
interface Known {
  readonly seq: number;
  readonly mid: string;
}

/**
 * Whether `message` belongs to another history than `earlier`: its mid is newer, but its seq is not higher.
 */
function contradicts(message: Known, earlier: Known | undefined): boolean {
  return earlier !== undefined && message.seq <= earlier.seq && message.mid > earlier.mid;
}

/** How many fetches of missing messages run at the same time. */
const CONCURRENT_FETCHES = 4;

export class Inbound {
  readonly #fetchLimit = new ConcurrencyLimit(CONCURRENT_FETCHES);
  #states = new Map<string, ConversationState>();
  #epoch = '';
  /** True from the answer to a register until the end of the replay. */
  #replaying = false;
  /** The last replay had all messages that this device had not acknowledged. */
  #complete = true;
  /** The answer to the register named every conversation in which this device is behind. */
  #listed = false;
  #stopped = false;

  constructor(
    readonly connection: Connection,
    readonly savedState: SavedState,
    readonly conversationList: ConversationList,
    readonly clock: Clock,
    readonly pace: InboundPace,
    readonly hooks: InboundHooks,
  ) {}

  /** A connection was registered, and its replay begins. */
  registered({ epoch, conversations, more }: RegisterResponse): void {
    if (epoch !== this.#epoch) this.#states = new Map();
    this.#epoch = epoch;
    this.#replaying = conversations !== undefined;
    this.#listed = !more;
    if (this.#replaying) for (const state of this.#states.values()) state.isMissing = false;
    for (const { conv, head, cursor } of conversations ?? []) {
      // No push came between this answer and now, so this device cannot have more than the head.
      if ((this.#states.get(conv)?.queue.taken ?? 0) > head) this.#replace(conv);
      this.#state(conv).head = head;
      this.learn(conv, head, cursor);
    }
  }

  /**
   * The gateway's head is below the position of this device: starts the conversation again at the gateway's
   * cursor.
   */
  positionLost(conv: string): void {
    this.#replace(conv);
    this.#advance(this.#state(conv));
  }

  /** Drops the state of a conversation of which the gateway has another history. */
  #replace(conv: string): void {
    this.#states.delete(conv);
    this.#state(conv).isReplaced = true;
    this.hooks.replaced(conv);
  }

  /** Takes over the head of a conversation and the cursor of this device from the gateway. */
  learn(conv: string, head: number, cursor: number): void {
    const state = this.#state(conv);
    state.cursor = cursor;
    state.queue.note(head);
    if (state.written > cursor) this.hooks.finished(conv, state.written);
    this.#advance(state);
  }

  /** The replay has ended; `complete` says whether it had all messages. Fetches the missing ones. */
  resumed(complete: boolean): void {
    this.#replaying = false;
    this.#complete = complete;
    for (const state of this.#states.values()) this.#advance(state);
  }

  /** A stored message was received. */
  push(message: Message): void {
    const state = this.#known(message.conv, message);
    if (!state.queue.see(message.seq, this.hooks.isOwn(message) ? undefined : message)) state.isMissing = true;
    this.#advance(state);
  }

  /** The gateway has stored a message of this device, with this seq. */
  sent(conv: string, seq: number, mid: string): void {
    const state = this.#known(conv, { seq, mid });
    state.queue.see(seq, undefined);
    this.#advance(state);
  }

  /**
   * The position in a conversation: `finished` is handled and written, `taken` is delivered. Undefined before
   * the start of the delivery.
   */
  position(conv: string): { finished: number; taken: number; head: number } | undefined {
    const state = this.#states.get(conv);
    return state?.queue.isBegun ? { finished: state.written, taken: state.queue.taken, head: state.queue.head } : undefined;
  }

  #state(conv: string): ConversationState {
    let state = this.#states.get(conv);
    if (!state) {
      state = { conv, queue: new DeliveryQueue(), written: 0, cursor: undefined, head: undefined, lowest: undefined, newest: undefined, isReplaced: false, isFindingStart: false, isDelivering: false, isFetching: false, attempts: 0, isMissing: false, resumedAt: undefined };
      this.#states.set(conv, state);
    }
    return state;
  }

  /** The state of the conversation of a message that was just received or sent. */
  #known(conv: string, message: Known): ConversationState {
    if (contradicts(message, this.#states.get(conv)?.newest)) this.#replace(conv);
    const state = this.#state(conv);
    if (!state.lowest || message.seq < state.lowest.seq) state.lowest = message;
    if (!state.newest || message.seq > state.newest.seq) state.newest = message;
    return state;
  }

  /** The saved position, if it belongs to the gateway's history. */
  async #savedPosition(state: ConversationState): Promise<number | undefined> {
    const saved = await this.savedState.position(state.conv, this.#epoch);
    if (!saved || state.isReplaced || !this.#isCurrent(state)) return undefined;
    const { seq, mid } = saved;
    const known = mid === undefined ? undefined : { seq, mid };
    if (seq > (state.head ?? Infinity) || (state.lowest && contradicts(state.lowest, known))) {
      state.isReplaced = true;
      this.hooks.replaced(state.conv);
      return undefined;
    }
    if (known && seq > (state.newest?.seq ?? 0)) state.newest = known;
    return seq;
  }

  #isCurrent(state: ConversationState): boolean {
    return this.#states.get(state.conv) === state;
  }

  /** Takes the next step in a conversation: finds the start, or delivers and fetches. */
  #advance(state: ConversationState): void {
    if (!state.queue.isBegun) void this.#begin(state);
    else {
      void this.#deliver(state);
      this.#fetchSoon(state);
    }
  }

  /**
   * Finds the start of the delivery: the saved position, else the gateway's cursor, else the first received
   * message.
   */
  async #begin(state: ConversationState): Promise<void> {
    if (state.isFindingStart) return;
    state.isFindingStart = true;
    const saved = await this.#savedPosition(state);
    const start = saved ?? (await this.#start(state).catch(() => undefined));
    state.isFindingStart = false;
    if (!this.#isCurrent(state)) return;
    if (start === undefined) return this.#beginLater(state);
    state.attempts = 0;
    state.queue.begin(start);
    state.written = start;
    if (state.cursor !== undefined && start > state.cursor) this.hooks.finished(state.conv, start);
    this.#advance(state);
  }

  async #start(state: ConversationState): Promise<number> {
    const pushed = (): number => {
      const { lowest } = state.queue;
      return lowest && !lowest.own ? lowest.seq - 1 : Infinity;
    };
    if (state.cursor !== undefined) return Math.min(state.cursor, pushed());
    // The gateway pushes a conversation from the cursor of this device. If the answer to the register named
    // every conversation in which this device is behind, the first pushed message is therefore the next one.
    const { lowest } = state.queue;
    if (lowest && (lowest.seq === 1 || (!lowest.own && this.#listed))) return lowest.seq - 1;
    const row = await this.conversationList.find(state.conv);
    return row ? Math.min(row.cursor, pushed()) : (state.queue.lowest?.seq ?? 1) - 1;
  }

  /** The request for the cursor failed: repeats it after a wait, or on the next connection. */
  #beginLater(state: ConversationState): void {
    const wait = backoff(++state.attempts, this.pace.retry, this.clock.random());
    this.clock.later(wait, () => {
      if (this.#isCurrent(state) && this.connection.isOnline && !state.queue.isBegun) void this.#begin(state);
    });
  }

  async #deliver(state: ConversationState): Promise<void> {
    if (state.isDelivering) return;
    state.isDelivering = true;
    while (!this.#stopped && this.#isCurrent(state)) {
      const item = state.queue.next();
      if (!item) break;
      if (item.message) await this.hooks.deliver(item.message);
      if (!this.#isCurrent(state)) break;
      if (!(await this.savedState.setPosition(state.conv, item.seq, this.#epoch, this.#midOf(state, item))) || !this.#isCurrent(state)) continue;
      state.written = item.seq;
      this.hooks.finished(state.conv, item.seq);
    }
    state.isDelivering = false;
    this.#fetchSoon(state);
  }

  #midOf({ newest }: ConversationState, { seq, message }: Item<Message>): string | undefined {
    return message?.mid ?? (newest?.seq === seq ? newest.mid : undefined);
  }

  #fetchSoon(state: ConversationState): void {
    if (!this.#mayFetch(state)) return;
    state.isFetching = true;
    const wait = state.attempts > 0 ? backoff(state.attempts, this.pace.retry, this.clock.random()) : this.pace.gapMs;
    this.clock.later(wait, () => {
      state.isFetching = false;
      if (!this.#mayFetch(state)) return;
      state.isFetching = true;
      void this.#fetchLimit.run(() => this.#fetch(state));
    });
  }

  #mayFetch(state: ConversationState): boolean {
    return this.#isCurrent(state) && !state.isFetching && !this.#replaying && this.connection.isOnline && state.queue.wants() !== undefined;
  }

  async #fetch(state: ConversationState): Promise<void> {
    const after = state.queue.wants();
    if (after !== undefined) {
      try {
        const { messages, head, more } = await this.connection.request(104, { conv: state.conv, after, limit: this.pace.page });
        if (head < after && this.#isCurrent(state)) this.positionLost(state.conv);
        const items = messages.map((message): Item<Message> => ({
          seq: message.seq,
          message: this.hooks.isOwn(message) ? undefined : message,
        }));
        const last = messages[messages.length - 1];
        state.queue.fetched(items, more && last ? last.seq : head);
        state.attempts = 0;
      } catch (thrown) {
        this.#failed(state, thrown);
      }
    }
    state.isFetching = false;
    this.#advance(state);
  }

  /**
   * If the user may not read the conversation any more, only a replay has the messages from before that.
   * After other errors the fetch is repeated.
   */
  #failed(state: ConversationState, thrown: unknown): void {
    if (thrown instanceof MynahError && (thrown.code === 403 || thrown.code === 404)) {
      const mayBeReplayed = (state.isMissing || !this.#complete) && state.resumedAt !== state.queue.taken;
      if (mayBeReplayed) this.#resume(state);
      else state.queue.settle(state.queue.head);
      return;
    }
    state.attempts++;
    if (thrown instanceof MynahError && thrown.code !== 'closed' && !isTemporary(thrown)) this.hooks.error(thrown);
  }

  /** Makes the gateway replay the messages that were not acknowledged. Until then nothing is fetched. */
  #resume(state: ConversationState): void {
    state.resumedAt = state.queue.taken;
    if (this.#replaying) return;
    this.#replaying = true;
    this.hooks.resume();
  }

  /** Stops the delivery. The position of the message that is being handled is still written. */
  stop(): void {
    this.#stopped = true;
  }
}
