// The user's conversations as this page shows them, and the outbox. A room is one conversation with its
// loaded messages: a chat with one user, a team, or the notices.
//
// Invariants: the `messages` of a room are a part of the history, in the order of `seq`, without gaps, each
// once. The outbox (messages that the server has not confirmed) is kept in this browser, so that a reload
// does not lose it. Everything else is read from the server.

import { ALONE_CHAT, APPLICATION, COUNTED, NOTICE_KINDS, PAIRS, RECALLED, TEAM_CHAT, TEAM_ENTER, TEAM_LEAVE } from './kinds.js';

const KEPT_PASSING = 100;

export class Rooms {
  #place;
  #rooms = new Map();
  /** Messages that the server has not confirmed yet, oldest first: {key, like, cid, data, ts, error}. */
  #outbox;
  /** The key of the room on screen. */
  open = null;

  constructor(uid) {
    this.uid = uid;
    this.#place = `mynah:outbox:${uid}`;
    this.#outbox = JSON.parse(localStorage.getItem(this.#place) ?? '[]');
    for (const { key, like } of this.#outbox) this.#room(key, like);
  }

  /** All rooms, the newest first. */
  get all() {
    return [...this.#rooms.values()].sort((a, b) => b.touched - a.touched);
  }

  get current() {
    return this.#rooms.get(this.open);
  }

  of(conv) {
    return [...this.#rooms.values()].find((room) => room.conv === conv);
  }

  withUser(uid) {
    return this.#room(`user:${uid}`, { name: uid, to: { user: uid }, type: ALONE_CHAT });
  }

  team(team) {
    return this.#room(`team:${team}`, { name: team, to: { team }, type: TEAM_CHAT, isTeam: true });
  }

  #notices() {
    return this.#room('notices', { name: 'Notices' });
  }

  /**
   * Finds or creates a room. `like` is {name, to, type, isTeam}: what is needed to show the room and to write
   * in it.
   */
  #room(key, like) {
    if (!this.#rooms.has(key)) {
      const fresh = { conv: undefined, head: 0, unread: 0, last: null, messages: [], passing: [], isLoaded: false, hasEarlier: false };
      this.#rooms.set(key, { key, like, ...like, ...fresh, touched: Date.now() });
    }
    return this.#rooms.get(key);
  }

  /** Updates a room from a row of the list of conversations (kind 111). */
  take({ conv, kind, peer, team, head, unread, last }) {
    let room;
    if (kind === 'team') room = this.team(team);
    else if (kind === 'pair') room = this.withUser(peer);
    else if (kind === 'notices') room = this.#notices();
    else room = this.#room(`${kind}:${peer}`, { name: `${peer} (${PAIRS[kind].label})`, to: { user: peer }, type: PAIRS[kind].type });
    // A team that was deleted and created again is another conversation.
    if (room.conv && room.conv !== conv) this.forget(room);
    // If a push has overtaken the list, the row is older than the room.
    if (head >= room.head) Object.assign(room, { conv, head, unread, last, touched: last?.ts ?? room.touched });
    return room;
  }

  /** Drops the loaded messages of a room. They are loaded again when the room is opened. */
  forget(room) {
    Object.assign(room, { head: 0, messages: [], isLoaded: false, hasEarlier: false });
  }

  /** Removes the rooms that are not in `listed`, except for the open one and those with unsent messages. */
  keepOnly(listed) {
    const written = new Set(this.#outbox.map(({ key }) => key));
    for (const room of this.#rooms.values()) {
      if (listed.has(room) || written.has(room.key) || room.key === this.open) continue;
      this.#rooms.delete(room.key);
    }
  }

  /** A stored message was pushed or replayed. Returns whether it is new and may be unread. */
  push(room, message) {
    const isNew = message.seq > room.head;
    if (isNew) {
      Object.assign(room, { head: message.seq, last: message, touched: message.ts });
      if (COUNTED.has(message.type) && message.from !== this.uid) room.unread++;
    }
    if (message.type === RECALLED && room.last?.mid === message.data?.mid) room.last = { ...room.last, data: null, recalled: true };
    if (room.isLoaded) this.append(room, [message]);
    else this.#confirmed(message);
    return isNew;
  }

  /** Adds messages at the end. A message after a gap is not added: then `isBehind` is true. */
  append(room, messages) {
    for (const message of messages) {
      this.#confirmed(message);
      if (message.seq <= lastOf(room)) continue;
      if (room.messages.length > 0 && message.seq !== lastOf(room) + 1) return;
      room.messages.push(message);
      if (message.type !== RECALLED) continue;
      const taken = room.messages.find(({ mid }) => mid === message.data?.mid);
      if (taken) Object.assign(taken, { data: null, recalled: true });
    }
  }

  /** Whether the history has messages after the last loaded one. */
  isBehind(room) {
    return room.isLoaded && room.head > lastOf(room);
  }

  /** Adds a message of a kind that is not stored. It is shown until the page is closed. */
  pass(message) {
    const { type, from } = message;
    const room = NOTICE_KINDS.has(type) || !from ? this.#notices() : this.withUser(from);
    room.passing = [...room.passing, message].slice(-KEPT_PASSING);
    room.touched = message.ts;
  }

  /** The messages that a room shows: stored ones, those of kinds that are not stored, and the outbox. */
  shown(room) {
    const own = this.#outbox.filter(({ key }) => key === room.key).map((message) => ({ ...message, from: this.uid, waiting: !message.error }));
    return [...[...room.messages, ...room.passing].sort((a, b) => a.ts - b.ts), ...own];
  }

  /** The newest message of a room, loaded or not; undefined if there is none. */
  newest(room) {
    const last = this.shown(room).at(-1);
    return room.last && room.last.ts > (last?.ts ?? 0) ? room.last : last;
  }

  /** The members of a team, as far as they are known from its messages. */
  membersOf(room) {
    const members = new Set();
    for (const { type, data } of this.shown(room)) {
      if (Array.isArray(data?.members)) data.members.forEach((uid) => members.add(String(uid)));
      if (type === TEAM_ENTER) members.add(data?.uid);
      if (type === TEAM_LEAVE) members.delete(data?.uid);
    }
    return [...members];
  }

  // ---- the outbox

  /** The messages that the server has not confirmed or refused yet, as [room, message]. */
  get waiting() {
    return this.#outbox.filter(({ error }) => !error).map((message) => [this.#room(message.key, message.like), message]);
  }

  /** Adds a message of this user to the outbox. */
  compose(room, cid, data) {
    const message = { key: room.key, like: room.like, cid, data, ts: Date.now() };
    this.#outbox.push(message);
    room.touched = message.ts;
    this.#save();
    return message;
  }

  /** Handles the answer to a send. Returns the room; undefined if the message is not in the outbox. */
  answered({ code, cid, mid, conv, seq, ts, error }) {
    const message = this.#outbox.find((one) => one.cid === cid && !one.error);
    if (!message) return undefined;
    const room = this.#room(message.key, message.like);
    if (code !== 0) {
      message.error = error ?? `The server refused the message with code ${code}.`;
      this.#save();
      return room;
    }
    // This is the first message of the conversation, so there is nothing to load.
    if (!room.conv && seq === 1) room.isLoaded = true;
    room.conv = conv;
    this.push(room, { type: room.type, data: message.data, mid, conv, seq, from: this.uid, cid, ts });
    return room;
  }

  /** Removes a stored message from the outbox. */
  #confirmed({ from, cid }) {
    if (from !== this.uid || !this.#outbox.some((one) => one.cid === cid)) return;
    this.#outbox = this.#outbox.filter((one) => one.cid !== cid);
    this.#save();
  }

  #save() {
    try {
      localStorage.setItem(this.#place, JSON.stringify(this.#outbox));
    } catch {
      // The browser's storage is full. The page continues, but a reload loses unsent messages.
    }
  }
}

/** The seq of the last loaded message; 0 if there is none. */
export const lastOf = (room) => room.messages.at(-1)?.seq ?? 0;

/** Whether only the server knows how a message of this kind changes the unread count. */
export const changesUnread = (type) => type === RECALLED || type >= APPLICATION;
