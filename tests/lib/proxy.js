// A load balancer without affinity: every HTTP request and every upgrade goes to the next server in turn,
// also if several come on one connection. It changes nothing in a request or a response but the headers that
// belong to one TCP connection.

import { Agent, createServer, request as ask } from 'node:http';
import { connect } from 'node:net';

const CHECK_MS = 250;
const CHECK_LIMIT_MS = 1_000;
const HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);

export class Proxy {
  #server;
  #ports;
  #turn = 0;
  #out = new Set();
  #checks;
  #sockets = new Set();
  /** port -> the number of requests and upgrades that were sent there. */
  counts = new Map();

  /**
   * `ports()` returns the ports of all servers. With `checks`, a server that is not ready gets no requests
   * while another one is ready.
   */
  static async start(ports, { checks = false } = {}) {
    const proxy = new Proxy();
    proxy.#ports = ports;
    proxy.#server = createServer({ keepAliveTimeout: 60_000, headersTimeout: 0, requestTimeout: 0 });
    proxy.#server.on('request', (request, response) => void proxy.#request(request, response));
    proxy.#server.on('checkContinue', (request, response) => void proxy.#request(request, response));
    proxy.#server.on('upgrade', (request, socket, head) => void proxy.#upgrade(request, socket, head));
    proxy.#server.on('connection', (socket) => proxy.#own(socket));
    await new Promise((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    proxy.port = proxy.#server.address().port;
    proxy.url = `http://127.0.0.1:${proxy.port}`;
    if (checks) proxy.#checks = setInterval(() => void proxy.#check(), CHECK_MS);
    return proxy;
  }

  #own(socket) {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy()).on('close', () => this.#sockets.delete(socket));
    return socket;
  }

  /** Sends no further request to the server at `port`. */
  without(port) {
    this.#out.add(port);
  }

  /** Sends requests to the server at `port` again. */
  with(port) {
    this.#out.delete(port);
  }

  async #check() {
    const states = this.#ports().map(async (port) => {
      const isReady = await fetch(`http://127.0.0.1:${port}/health/ready`, { signal: AbortSignal.timeout(CHECK_LIMIT_MS) }).then(
        ({ ok, body }) => body?.cancel().then(() => ok) ?? ok,
        () => false,
      );
      if (isReady) this.with(port);
      else this.without(port);
    });
    await Promise.all(states);
  }

  /** A connection to the next server that accepts one; undefined if none does. */
  async #next() {
    const all = this.#ports();
    const turn = this.#turn++;
    const inTurn = all.map((_, i) => all[(turn + i) % all.length]);
    for (const port of [...inTurn.filter((one) => !this.#out.has(one)), ...inTurn.filter((one) => this.#out.has(one))]) {
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      const isOpen = await new Promise((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)));
      if (!isOpen) continue;
      this.counts.set(port, (this.counts.get(port) ?? 0) + 1);
      return this.#own(socket);
    }
    return undefined;
  }

  async #request(request, response) {
    const socket = await this.#next();
    if (!socket) return void response.writeHead(502).end();
    if (request.socket.destroyed) return void socket.destroy();
    const { method, url, rawHeaders } = request;
    // One connection for each request: the next one goes elsewhere.
    const agent = new Agent({ keepAlive: false });
    agent.createConnection = () => socket;
    const onward = ask({ agent, method, path: url, headers: withoutHops(rawHeaders, request), setHost: false });
    const drop = () => {
      socket.destroy();
      request.socket.destroy();
    };
    let isAnswered = false;
    // A server may answer before it has read the whole body, and close.
    onward.on('error', () => (isAnswered ? request.unpipe().resume() : drop()));
    onward.on('continue', () => response.writeContinue());
    onward.on('response', (answer) => {
      isAnswered = true;
      const headers = pairs(answer.rawHeaders).filter(([name]) => !HOP.has(name.toLowerCase()));
      response.sendDate = false;
      response.writeHead(answer.statusCode, answer.statusMessage, headers.flat());
      response.flushHeaders();
      answer.on('error', drop).on('aborted', drop);
      answer.pipe(response);
    });
    response.on('close', () => response.writableFinished || socket.destroy());
    request.on('aborted', () => socket.destroy());
    request.pipe(onward);
  }

  async #upgrade(request, client, head) {
    const server = await this.#next();
    if (!server) return void client.destroy();
    const lines = pairs(request.rawHeaders).map(([name, value]) => `${name}: ${value}\r\n`);
    server.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1');
    if (head.length > 0) server.write(head);
    for (const [from, to] of [[client, server], [server, client]]) {
      from.pipe(to);
      from.on('close', () => to.destroySoon());
    }
  }

  async close() {
    clearInterval(this.#checks);
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const pairs = (raw) => raw.flatMap((name, i) => (i % 2 ? [] : [[name, raw[i + 1]]]));

/** The headers of a request as they came; how its body is framed stays as it was too. */
function withoutHops(rawHeaders, { headers }) {
  const kept = pairs(rawHeaders).filter(([name]) => !HOP.has(name.toLowerCase()));
  if (headers['transfer-encoding']) kept.push(['transfer-encoding', headers['transfer-encoding']]);
  return kept.flat();
}
