// A user's device on a gateway. Invariant: this file connects the parts and decides nothing that one of them could.

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
import { Link, type Frame, type Status } from './link.js';
import { Lookup } from './lookup.js';
import { Notebook } from './notebook.js';
import { DEFAULTS, type Options } from './options.js';
import { Outbound, type Delivery, type Pending, type Receipt } from './outbound.js';
import type { Conversation, Displaced, Json, Message, ReadMark, RecallResponse, RegisterResponse } from './protocol.js';
import type { Sendable, StoredKind, SyncResponse, To, TransientEvent } from './protocol.js';
import { Reads } from './reads.js';
import { Renewal } from './renewal.js';
import { Rest } from './rest.js';
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
  readonly #notebook: Notebook;
  readonly #identity: Identity;
  readonly #link: Link;
  readonly #lookup: Lookup;
  readonly #acker: Acker;
  readonly #inbound: Inbound;
  readonly #outbound: Outbound;
  readonly #reads: Reads;
  readonly #rest: Rest;
  readonly #renewal: Renewal;
  readonly #ready: Promise<void>;
  #epoch: string | undefined;
  #unreadSaid = 0;

  /** Use `connect`; a clock of one's own is for tests. */
  constructor(io: SocketFactory, url: string, options: Options, clock: Clock = systemClock) {
    this.#url = url;
    this.#options = options;
    this.#kinds = options.kinds ?? {};
    this.#clock = clock;
    const retry = { ...DEFAULTS.retry, ...options.retry };
    const error = (failure: MynahError): void => void this.#events.emit('error', failure);
    const unreachable = (failure: Error): void => void this.#events.emit('unreachable', failure);

    this.#notebook = new Notebook(options.storage ?? memoryStorage(), options.name ?? DEFAULTS.name, error);
    this.#identity = new Identity(options, this.#notebook, clock);
    this.#link = new Link(makeSocket(io, url, options.socket ?? {}), clock, { timeoutMs: options.timeoutMs ?? DEFAULTS.timeoutMs, retry }, {
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
    this.#lookup = new Lookup(this.#link, ({ conv, head, unread }) => {
      this.#unread.learn(conv, head, unread);
      this.#sayUnread();
    });
    this.#acker = new Acker(this.#link, clock, { ...DEFAULTS.acks, ...options.acks }, (conv) => this.#inbound.beyond(conv));
    const inboundPace = { retry, gapMs: DEFAULTS.gapMs, page: options.page ?? DEFAULTS.page };
    this.#inbound = new Inbound(this.#link, this.#notebook, this.#lookup, clock, inboundPace, {
      hand: (message) => this.#hand(message),
      isOwn: (message) => this.#isOwn(message),
      finished: (conv, seq) => {
        this.#acker.note(conv, seq);
        this.#reads.finished(conv, seq);
      },
      replaced: (conv) => {
        this.#acker.forget(conv);
        if (this.#epoch !== undefined) void this.#events.emit('epoch', { previous: this.#epoch, current: this.#epoch });
      },
      error,
    });
    const outbox = new Outbox(options.outboxSize ?? DEFAULTS.outboxSize, DEFAULTS.abreast);
    this.#outbound = new Outbound(outbox, this.#link, this.#notebook, clock, { retry, transientMs: DEFAULTS.transientMs }, {
      sent: async (sent) => {
        if ('seq' in sent.receipt) {
          this.#unread.moved(sent.receipt.conv);
          this.#inbound.sent(sent.receipt.conv, sent.receipt.seq, sent.receipt.mid);
        }
        await this.#events.emit('sent', sent);
      },
      failed: (failed) => this.#events.emit('failed', failed),
    });
    this.#reads = new Reads(this.#link, this.#inbound, this.#lookup, {
      read: (conv, seq) => this.#read(conv, seq),
      ended: (conv) => {
        const had = this.#unread.end(conv) || this.#inbound.position(conv) !== undefined;
        this.#sayUnread();
        return had;
      },
      error,
    });
    this.#rest = new Rest(this.#link, this.#lookup, this.#inbound, clock, retry, { isComplete: () => this.#settled(), error });
    this.#renewal = new Renewal(this.#link, this.#identity, clock, retry, {
      registered: (response) => this.#registered(response),
      failed: unreachable,
    });
    this.#ready = this.#open();
    this.#ready.then(
      () => this.#link.open(),
      (thrown: unknown) => {
        if (this.status === 'closed') return;
        error(thrown instanceof MynahError ? thrown : new MynahError('protocol', textOf(thrown), thrown));
        this.#link.stop('refused');
      },
    );
  }

  /** Reads what a former run left, before anything is sent. */
  async #open(): Promise<void> {
    await this.#identity.open((failure) => {
      void this.#events.emit('unreachable', failure);
      return this.status !== 'closed';
    });
    this.#outbound.load(await this.#notebook.letters());
    this.#epoch = await this.#notebook.epoch();
  }

  /** Handles an event; the result stops that. */
  on<K extends keyof Events>(event: K, handler: (value: Events[K]) => Handled): () => void {
    return this.#events.on(event, handler);
  }

  get status(): Status {
    return this.#link.status;
  }

  /** Who this is, once that is known. */
  get uid(): string | undefined {
    return this.#identity.uid;
  }

  get deviceid(): string | undefined {
    return this.#identity.device;
  }

  /** Unread messages of all conversations, as far as it is known. */
  get unread(): number {
    return this.#unread.total;
  }

  /** Messages that wait to be sent, oldest first. */
  get pending(): readonly Pending[] {
    return this.#outbound.pending;
  }

  /** Connects again after being displaced, signed out or refused. */
  connect(): void {
    this.#ready.then(() => this.#link.open()).catch(() => undefined);
  }

  /**
   * Sends a message. Resolves when the gateway has it for good; rejects when it refuses it, when the outbox is full, or when this
   * client is closed before. Offline it waits. `id` is the application's own id: the same id is the same message.
   */
  send<K extends number>(to: To, kind: K, data: Sendable<K>, options: { id?: string | undefined } = {}): Promise<ReceiptOf<K>> {
    const receipt = this.#send(to, kind, data, options.id);
    // Whoever does not wait hears of it by 'failed'.
    receipt.catch(() => undefined);
    return receipt as Promise<ReceiptOf<K>>;
  }

  async #send(to: To, type: number, data: unknown, id: string | undefined): Promise<Receipt | Delivery> {
    // JavaScript callers have no types.
    if (typeof (to as unknown) !== 'object' || to === null) throw new MynahError(400, '"to" must be { user: "<uid>" } or { team: "<team>" }.');
    const json = JSON.stringify(data) as string | undefined;
    if (json === undefined) throw new MynahError(400, 'The data of a message must be a JSON value, for instance an object or a string.');
    const copy = JSON.parse(json) as Json;
    await this.#ready;
    const cid = `${this.#identity.tag}.${id ?? randomWord(20, this.#clock)}`;
    const isKept = isStored(type, this.#kinds);
    return this.#outbound.put({ cid, to, type, data: copy, ...(id !== undefined && { id }), ...(!isKept && { transient: true }) });
  }

  /** The user has read `conv` up to `seq`, or everything that was handed over. */
  async markRead(conv: string, seq?: number): Promise<void> {
    await this.#ready;
    await this.#reads.mark(conv, seq);
  }

  /** Takes back a message of one's own. */
  async recall(mid: string): Promise<Omit<RecallResponse, 'code'>> {
    await this.#ready;
    const { code: _, ...recalled } = await this.#link.askPatiently(108, { mid });
    return recalled;
  }

  /** All conversations, newest first, fetched page by page as they are asked for. */
  async *conversations(options: { after?: string; limit?: number } = {}): AsyncGenerator<Conversation, void> {
    await this.#ready;
    yield* this.#lookup.all(options);
  }

  /** A part of the record: after a number (oldest first), or before one (newest first). */
  async history(conv: string, options: { before?: number; after?: number; limit?: number } = {}): Promise<Omit<SyncResponse, 'code' | 'conv'>> {
    await this.#ready;
    const from = options.before === undefined && options.after === undefined ? { before: Number.MAX_SAFE_INTEGER } : {};
    const { messages, head, more } = await this.#link.askPatiently(104, { conv, ...from, ...options });
    return { messages, head, more };
  }

  /** Signs the user out on all devices, and closes this client. What is in the outbox stays there. */
  async signOut(): Promise<void> {
    await this.#ready;
    const fetch = this.#options.fetch ?? hostFetch();
    if (!fetch) throw new MynahError('offline', 'There is no fetch here: give one in the options.');
    await this.#acker.flush();
    const who = { uid: this.#identity.uid ?? '', token: await this.#identity.token() };
    await signOut(fetch, this.#options.signOutUrl ?? signOutUrl(this.#url), who);
    await this.close();
  }

  /** Says what is still to be acknowledged, disconnects, and resolves when everything is written down. */
  async close(): Promise<void> {
    this.#inbound.stop();
    this.#outbound.close();
    await this.#acker.flush();
    this.#link.stop('closed');
    await this.#notebook.written();
  }

  #status(status: Status): void {
    void this.#events.emit('status', status);
    if (status === 'signed-out') void this.#events.emit('signedOut', undefined);
  }

  #registered(response: RegisterResponse): void {
    const { epoch, unread, conversations, more } = response;
    if (epoch !== this.#epoch) {
      this.#acker.clear();
      void this.#notebook.setEpoch(epoch);
      if (this.#epoch !== undefined) void this.#events.emit('epoch', { previous: this.#epoch, current: epoch });
      this.#epoch = epoch;
    }
    this.#unread.begin(unread, conversations ?? [], more);
    this.#sayUnread();
    this.#renewal.registered(response.ts);
    this.#inbound.registered(response);
    void this.#events.emit('connected', response);
    this.#acker.go();
    this.#reads.registered();
    this.#outbound.go();
    if (more) void this.#rest.learn(response.sid);
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
      this.#inbound.resumed();
    }
    else if (typeof frame.seq === 'number' && typeof frame.conv === 'string') this.#push(frame as unknown as Message);
    else if (type >= 1000 || isStored(type, {})) void this.#events.emit('event', frame as TransientEvent);
  }

  #push(message: Message): void {
    const counts = isCounted(message.type, this.#kinds) && message.from !== this.#identity.uid && !message.recalled;
    const isNew = this.#unread.see(message.conv, message.seq, counts);
    if (message.type === 17 && !message.recalled && message.data.uid === this.#identity.uid) this.#unread.leave(message.conv, message.seq);
    this.#sayUnread();
    // Whether what was taken back was unread only the gateway knows.
    if (isNew && message.type === 109 && this.unread > 0) this.#lookup.find(message.conv).catch(() => undefined);
    this.#inbound.push(message);
  }

  #isOwn(message: Message): boolean {
    const { cid, from } = message;
    if (cid === undefined || from !== this.#identity.uid) return false;
    const isOwn = cid.startsWith(`${this.#identity.tag}.`) || this.#outbound.outbox.has(cid);
    if (isOwn) void this.#outbound.confirm(cid, message);
    return isOwn;
  }

  async #hand(message: Message): Promise<void> {
    await this.#events.handled('message');
    await this.#events.emit('message', message);
    if (message.type !== 109 || message.recalled) return;
    const { conv, from, seq, ts, data } = message;
    await this.#events.emit('recall', { conv, mid: data.mid, by: from, seq, ts });
  }

  #read(conv: string, seq: number): void {
    // How many are left of a conversation that was read in part only the gateway knows.
    if (!this.#unread.read(conv, seq)) this.#lookup.find(conv).catch(() => undefined);
    this.#sayUnread();
  }

  /** The list of conversations was gone through to its end; whether that was enough. */
  #settled(): boolean {
    const isSettled = this.#unread.settle();
    if (isSettled) this.#sayUnread();
    return isSettled;
  }

  #sayUnread(): void {
    const { total } = this.#unread;
    if (total === this.#unreadSaid) return;
    this.#unreadSaid = total;
    void this.#events.emit('unread', total);
  }
}
