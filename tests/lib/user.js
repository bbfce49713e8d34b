// A client that speaks the chat's frames.

import assert from 'node:assert/strict';
import { Inbox } from './inbox.js';
import { open } from './peer.js';

export const REGISTER = 1;
export const REGISTERED = 2;
export const SEND = 101;
export const SENT = 102;

/** A kind that is reserved and unknown: whoever asks it gets 404, which makes it a harmless question. */
const NO_SUCH_KIND = 999;

export class User {
  constructor(peer) {
    this.peer = peer;
    /** Frames as they came: parsed, with the wire's own argument as `raw`. */
    this.frames = new Inbox(`frames of ${peer.name}`);
    peer.socket.on('message', (raw) => this.frames.push(withRaw(raw)));
  }

  /** Says something to the server without waiting: as a JSON string, as the replaced system's clients do, or as an object. */
  say(frame, { asObject = false } = {}) {
    this.peer.emit('message', asObject || typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** Asks with an ack callback and resolves with its one argument. */
  async ask(type, data, { asObject = false } = {}) {
    const frame = { type, data };
    const answer = await this.peer.ask('message', asObject ? frame : JSON.stringify(frame));
    assert.equal(answer.length, 1);
    assert.equal(typeof answer[0], 'object', 'the argument of a callback is an object');
    return answer[0];
  }

  /** The next frame of this kind. */
  next(type) {
    return this.frames.take((frame) => frame.type === type, `a frame of kind ${type}`);
  }

  send(to, data, { type = to.team ? 15 : 3, ...more } = {}) {
    return this.ask(SEND, { type, to, data, ...more });
  }

  /**
   * Everything that the server had put on its way to this client before now, and that no test took. Answers and pushes of
   * one connection come in order, so an answer to a question asked now comes after all of it.
   */
  async settled() {
    const { code } = await this.ask(NO_SUCH_KIND, {});
    assert.equal(code, 404);
    return this.frames.untaken;
  }

  /** Fails if anything is on its way that no test took. */
  async hearsNothing(why = 'nothing was expected') {
    assert.deepEqual(await this.settled(), [], why);
  }
}

function withRaw(raw) {
  const frame = typeof raw === 'string' ? JSON.parse(raw) : { ...raw };
  return Object.defineProperty(frame, 'raw', { value: raw, enumerable: false });
}

/** A client of the gateway that has not registered yet. */
export async function visitor(t, gateway, client) {
  const peer = open(t, gateway.url, client);
  const user = new User(peer);
  await peer.connected();
  return user;
}

/** A registered user. `data` are further fields of the register request. */
export async function signIn(t, gateway, uid, { client, ...data } = {}) {
  const user = await visitor(t, gateway, client);
  const answer = await user.ask(REGISTER, { uid, ...data });
  assert.equal(answer.code, 0, JSON.stringify(answer));
  user.uid = answer.uid;
  user.registered = answer;
  return user;
}

let last = 0;
/** A uid that no other test uses. */
export const someone = (name = '小明') => `${name}-${process.pid}-${++last}`;
