// The network between one device and the server: a TCP proxy that can cut connections (also in the middle of
// the data), delay data, and stall one direction.

import { connect, createServer } from 'node:net';

export class Wire {
  #server;
  #target;
  #pairs = new Set();
  #delayMs = 0;
  #stalled = { up: undefined, down: undefined };
  #cutAt = undefined;

  /** `target()` returns the current port of the server. */
  static async open(target) {
    const wire = new Wire();
    wire.#target = target;
    wire.#server = createServer({ allowHalfOpen: true }, (client) => wire.#accept(client));
    await new Promise((resolve) => wire.#server.listen(0, '127.0.0.1', resolve));
    wire.url = `http://127.0.0.1:${wire.#server.address().port}`;
    return wire;
  }

  #accept(client) {
    const server = connect({ port: this.#target(), host: '127.0.0.1', allowHalfOpen: true });
    const pair = { client, server };
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', end);
      socket.on('close', end);
    }
    this.#pump(client, server, 'up').then(undefined, end);
    this.#pump(server, client, 'down').then(undefined, end);
  }

  /** Forwards data with the current delay, one chunk after another, so that the order is kept. */
  async #pump(from, to, way) {
    for await (const chunk of from) {
      if (this.#delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.#delayMs));
      await this.#stalled[way]?.over;
      if (this.#cutAt === way) {
        this.#cutAt = undefined;
        to.write(chunk.subarray(0, chunk.length >> 1), () => this.cut());
        return;
      }
      if (!to.write(chunk)) await new Promise((resolve) => to.once('drain', resolve).once('close', resolve));
    }
    to.end();
  }

  /** Ends every connection, by a reset or in an orderly way. */
  cut({ reset = true } = {}) {
    for (const { client, server } of this.#pairs) {
      for (const socket of [client, server]) {
        if (reset) socket.resetAndDestroy();
        else socket.destroy();
      }
    }
    this.#pairs.clear();
  }

  /** Ends the connections after half of the next data in this direction. */
  cutInTheMiddle(way) {
    this.#cutAt = way;
  }

  delay(ms) {
    this.#delayMs = ms;
  }

  stall(way) {
    if (this.#stalled[way]) return;
    const stall = {};
    stall.over = new Promise((resolve) => (stall.end = resolve));
    this.#stalled[way] = stall;
  }

  heal() {
    this.#delayMs = 0;
    this.#cutAt = undefined;
    for (const way of ['up', 'down']) {
      this.#stalled[way]?.end();
      this.#stalled[way] = undefined;
    }
  }

  close() {
    this.heal();
    this.cut();
    this.#server.close();
  }
}
