// Notifications (docs/PROTOCOL.md#9-push-webhook) when the gateway is stopped, crashes, or cannot be reached
// for a second while messages arrive. Sixty clients have the app open and reconnect by themselves, as
// Socket.IO does by default: their users are not notified. Users who are offline are notified of every
// message.

import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { eventually } from '../../lib/inbox.js';
import { everyClient, open } from '../../lib/peer.js';
import { startGateway } from '../../lib/program.js';
import { REGISTER, User, someone } from '../../lib/user.js';
import { Webhook } from '../../lib/webhook.js';

const SECRET = 'a-secret';
/**
 * The numbers of clients that acknowledge and resume, of clients of the replaced module that do neither, and
 * of users without a client.
 */
const [ACKNOWLEDGE, OLDER, OFFLINE] = [45, 15, 20];
/**
 * The pause between two messages of the backend, and how many messages are sent before and after the event.
 */
const [PAUSE_MS, MESSAGES] = [5, 240];

let gateway, hook, network;
before(async () => {
  hook = await Webhook.start(SECRET);
  gateway = await startGateway({ config: { push: { webhook: { url: encodeURI(hook.url), secret: SECRET } } } });
  network = await Network.start(() => gateway.port);
});
after(async () => {
  network.close();
  hook.close();
  await gateway.close();
});

/** The network between the clients and the gateway, which can be cut. */
class Network {
  #sockets = new Set();

  static async start(port) {
    const network = new Network();
    network.server = createServer((socket) => {
      if (network.isCut) return socket.destroy();
      const onward = connect(port(), '127.0.0.1');
      for (const [one, other] of [[socket, onward], [onward, socket]]) {
        network.#sockets.add(one);
        one.pipe(other);
        one.on('error', () => other.destroy());
        one.on('close', () => {
          network.#sockets.delete(one);
          other.destroy();
        });
      }
    });
    await new Promise((resolve) => network.server.listen(0, '127.0.0.1', resolve));
    network.url = `http://127.0.0.1:${network.server.address().port}`;
    return network;
  }

  cut() {
    this.isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  restore() {
    this.isCut = false;
  }

  close() {
    this.cut();
    this.server.close();
  }
}

/** An open app: it registers whenever it is connected, and records the `mid`s of the received messages. */
class App {
  received = new Set();
  registered = 0;

  constructor(t, number, acknowledges) {
    this.uid = someone(acknowledges ? 'app' : 'older-app');
    this.acknowledges = acknowledges;
    const peer = open(t, network.url, { ...everyClient[number % everyClient.length], reconnection: true });
    // These are the defaults of Socket.IO.
    peer.manager.reconnectionDelay(1_000);
    this.user = new User(peer);
    peer.socket.on('connect', () => this.#register());
    peer.socket.on('message', (raw) => this.#take(typeof raw === 'string' ? JSON.parse(raw) : raw));
    if (peer.socket.connected) this.#register();
  }

  #register() {
    const device = this.acknowledges ? { deviceid: 'phone', resume: true } : {};
    const gone = () => {}; // It is disconnected again; it will register again.
    this.user.ask(REGISTER, { uid: this.uid, ...device }).then(({ code }) => (this.registered += code === 0), gone);
  }

  #take({ mid, conv, seq }) {
    if (!mid) return;
    this.received.add(mid);
    if (this.acknowledges) this.user.say({ type: 103, data: { conv, seq } });
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const metric = async (name) => {
  const { text } = await gateway.api.call('GET', '/metrics');
  return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1]);
};

/**
 * `forgets`: after the event the gateway does not know what was written to connections, and which
 * notifications were in flight.
 */
const HAPPENINGS = {
  'an orderly restart': {
    async happen() {
      await gateway.program.stop();
      await gateway.start();
    },
  },
  'kill -9': {
    forgets: true,
    async happen() {
      await gateway.program.kill();
      await gateway.start();
    },
  },
  'a second without network': {
    async happen() {
      network.cut();
      await pause(1_000);
      network.restore();
    },
  },
};

for (const [name, { happen, forgets }] of Object.entries(HAPPENINGS)) {
  test(`${name}: no user with an open app is notified, and all offline users are`, async (t) => {
    const apps = Array.from({ length: ACKNOWLEDGE + OLDER }, (_, n) => new App(t, n, n < ACKNOWLEDGE));
    const offline = Array.from({ length: OFFLINE }, () => someone('offline'));
    await eventually(() => apps.every(({ registered }) => registered === 1), 'all apps to be registered');
    const uids = [...apps.map(({ uid }) => uid), ...offline];
    /** The messages that the gateway has taken: `mid` to uid. */
    const sent = new Map();
    let next = 0;
    const send = async () => {
      const uid = uids[next++ % uids.length];
      // An older client that is just registering may have received what was committed before. The gateway
      // does not know that afterwards.
      if (isHappening && apps.some((app) => app.uid === uid && !app.acknowledges)) return;
      try {
        const { mid } = await gateway.api.sendTo(uid, { type: 5, data: { n: next } });
        sent.set(mid, uid);
      } catch {
        // The gateway cannot be reached. Whether it has stored the message does not matter here.
      }
      await pause(PAUSE_MS);
    };
    let isHappening = false;
    for (let n = 0; n < MESSAGES; n++) await send();
    isHappening = true;
    const traffic = (async () => {
      while (isHappening) await send();
    })();
    await happen();
    const notifiedBefore = hook.all.slice();
    await eventually(() => apps.every(({ registered }) => registered >= 2), 'all apps to be registered again');
    isHappening = false;
    await traffic;
    for (let n = 0; n < MESSAGES; n++) await send();
    const missing = () => [...sent].filter(([mid, uid]) => apps.some((app) => app.acknowledges && app.uid === uid && !app.received.has(mid)));
    await eventually(() => missing().length === 0, 'every app to receive all messages');
    const told = (mid) => hook.all.filter(({ body }) => body.mid === mid);
    const untold = () => [...sent].filter(([mid, uid]) => offline.includes(uid) && told(mid).length === 0);
    await eventually(() => untold().length === 0, 'a notification of every message for every offline user');
    await eventually(async () => (await metric('mynah_push_pending')) === 0, 'no pending job');

    const counted = apps.filter((app) => app.acknowledges || !forgets);
    const wrong = hook.all.filter(({ body }) => counted.some(({ uid, received }) => uid === body.uid && received.has(body.mid)));
    assert.equal(wrong.length, 0, `notified of a message that the app has received: ${wrong.map(({ body }) => body.uid)}`);
    const again = (mid) => told(mid).length > 1 && !(forgets && notifiedBefore.includes(told(mid)[0]));
    assert.deepEqual([...sent.keys()].filter(again), [], 'notified twice');
  });
}
