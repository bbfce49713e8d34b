// A client that sends and receives the frames of the chat.

import assert from 'node:assert/strict';
import { Inbox } from './inbox.js';
import { open } from './peer.js';

export const REGISTER = 1;
export const REGISTERED = 2;
export const SEND = 101;
export const SENT = 102;

/**
 * A number that is no kind. A request of this kind is always answered 404, so it can be used as a harmless
 * question.
 */
const NO_SUCH_KIND = 999;

export class User {
  constructor(peer) {
    this.peer = peer;
    /** The received frames, parsed. `raw` is the event's argument as it was received. */
    this.frames = new Inbox(`frames of ${peer.name}`);
    peer.socket.on('message', (raw) => this.frames.push(withRaw(raw)));
  }

  /**
   * Sends a frame without waiting for an answer: as a JSON string, like the clients of the replaced module,
   * or as an object.
   */
  say(frame, { asObject = false } = {}) {
    this.peer.emit('message', asObject || typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** Sends a request with a callback and resolves with the argument of the callback. */
  async ask(type, data, { asObject = false } = {}) {
    const frame = { type, data };
    const answer = await this.peer.ask('message', asObject ? frame : JSON.stringify(frame));
    assert.equal(answer.length, 1);
    assert.equal(typeof answer[0], 'object', 'the argument of a callback is an object');
    return answer[0];
  }

  /** Waits for the next frame of this kind. */
  next(type) {
    return this.frames.take((frame) => frame.type === type, `a frame of kind ${type}`);
  }

  send(to, data, { type = to.team ? 15 : 3, ...more } = {}) {
    return this.ask(SEND, { type, to, data, ...more });
  }

  /**
   * Everything that the server sent to this client before now and that no test took. Answers and pushes of a
   * connection keep their order, so the answer to a request that is sent now comes last.
   */
  async settled() {
    const { code } = await this.ask(NO_SUCH_KIND, {});
    assert.equal(code, 404);
    return this.frames.untaken;
  }

  /** Fails if there is a received frame that no test took. */
  async hearsNothing(why = 'nothing was expected') {
    assert.deepEqual(await this.settled(), [], why);
  }
}

function withRaw(raw) {
  const frame = typeof raw === 'string' ? JSON.parse(raw) : { ...raw };
  return Object.defineProperty(frame, 'raw', { value: raw, enumerable: false });
}

/** A connected client of the gateway that is not registered yet. */
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
