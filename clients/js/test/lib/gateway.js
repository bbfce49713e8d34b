// A model of the gateway in memory: the behaviour of kinds 1 and 101 to 112. Its limits are so small that
// each of them is reached. It uses every freedom that docs/PROTOCOL.md allows: answers overtake pushes,
// replays end early, lists are short.

const pairOf = (a, b) => `pair ${[a, b].sort().join(' ')}`;

export class Gateway {
  epoch = 'epoch-1';
  convs = new Map();
  teams = new Map();
  connections = new Set();
  /** Retention has deleted messages. */
  forgot = false;
  /** The data of all successful registers. */
  registers = [];
  #devices = new Map();
  #cids = new Map();
  #last = 0;

  constructor(chance, { resume = 5, listed = 3, troubles = 0 } = {}) {
    this.chance = chance;
    this.limits = { resume, listed };
    /** The share of requests that are answered 429 or 503. */
    this.troubles = troubles;
  }

  conv(id) {
    if (!this.convs.has(id)) this.convs.set(id, { id, messages: [], deleted: 0, floors: new Map(), reads: new Map(), left: new Map() });
    return this.convs.get(id);
  }

  /** Adds a member to a team. The member sees only later messages. */
  join(team, uid) {
    const conv = this.conv(`team ${team}`);
    if (!this.teams.has(team)) this.teams.set(team, new Set());
    if (this.teams.get(team).has(uid)) return;
    conv.floors.set(uid, conv.messages.length);
    conv.reads.set(uid, conv.messages.length);
    conv.left.delete(uid);
    this.teams.get(team).add(uid);
    this.append(conv, { type: 16, data: { team, uid } });
  }

  /** Removes a member from a team. When its devices resume, they get the messages until then, and the 17. */
  leave(team, uid) {
    const conv = this.conv(`team ${team}`);
    this.teams.get(team).delete(uid);
    const envelope = this.append(conv, { type: 17, data: { team, uid } });
    conv.left.set(uid, envelope.seq);
    for (const connection of this.connections) if (connection.uid === uid) connection.down(envelope);
  }

  members(conv) {
    const [kind, ...names] = conv.id.split(' ');
    return kind === 'team' ? [...this.teams.get(names[0])] : names;
  }

  append(conv, message, except) {
    const envelope = { mid: `m${`${++this.#last}`.padStart(9, '0')}`, conv: conv.id, seq: conv.messages.length + 1, ts: this.#last, ...message };
    conv.messages.push(envelope);
    const members = this.members(conv);
    for (const connection of this.connections) {
      if (connection !== except && members.includes(connection.uid)) connection.down(envelope);
    }
    return envelope;
  }

  write(from, to, data, { cid, type = to.team ? 15 : 3, connection } = {}) {
    const conv = this.conv(to.team ? `team ${to.team}` : pairOf(from, to.user));
    const key = cid && JSON.stringify([from, conv.id, cid]);
    const first = this.#cids.get(key);
    if (first) return { ...first, duplicate: true };
    const { mid, seq, ts } = this.append(conv, { type, data, from, ...(cid && { cid }) }, connection);
    const device = connection && this.#device(connection);
    if (device && this.#cursor(device, conv, from) === seq - 1) device.cursors.set(conv.id, seq);
    const answer = { code: 0, cid, mid, conv: conv.id, seq, ts };
    if (key) this.#cids.set(key, answer);
    return answer;
  }

  /** Deletes all messages up to `seq`, as retention does. */
  forget(conv, seq) {
    conv.deleted = Math.max(conv.deleted, seq);
    this.forgot = true;
  }

  /** Rolls the conversation back to its first `count` messages, without a new epoch. */
  rollBack(conv, count) {
    conv.messages.length = count;
    for (const { cursors, since } of this.#devices.values()) {
      for (const positions of [cursors, since]) if (positions.get(conv.id) > count) positions.set(conv.id, count);
    }
  }

  /** Starts another history, with a new epoch. */
  replace(epoch) {
    this.epoch = epoch;
    this.convs.clear();
    this.#devices.clear();
    this.#cids.clear();
  }

  #device({ uid, deviceid }) {
    const key = `${uid} ${deviceid}`;
    if (!this.#devices.has(key)) {
      const since = new Map([...this.convs.values()].map((conv) => [conv.id, conv.messages.length]));
      this.#devices.set(key, { since, cursors: new Map() });
    }
    return this.#devices.get(key);
  }

  #cursor(device, conv, uid) {
    const own = device.cursors.get(conv.id) ?? device.since.get(conv.id) ?? 0;
    return Math.min(conv.messages.length, Math.max(own, conv.floors.get(uid) ?? 0, conv.deleted));
  }

  /** The user's conversations, newest first. */
  #rows(connection) {
    const device = this.#device(connection);
    const own = [...this.convs.values()].filter((conv) => this.members(conv).includes(connection.uid) && conv.messages.length > 0);
    own.sort((a, b) => b.messages.at(-1).ts - a.messages.at(-1).ts);
    return own.map((conv) => {
      const read = conv.reads.get(connection.uid) ?? 0;
      const unread = conv.messages.filter(({ seq, type, from }) => seq > Math.max(read, conv.deleted) && [3, 15].includes(type) && from !== connection.uid).length;
      return { conv: conv.id, head: conv.messages.length, cursor: this.#cursor(device, conv, connection.uid), read, unread };
    });
  }

  /** The teams that the user has left and of which the device has not acknowledged everything. */
  #left(connection) {
    const device = this.#device(connection);
    const convs = [...this.convs.values()].filter((conv) => conv.left.has(connection.uid));
    const rows = convs.map((conv) => {
      const head = conv.left.get(connection.uid);
      return { conv: conv.id, head, cursor: Math.min(head, this.#cursor(device, conv, connection.uid)), read: head, unread: 0 };
    });
    return rows.filter(({ head, cursor }) => cursor < head);
  }

  /** Unread messages of a user with a connected device. */
  unread(uid) {
    const [connection] = [...this.connections].filter((one) => one.uid === uid);
    return connection && this.#rows(connection).reduce((sum, { unread }) => sum + unread, 0);
  }

  /** Conversations of which a connected device has not acknowledged everything. */
  behind(uid) {
    return [...this.connections].filter((connection) => connection.uid === uid).flatMap((connection) => this.#rows(connection)).filter(({ head, cursor }) => cursor < head);
  }

  #part(conv, uid, after, limit) {
    const from = Math.max(after, conv.floors.get(uid) ?? 0, conv.deleted);
    return conv.messages.slice(from, from + limit);
  }

  /** Handles a frame of a client. */
  take(connection, { type, data }, answer) {
    if (this.chance.happens(this.troubles)) return answer({ code: this.chance.one([429, 503]), error: 'Not now.' });
    if (type === 1) return this.#register(connection, data, answer);
    if (!connection.uid) return answer({ code: 401, error: 'Register first.' });
    const { uid } = connection;
    const conv = this.convs.get(data.conv);
    if (data.conv !== undefined && !conv) return answer({ code: 404, error: 'There is no such conversation.' });
    if (conv && !this.members(conv).includes(uid)) {
      const left = [103, 106].includes(type) && this.#left(connection).find((row) => row.conv === conv.id && row.cursor < data.seq);
      if (!left) return answer({ code: 403, error: 'Not a participant.' });
      this.#device(connection).cursors.set(conv.id, Math.min(data.seq, left.head));
      return answer({ code: 0 });
    }
    switch (type) {
      case 101:
        if (data.type === 18) return answer({ code: 403, error: 'This model refuses kind 18.' });
        return answer(this.write(uid, data.to, data.data, { cid: data.cid, type: data.type, connection }), true);
      case 103:
        this.acknowledged?.(connection, conv, data.seq, this.#cursor(this.#device(connection), conv, uid));
        this.#device(connection).cursors.set(conv.id, Math.max(this.#cursor(this.#device(connection), conv, uid), Math.min(data.seq, conv.messages.length)));
        return answer({ code: 0, ...(data.seq > conv.messages.length && { head: conv.messages.length, epoch: this.epoch }) });
      case 104: {
        const messages = this.#part(conv, uid, data.after, data.limit);
        const head = conv.messages.length;
        return answer({ code: 0, conv: conv.id, messages, head, more: messages.length > 0 && messages.at(-1).seq < head });
      }
      case 106: {
        conv.reads.set(uid, Math.max(conv.reads.get(uid) ?? 0, data.seq));
        const device = this.#device(connection);
        this.acknowledged?.(connection, conv, data.seq, this.#cursor(device, conv, uid));
        device.cursors.set(conv.id, Math.max(this.#cursor(device, conv, uid), Math.min(data.seq, conv.messages.length)));
        return answer({ code: 0 });
      }
      case 110: {
        const from = Number(data.after ?? 0);
        const rows = this.#rows(connection).map((row) => ({ ...row, kind: 'pair', last: null }));
        const size = Math.min(data.limit, this.limits.listed + 1);
        return answer({ code: 0, conversations: rows.slice(from, from + size), next: rows.length > from + size ? `${from + size}` : null });
      }
      default:
        return answer({ code: 404, error: 'There is no such kind.' });
    }
  }

  #register(connection, data, answer) {
    for (const other of this.connections) if (other.uid === data.uid && other.deviceid === data.deviceid && other !== connection) other.end();
    Object.assign(connection, { uid: data.uid, deviceid: data.deviceid });
    this.connections.add(connection);
    this.registers.push(data);
    const rows = this.#rows(connection);
    if (!data.resume) return answer({ code: 0, uid: data.uid, deviceid: data.deviceid, sid: `${connection.n}`, epoch: this.epoch, ts: this.#last, unread: 0 });
    const open = rows.filter(({ head, cursor, unread }) => head > cursor || unread > 0);
    const gone = this.#left(connection);
    const unread = rows.reduce((sum, row) => sum + row.unread, 0);
    const listed = [...open, ...gone];
    answer({
      code: 0, uid: data.uid, deviceid: data.deviceid, sid: `${this.#last}-${connection.n}`, epoch: this.epoch, ts: this.#last, unread,
      conversations: listed.slice(0, this.limits.listed), more: listed.length > this.limits.listed,
    });
    let left = this.limits.resume;
    for (const { conv, head, cursor } of open) {
      const part = this.#part(this.convs.get(conv), data.uid, cursor, left);
      for (const envelope of part) connection.down(envelope);
      left -= part.length;
      if (left === 0 && head > (part.at(-1)?.seq ?? cursor)) break;
    }
    // All of these messages are replayed, whatever the limit.
    let sent = this.limits.resume - left;
    for (const { conv, head, cursor } of gone) {
      for (const envelope of this.#part(this.convs.get(conv), data.uid, cursor, head - cursor)) {
        if (envelope.seq <= head) connection.down(envelope);
        sent++;
      }
    }
    connection.down({ type: 112, data: { sent, complete: left > 0 } });
  }
}
