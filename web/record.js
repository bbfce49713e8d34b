// Reads the history from the server: the list of conversations (kind 110) and parts of conversations (104).
// It sends acknowledgements (103) and read positions (106). Invariant: the messages that the page shows equal
// the server's history, even if the connection was lost in between.

import { ACK, LIST, READ, SYNC } from './kinds.js';
import { changesUnread, lastOf } from './rooms.js';

const ROOMS = 200;
const MESSAGES = 50;
/** The largest number of rooms that are loaded before the user asks for more. */
const MOST_AT_ONCE = 2_000;
const ACK_MS = 200;
const RETRY_MS = 1_000;

export class Record {
  #rooms;
  #ask;
  #tell;
  #changed;
  /** The number of the current connection. Answers to requests of an older one are ignored. */
  #turn = 0;
  /**
   * Messages that were received before the list of conversations, which is needed to find their room; null
   * afterwards.
   */
  #early = null;
  #next = null;
  #refreshing = false;
  #again = false;
  #acks = new Map();
  #acking;

  /**
   * `ask(type, data)` sends a request and resolves with the answer, or with undefined if the connection was
   * lost. `tell(type, data)` sends a request without waiting for an answer. `changed()` redraws the page.
   */
  constructor(rooms, { ask, tell, changed }) {
    this.#rooms = rooms;
    this.#ask = ask;
    this.#tell = tell;
    this.#changed = changed;
  }

  /** Whether the list of conversations has further pages. */
  get hasMore() {
    return this.#next !== null;
  }

  /** The connection was registered: loads the list of conversations, and updates the room on screen. */
  async enter({ isOther }) {
    const turn = ++this.#turn;
    this.#early = [];
    this.#acks.clear();
    this.#refreshing = this.#again = false;
    for (const room of this.#rooms.all) if (isOther || room !== this.#rooms.current) this.#rooms.forget(room);
    const listed = new Set();
    this.#next = null;
    do {
      const page = await this.#page(this.#next);
      if (!page) return;
      for (const room of page.rooms) listed.add(room);
      this.#next = page.next;
    } while (this.#next && listed.size < MOST_AT_ONCE);
    if (!this.#next) this.#rooms.keepOnly(listed);
    const early = this.#early;
    this.#early = null;
    for (const frame of early) this.receive(frame);
    if (this.#rooms.current) await this.open(this.#rooms.current);
    if (turn === this.#turn) this.#changed();
  }

  /** Loads a page of the list; undefined if the connection was lost. */
  async #page(after) {
    const turn = this.#turn;
    for (;;) {
      const answer = await this.#ask(LIST, { limit: ROOMS, ...(after && { after }) });
      if (!answer || turn !== this.#turn) return undefined;
      if (answer.code === 0) {
        const rooms = answer.conversations.map((row) => this.#take(row));
        return { rooms, next: answer.next };
      }
      // The server is overloaded, or its store is not available: tries again.
      await new Promise((go) => setTimeout(go, RETRY_MS));
      if (turn !== this.#turn) return undefined;
    }
  }

  #take(row) {
    const room = this.#rooms.take(row);
    if (row.head < room.head) this.#again = true;
    else if (row.cursor < row.head) this.#has(room);
    return room;
  }

  /** Loads the next page of the list. */
  async more() {
    const page = await this.#page(this.#next);
    if (page) this.#next = page.next;
    this.#changed();
  }

  /** Loads the first page again, because a conversation is new or only the server knows the unread counts. */
  async #refresh() {
    this.#again = true;
    if (this.#refreshing) return;
    this.#refreshing = true;
    const turn = this.#turn;
    while (this.#again && turn === this.#turn) {
      this.#again = false;
      await this.#page();
    }
    if (turn !== this.#turn) return;
    this.#refreshing = false;
    this.see();
    this.#changed();
  }

  /** A stored message was pushed or replayed. */
  receive(frame) {
    if (this.#early) return void this.#early.push(frame);
    const room = this.#rooms.of(frame.conv);
    if (!room) return void this.#refresh();
    const isNew = this.#rooms.push(room, frame);
    this.#has(room);
    if (isNew && changesUnread(frame.type)) this.#refresh();
    if (this.#rooms.isBehind(room)) this.#fill(room);
    this.see();
  }

  /** The user has read a conversation up to here, on this or another device. */
  read({ conv, seq }) {
    const room = this.#rooms.of(conv);
    if (room && seq >= room.head) room.unread = 0;
    else this.#refresh();
  }

  /** Loads the newest messages of a room, or those that are missing at its end. */
  async open(room) {
    for (const turn = this.#turn; !room.conv && this.#next && turn === this.#turn; ) await this.more();
    if (!room.conv) return;
    if (room.isLoaded) await this.#fill(room);
    else await this.#load(room, Number.MAX_SAFE_INTEGER);
    this.see();
    this.#changed();
  }

  /** Loads the messages before the first loaded one. */
  async earlier(room) {
    await this.#load(room, room.messages[0]?.seq ?? Number.MAX_SAFE_INTEGER);
    this.#changed();
  }

  async #load(room, before) {
    const turn = this.#turn;
    const answer = await this.#ask(SYNC, { conv: room.conv, before, limit: MESSAGES });
    if (answer?.code !== 0 || turn !== this.#turn) return;
    // After two clicks there are two equal answers.
    const known = room.messages[0]?.seq ?? Infinity;
    room.messages.unshift(...answer.messages.filter(({ seq }) => seq < known).reverse());
    room.hasEarlier = answer.more;
    room.isLoaded = true;
    await this.#fill(room);
  }

  /** Loads the messages that are missing at the end of a room. */
  async #fill(room) {
    const turn = this.#turn;
    while (this.#rooms.isBehind(room) && turn === this.#turn && !room.isFilling) {
      room.isFilling = true;
      const answer = await this.#ask(SYNC, { conv: room.conv, after: lastOf(room), limit: MESSAGES });
      room.isFilling = false;
      if (answer?.code !== 0 || answer.messages.length === 0) break;
      // The messages in between were deleted, or this user may not see them.
      if (answer.messages[0].seq > lastOf(room) + 1) Object.assign(room, { messages: [], hasEarlier: false });
      this.#rooms.append(room, answer.messages);
    }
    this.#changed();
  }

  /** Marks the room on screen as read, if the page is visible. */
  see() {
    const room = this.#rooms.current;
    if (!room?.conv || !room.isLoaded || room.unread === 0 || document.hidden) return;
    room.unread = 0;
    this.#tell(READ, { conv: room.conv, seq: room.head });
  }

  /** Acknowledges all messages of a room, so that the server does not replay them. */
  #has(room) {
    this.#acks.set(room.conv, room.head);
    this.#acking ??= setTimeout(() => {
      this.#acking = undefined;
      for (const [conv, seq] of this.#acks) if (seq > 0) this.#tell(ACK, { conv, seq });
      this.#acks.clear();
    }, ACK_MS);
  }
}
