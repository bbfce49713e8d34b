// Requests of reliable delivery: kinds 100 to 112, and registering with `resume`.

import assert from 'node:assert/strict';
import { rawSocket } from './raw.js';
import { REGISTER, REGISTERED, someone, visitor } from './user.js';

export const RESPONSE = 100;
export const ACK = 103;
export const SYNC = 104;
export const SYNCED = 105;
export const READ = 106;
export const READ_PUSH = 107;
export const RECALL = 108;
export const RECALLED = 109;
export const LIST = 110;
export const LISTED = 111;
export const RESUMED = 112;

/** Sends a request with a callback and expects code 0. */
async function good(user, type, data) {
  const answer = await user.ask(type, data);
  assert.equal(answer.code, 0, `kind ${type} ${JSON.stringify(data)} -> ${JSON.stringify(answer)}`);
  return answer;
}

export const ack = (user, conv, seq) => good(user, ACK, { conv, seq });
export const sync = (user, conv, range) => good(user, SYNC, { conv, ...range });
export const read = (user, conv, seq) => good(user, READ, { conv, seq });
export const recall = (user, mid) => good(user, RECALL, { mid });
export const list = (user, range = {}) => good(user, LIST, range);

/** The row of a conversation in kind 111; undefined if the conversation is not listed. */
export async function listed(user, conv) {
  return (await list(user, { limit: 500 })).conversations.find((one) => one.conv === conv);
}

/** Sends a request and expects this code, with an error sentence. */
export async function refused(user, code, type, data) {
  const answer = await user.ask(type, data);
  const question = `kind ${type} ${JSON.stringify(data)?.slice(0, 200)}`;
  assert.ok([code].flat().includes(answer.code), `${question} -> ${JSON.stringify(answer)}, not ${code}`);
  assert.match(answer.error, /^[A-Z`"].*\S.*\.$/s, question);
  return answer;
}

/**
 * Sends a request in every form and returns the answers: with a callback, as string and as object; as a frame
 * with a string and with a number as `req`; and as a frame without `req`. In the last form, a kind without a
 * response kind of its own gets no answer.
 */
export async function inEveryForm(user, type, response, data) {
  const answers = [await user.ask(type, data()), await user.ask(type, data(), { asObject: true })];
  for (const [req, asObject] of [['问-1 🙋', false], [7, true], ['', true], [0, false]]) {
    user.say({ type, req, data: data() }, { asObject });
    const frame = await user.next(response);
    assert.deepEqual([frame.req, typeof frame.raw], [req, user.format ?? 'string']);
    answers.push(frame.data);
  }
  user.say({ type, data: data() });
  if (response === RESPONSE) return answers;
  const frame = await user.next(response);
  assert.deepEqual(['req' in frame, typeof frame.raw], [false, user.format ?? 'string']);
  return [...answers, frame.data];
}

/**
 * Registers with `resume` on a new connection and returns everything up to kind 112: the response, and the
 * replay, which has the conversations one after another, each in the order of `seq`.
 */
export async function resume(t, gateway, uid, { client, ...data } = {}) {
  const user = await visitor(t, gateway, client);
  return resumeHere(user, uid, data);
}

/** Does the same on an existing connection. */
export async function resumeHere(user, uid, data = {}) {
  user.uid = uid;
  user.say({ type: REGISTER, data: { uid, resume: true, ...data } });
  const { type, data: registered } = await user.frames.take(() => true, 'the response to registering');
  assert.deepEqual([type, registered.code], [REGISTERED, 0], JSON.stringify(registered));
  user.registered = registered;
  const replay = [];
  for (;;) {
    const frame = await user.frames.take(() => true, `kind 112 after ${replay.length} messages`);
    if (frame.type === RESUMED) {
      assert.equal(frame.data.sent, replay.length, 'kind 112 has the number of replayed messages');
      inOrder(replay);
      return { user, registered, replay, resumed: frame.data };
    }
    replay.push(frame);
  }
}

/**
 * A WebSocket that registers with `resume`, and does not read after the response until `socket.resume()`. It
 * does not answer heartbeats.
 */
export async function slowReader(t, gateway, uid, deviceid) {
  const raw = await rawSocket(t, gateway.url);
  const parsed = (text) => JSON.parse(JSON.parse(text.slice(2))[1]);
  raw.say = (frame) => raw.send(`42["message",${JSON.stringify(JSON.stringify(frame))}]`);
  /** Waits for the next frame. */
  raw.next = async () => parsed(await raw.heard.take((text) => text.startsWith('42'), 'a frame'));
  /**
   * Waits for the end of the connection. Returns the remaining frames, and in `away` whether it was
   * disconnected for good.
   */
  raw.toTheEnd = async () => {
    await raw.closed();
    const packets = raw.heard.untaken;
    return { frames: packets.filter((text) => text.startsWith('42')).map(parsed), away: packets.includes('41') };
  };
  raw.say({ type: REGISTER, data: { uid, deviceid, resume: true } });
  raw.registered = await raw.next();
  raw.socket.pause();
  assert.deepEqual([raw.registered.type, raw.registered.data.code], [REGISTERED, 0]);
  return raw;
}

/**
 * Checks that each conversation comes in one piece and without a gap. Returns a map from conv to its
 * messages.
 */
export function inOrder(messages) {
  const convs = new Map();
  let current;
  for (const message of messages) {
    const before = convs.get(message.conv);
    if (before) {
      assert.equal(message.conv, current, 'the messages of a conversation are replayed together');
      assert.equal(message.seq, before.at(-1).seq + 1, 'a replay has no gaps');
      before.push(message);
    } else convs.set(message.conv, [message]);
    current = message.conv;
  }
  return convs;
}

export const seqs = (messages) => messages.map(({ seq }) => seq);

/** The numbers from `from` to `to`; descending if `to` is less. */
export const range = (from, to) => Array.from({ length: Math.abs(to - from) + 1 }, (_, i) => from + (to >= from ? i : -i));

const MARKER = 19;
const markedBy = '记号';

/**
 * Fails if a user received anything that no test took. It stores a message now, which reaches the user after
 * everything that was stored or answered before. The message does not count as unread, and has its own
 * conversation.
 */
export async function quiet(gateway, ...users) {
  for (const user of users) {
    const mark = someone('marker');
    await gateway.api.sendTo(user.uid, { type: MARKER, from: markedBy, data: { mark } });
    await user.frames.take(({ type, data }) => type === MARKER && data.mark === mark, 'the marker');
    // This device also receives the markers of the user's other devices.
    const heard = (await user.settled()).filter(({ type, from }) => type !== MARKER || from !== markedBy);
    assert.deepEqual(heard, [], `${user.uid} received unexpected frames`);
  }
}

/** Makes the backend send `count` messages of kind 3 from one user to another. Returns their conversation. */
export async function written(gateway, from, to, count, data = (n) => ({ n, text: `第${n}条 📝` })) {
  let conv;
  for (let start = 1; start <= count; start += 100) {
    const messages = range(start, Math.min(count, start + 99)).map((n) => ({ type: 3, from, to: { user: to }, data: data(n) }));
    const { results } = await gateway.api.expect(200, 'POST', '/v1/messages/batch', { messages });
    conv = results[0].results[0].conv;
  }
  return conv;
}
