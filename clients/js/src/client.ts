// The client: one device of one user. Invariant: this file only connects the parts; each decision is made in
// one of them.

import { Acker } from './acker.js';
import { Outbox } from './core/outbox.js';
import { Unread } from './core/unread.js';
import { Emitter, type Handled } from './emitter.js';
import { MynahError, textOf } from './errors.js';
import type { Events } from './events.js';
import { hostFetch, randomWord, systemClock, type Clock } from './host.js';
import { Identity } from './identity.js';
import { Inbound } from './inbound.js';
import { isCounted, isStored, type AppKinds } from './kinds.js';
import { Connection, type Frame, type Status } from './connection.js';
import { ConversationList } from './conversation-list.js';
import { SavedState } from './saved-state.js';
import { DEFAULTS, type Options } from './options.js';
import { Outbound, type Delivery, type Pending, type Receipt } from './outbound.js';
import type { Conversation, Displaced, Json, Message, ReadMark, RecallResponse, RegisterResponse, Resumed } from './protocol.js';
import type { Sendable, StoredKind, SyncResponse, To, TransientEvent } from './protocol.js';
import { Reads } from './reads.js';
import { Renewal } from './renewal.js';
import { CatchUp } from './catch-up.js';
import { signOut, signOutUrl } from './signout.js';
import { makeSocket, type SocketFactory } from './socket.js';
import { memoryStorage } from './storage/adapter.js';

/** What a send of this kind resolves with. */
export type ReceiptOf<K extends number> = K extends StoredKind ? Receipt : Receipt | Delivery;

export class Client {
  readonly #url: string;
  readonly #options: Options;
  readonly #kinds: AppKinds;
  readonly #clock: Clock;
  readonly #events = new Emitter<Events>();
  readonly #unread = new Unread();
  readonly #savedState: SavedState;
  readonly #identity: Identity;
  readonly #connection: Connection;
  readonly #conversationList: ConversationList;
  readonly #acker: Acker;
  readonly #inbound: Inbound;
  readonly #outbound: Outbound;
  readonly #reads: Reads;
  readonly #catchUp: CatchUp;
  readonly #renewal: Renewal;
  readonly #ready: Promise<void>;
  #epoch: string | undefined;
  #reportedUnread = 0;

  /** Applications use `connect`. Only tests pass a `clock`. */
  constructor(io: SocketFactory, url: string, options: Options, clock: Clock = systemClock) {
    this.#url = url;
    this.#options = options;
    this.#kinds = options.kinds ?? {};
    this.#clock = clock;
    const retry = { ...DEFAULTS.retry, ...options.retry };
    const error = (failure: MynahError): void => void this.#events.emit('error', failure);
    const unreachable = (failure: Error): void => void this.#events.emit('unreachable', failure);

    this.#savedState = new SavedState(options.storage ?? memoryStorage(), options.name ?? DEFAULTS.name, error);
    this.#identity = new Identity(options, this.#savedState, clock);
    this.#connection = new Connection(makeSocket(io, url, options.socket ?? {}), clock, { timeoutMs: options.timeoutMs ?? DEFAULTS.timeoutMs, retry }, {
      credentials: () => this.#identity.credentials(),
      status: (status) => this.#status(status),
      registered: (response) => this.#registered(response),
      frame: (frame) => this.#frame(frame),
      lost: (reason) => {
        this.#renewal.stop();
        void this.#events.emit('disconnected', { reason });
      },
      unreachable,
      error,
    });
    this.#conversationList = new ConversationList(this.#connection, ({ conv, head, unread }) => {
      this.#unread.learn(conv, head, unread);
      this.#reportUnread();
    });
    this.#acker = new Acker(this.#connection, clock, { ...DEFAULTS.acks, ...options.acks }, (conv) => this.#inbound.positionLost(conv));
    const inboundPace = { retry, gapMs: DEFAULTS.gapMs, page: options.page ?? DEFAULTS.page };
    this.#inbound = new Inbound(this.#connection, this.#savedState, this.#conversationList, clock, inboundPace, {
      deliver: (message) => this.#deliver(message),
      isOwn: (message) => this.#isOwn(message),
      finished: (conv, seq) => {
        this.#acker.note(conv, seq);
        this.#reads.finished(conv, seq);
      },
      replaced: (conv) => {
        this.#acker.forget(conv);
        if (this.#epoch !== undefined) void this.#events.emit('epoch', { previous: this.#epoch, current: this.#epoch });
      },
      resume: () => this.#renewal.resume(),
      error,
    });
    const outbox = new Outbox(options.outboxSize ?? DEFAULTS.outboxSize, DEFAULTS.concurrentSends);
    this.#outbound = new Outbound(outbox, this.#connection, this.#savedState, clock, { retry, transientMs: DEFAULTS.transientMs }, {
      sent: async (sent) => {
        if ('seq' in sent.receipt) {
          this.#unread.moved(sent.receipt.conv);
          this.#inbound.sent(sent.receipt.conv, sent.receipt.seq, sent.receipt.mid);
        }
        await this.#events.emit('sent', sent);
      },
      failed: (failed) => this.#events.emit('failed', failed),
    });
    this.#reads = new Reads(this.#connection, this.#inbound, this.#conversationList, {
      read: (conv, seq) => this.#read(conv, seq),
      ended: (conv) => {
        const had = this.#unread.end(conv) || this.#inbound.position(conv) !== undefined;
        this.#reportUnread();
        return had;
      },
      error,
    });
    this.#catchUp = new CatchUp(this.#connection, this.#conversationList, this.#inbound, clock, retry, { isComplete: () => this.#settled(), error });
    this.#renewal = new Renewal(this.#connection, this.#identity, clock, retry, {
      registered: (response) => this.#registered(response),
      failed: unreachable,
    });
    this.#ready = this.#open();
    this.#ready.then(
      () => this.#connection.open(),
      (thrown: unknown) => {
        if (this.status === 'closed') return;
        error(thrown instanceof MynahError ? thrown : new MynahError('protocol', textOf(thrown), thrown));
        this.#connection.stop('refused');
      },
    );
  }

  /** Reads the saved state of earlier runs. Nothing is sent before that. */
  async #open(): Promise<void> {
    await this.#identity.open((failure) => {
      void this.#events.emit('unreachable', failure);
      return this.status !== 'closed';
    });
    this.#outbound.load(await this.#savedState.messages());
    this.#epoch = await this.#savedState.epoch();
  }

  /** Adds a handler for an event. Returns a function that removes it. */
  on<K extends keyof Events>(event: K, handler: (value: Events[K]) => Handled): () => void {
    return this.#events.on(event, handler);
  }

  get status(): Status {
    return this.#connection.status;
  }

  /** The user's id; undefined until it is known from the options or from the first token. */
  get uid(): string | undefined {
    return this.#identity.uid;
  }

  get deviceid(): string | undefined {
    return this.#identity.device;
  }

  /**
   * The number of unread messages of all conversations: what the gateway reported, plus what has changed
   * since.
   */
  get unread(): number {
    return this.#unread.total;
  }

  /** The messages in the outbox, oldest first. */
  get pending(): readonly Pending[] {
    return this.#outbound.pending;
  }

  /** Connects again after the client was displaced, signed out or refused. */
  connect(): void {
    this.#ready.then(() => this.#connection.open()).catch(() => undefined);
  }

  /**
   * Sends a message. While there is no connection, the message waits in the outbox. The promise resolves when
   * the gateway has stored the message. It rejects when the gateway refuses the message, when the outbox is
   * full, or when this client is closed first. `id` is the application's own id for the message: two sends
   * with the same id are one message.
   */
  send<K extends number>(to: To, kind: K, data: Sendable<K>, options: { id?: string | undefined } = {}): Promise<ReceiptOf<K>> {
    const receipt = this.#send(to, kind, data, options.id);
    // A caller that ignores the promise learns of a failure by the event 'failed'.
    receipt.catch(() => undefined);
    return receipt as Promise<ReceiptOf<K>>;
  }

  async #send(to: To, type: number, data: unknown, id: string | undefined): Promise<Receipt | Delivery> {
    // Callers in JavaScript are not checked by the compiler.
    if (typeof (to as unknown) !== 'object' || to === null) throw new MynahError(400, '"to" must be { user: "<uid>" } or { team: "<team>" }.');
    const json = JSON.stringify(data) as string | undefined;
    if (json === undefined) throw new MynahError(400, 'The data of a message must be a JSON value, for instance an object or a string.');
    const copy = JSON.parse(json) as Json;
    await this.#ready;
    const cid = `${this.#identity.tag}.${id ?? randomWord(20, this.#clock)}`;
    const isKept = isStored(type, this.#kinds);
    return this.#outbound.put({ cid, to, type, data: copy, ...(id !== undefined && { id }), ...(!isKept && { transient: true }) });
  }

  /** Marks `conv` as read up to `seq`, or up to the last delivered message. */
  async markRead(conv: string, seq?: number): Promise<void> {
    await this.#ready;
    await this.#reads.mark(conv, seq);
  }

  /** Recalls a message that this user has sent. */
  async recall(mid: string): Promise<Omit<RecallResponse, 'code'>> {
    await this.#ready;
    const { code: _, ...recalled } = await this.#connection.requestWithRetry(108, { mid });
    return recalled;
  }

  /** All conversations, newest first. A page is fetched when the iteration reaches it. */
  async *conversations(options: { after?: string; limit?: number } = {}): AsyncGenerator<Conversation, void> {
    await this.#ready;
    yield* this.#conversationList.all(options);
  }

  /** A part of the history: the messages after a seq (oldest first), or before a seq (newest first). */
  async history(conv: string, options: { before?: number; after?: number; limit?: number } = {}): Promise<Omit<SyncResponse, 'code' | 'conv'>> {
    await this.#ready;
    const from = options.before === undefined && options.after === undefined ? { before: Number.MAX_SAFE_INTEGER } : {};
    const { messages, head, more } = await this.#connection.requestWithRetry(104, { conv, ...from, ...options });
    return { messages, head, more };
  }

  /** Signs the user out on all devices, and closes this client. The messages in the outbox stay there. */
  async signOut(): Promise<void> {
    await this.#ready;
    const fetch = this.#options.fetch ?? hostFetch();
    if (!fetch) throw new MynahError('offline', 'This JavaScript host has no fetch(): pass one as the option "fetch".');
    await this.#acker.flush();
    const who = { uid: this.#identity.uid ?? '', token: await this.#identity.token() };
    await signOut(fetch, this.#options.signOutUrl ?? signOutUrl(this.#url), who);
    await this.close();
  }

  /**
   * Sends the outstanding acknowledgements and disconnects. Resolves when all state is written to the
   * storage.
   */
  async close(): Promise<void> {
    this.#inbound.stop();
    this.#outbound.close();
    await this.#acker.flush();
    this.#connection.stop('closed');
    await this.#savedState.written();
  }

  #status(status: Status): void {
    void this.#events.emit('status', status);
    if (status === 'signed-out') void this.#events.emit('signedOut', undefined);
  }

  #registered(response: RegisterResponse): void {
    const { epoch, unread, conversations, more } = response;
    if (epoch !== this.#epoch) {
      this.#acker.clear();
      void this.#savedState.setEpoch(epoch);
      if (this.#epoch !== undefined) void this.#events.emit('epoch', { previous: this.#epoch, current: epoch });
      this.#epoch = epoch;
    }
    this.#unread.begin(unread, conversations ?? [], more);
    this.#reportUnread();
    this.#renewal.registered(response.ts);
    this.#inbound.registered(response);
    void this.#events.emit('connected', response);
    this.#acker.sendDue();
    this.#reads.registered();
    this.#outbound.sendDue();
    if (more) void this.#catchUp.learn(response.sid);
  }

  #frame(frame: Frame): void {
    const { type, data } = frame;
    if (type === 12) void this.#events.emit('displaced', data as Displaced);
    else if (type === 107) {
      const mark = data as ReadMark;
      if (mark.by === this.#identity.uid) this.#read(mark.conv, mark.seq);
      void this.#events.emit('read', mark);
    } else if (type === 112) {
      this.#unread.resumed();
      this.#inbound.resumed((data as Resumed).complete);
    }
    else if (typeof frame.seq === 'number' && typeof frame.conv === 'string') this.#push(frame as unknown as Message);
    else if (type >= 1000 || isStored(type, {})) void this.#events.emit('event', frame as TransientEvent);
  }

  #push(message: Message): void {
    const counts = isCounted(message.type, this.#kinds) && message.from !== this.#identity.uid && !message.recalled;
    const isNew = this.#unread.see(message.conv, message.seq, counts);
    if (message.type === 17 && !message.recalled && message.data.uid === this.#identity.uid) this.#unread.leave(message.conv, message.seq);
    this.#reportUnread();
    // Only the gateway knows whether the recalled message was unread.
    if (isNew && message.type === 109 && this.unread > 0) this.#conversationList.find(message.conv).catch(() => undefined);
    this.#inbound.push(message);
  }

  #isOwn(message: Message): boolean {
    const { cid, from } = message;
    if (cid === undefined || from !== this.#identity.uid) return false;
    const isOwn = cid.startsWith(`${this.#identity.tag}.`) || this.#outbound.outbox.has(cid);
    if (isOwn) void this.#outbound.confirm(cid, message);
    return isOwn;
  }

  async #deliver(message: Message): Promise<void> {
    await this.#events.handled('message');
    await this.#events.emit('message', message);
    if (message.type !== 109 || message.recalled) return;
    const { conv, from, seq, ts, data } = message;
    await this.#events.emit('recall', { conv, mid: data.mid, by: from, seq, ts });
  }

  #read(conv: string, seq: number): void {
    // After a read of only a part of the conversation, only the gateway knows how many messages are still
    // unread.
    if (!this.#unread.read(conv, seq)) this.#conversationList.find(conv).catch(() => undefined);
    this.#reportUnread();
  }

  /** All pages of the list of conversations were read. Returns whether every unread count is known now. */
  #settled(): boolean {
    const isSettled = this.#unread.settle();
    if (isSettled) this.#reportUnread();
    return isSettled;
  }

  #reportUnread(): void {
    const { total } = this.#unread;
    if (total === this.#reportedUnread) return;
    this.#reportedUnread = total;
    void this.#events.emit('unread', total);
  }
}
