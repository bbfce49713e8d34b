// What this browser remembers of a user's conversations. A room is a chat with one user, a team, or the notices.

import { NOTICE_KINDS, PAIR_KINDS, TEAM_ENTER, TEAM_KINDS, TEAM_LEAVE } from './kinds.js';

const KEPT_MESSAGES = 200;

export class Rooms {
  #place;
  #rooms = new Map();
  /** The key of the room on screen. */
  open = null;

  constructor(uid) {
    this.uid = uid;
    this.#place = `mynah:rooms:${uid}`;
    const kept = JSON.parse(localStorage.getItem(this.#place) ?? '{"rooms":[]}');
    this.epoch = kept.epoch;
    for (const room of kept.rooms) this.#rooms.set(room.key, room);
  }

  /** The server's history may have been replaced: what was kept of another one means nothing in this one. */
  enter(epoch) {
    if (this.epoch && epoch && this.epoch !== epoch) this.#rooms.clear();
    this.epoch = epoch;
    this.save();
  }

  get all() {
    return [...this.#rooms.values()].sort((a, b) => b.touched - a.touched);
  }

  get current() {
    return this.#rooms.get(this.open);
  }

  withUser(uid) {
    return this.#room(`user:${uid}`, { name: uid, to: { user: uid } });
  }

  team(team) {
    return this.#room(`team:${team}`, { name: team, to: { team }, isTeam: true, members: [] });
  }

  #room(key, fresh) {
    if (!this.#rooms.has(key)) this.#rooms.set(key, { key, messages: [], unread: 0, touched: Date.now(), ...fresh });
    return this.#rooms.get(key);
  }

  /** The room that a pushed message belongs to. */
  #roomOf({ type, data, conv, from }) {
    if (TEAM_KINDS.has(type) || (!PAIR_KINDS.has(type) && data?.team)) {
      const known = conv && this.all.find((room) => room.isTeam && room.conv === conv);
      return known || this.team(String(data?.team ?? 'a team'));
    }
    if (NOTICE_KINDS.has(type) || !from) return this.#room('notices', { name: 'Notices' });
    if (from !== this.uid) return this.withUser(from);
    // One of this user's other devices: only what the sender's page wrote, or the conversation, tells to whom.
    const known = this.all.find((room) => room.conv === conv);
    return known || this.withUser(String(data?.to ?? from));
  }

  /** Takes in a pushed message; undefined when it was here already. */
  receive(frame) {
    const room = this.#roomOf(frame);
    if (frame.mid && room.messages.some((message) => message.mid === frame.mid)) return undefined;
    if (frame.conv && room.key !== 'notices') room.conv = frame.conv;
    if (room.isTeam) this.#followMembers(room, frame);
    const { type, mid, seq, from, ts, data } = frame;
    this.#keep(room, { type, mid, seq, from, ts, data });
    if (this.open !== room.key || document.hidden) room.unread++;
    return room;
  }

  #followMembers(room, { type, data }) {
    const members = new Set(Array.isArray(data?.members) ? data.members : room.members);
    if (type === TEAM_ENTER) members.add(data.uid);
    if (type === TEAM_LEAVE) members.delete(data.uid);
    room.members = [...members];
  }

  /** Keeps a message of our own that the server has not confirmed yet. */
  compose(room, cid, data) {
    const message = { cid, from: this.uid, ts: Date.now(), data, waiting: true };
    this.#keep(room, message);
    return message;
  }

  /** Takes in the answer to something sent. */
  confirm({ code, cid, mid, conv, seq, ts, error }) {
    for (const room of this.all) {
      const message = room.messages.find((one) => one.cid === cid && one.waiting);
      if (!message) continue;
      message.waiting = false;
      if (code === 0) {
        Object.assign(message, { mid, seq, ts: ts ?? message.ts });
        room.conv = conv ?? room.conv;
      } else message.error = error ?? `refused with code ${code}`;
      this.#order(room);
      this.save();
      return room;
    }
    return undefined;
  }

  /** Everything not confirmed yet, as [room, message]. */
  get waiting() {
    return this.all.flatMap((room) => room.messages.filter((message) => message.waiting).map((message) => [room, message]));
  }

  read(room) {
    room.unread = 0;
    this.save();
  }

  #keep(room, message) {
    room.messages.push(message);
    room.touched = Date.now();
    this.#order(room);
    if (room.messages.length > KEPT_MESSAGES) room.messages.splice(0, room.messages.length - KEPT_MESSAGES);
    this.save();
  }

  /** By `seq` where the server gave one; what is still waiting comes last. */
  #order(room) {
    if (room.key === 'notices') return;
    room.messages.sort((a, b) => (a.seq ?? Infinity) - (b.seq ?? Infinity) || a.ts - b.ts);
  }

  save() {
    try {
      localStorage.setItem(this.#place, JSON.stringify({ epoch: this.epoch, rooms: this.all }));
    } catch {
      // The browser keeps no more: the page goes on, and a reload forgets.
    }
  }
}
