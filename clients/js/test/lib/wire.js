// A simulated network between clients and the model of the gateway: `io` for the client under test. It delays
// frames, breaks connections, and delivers several frames in one turn of the event loop, as polling does. It
// keeps the order of the frames of a connection, as Socket.IO does.

let count = 0;

/** Makes a network to `gateway`. `io` of the result is for clients. */
export function network(gateway, time, chance) {
  const sockets = new Set();
  const io = () => {
    const socket = new Socket(gateway, time, chance);
    sockets.add(socket);
    return socket;
  };
  return {
    io,
    /** Breaks every connection. */
    cut: () => [...sockets].forEach((socket) => socket.cut('transport close')),
    /** Ends all sockets without an event, as if the process of the client had crashed. */
    forget: () => {
      for (const socket of sockets) socket.die();
      sockets.clear();
    },
  };
}

class Socket {
  connected = false;
  #handlers = new Map();
  #wanted = false;
  #dead = false;
  #connection;

  constructor(gateway, time, chance) {
    Object.assign(this, { gateway, time, chance });
  }

  on(event, handler) {
    this.#handlers.set(event, handler);
  }

  #fire(event, value) {
    if (!this.#dead) this.#handlers.get(event)?.(value);
  }

  connect() {
    this.#wanted = true;
    this.time.later(this.chance.below(40), () => {
      if (!this.#wanted || this.connected || this.#dead) return;
      this.connected = true;
      this.#connection = this.#made();
      this.#fire('connect');
    });
  }

  #made() {
    const up = [];
    const down = [];
    const connection = { n: ++count, open: true };
    const carry = (queue, act) => {
      this.time.later(this.chance.below(15), () => {
        for (let n = 1 + this.chance.below(3); n > 0 && queue.length > 0 && connection.open; n--) act(queue.shift());
        if (queue.length > 0 && connection.open) carry(queue, act);
      });
    };
    const put = (queue, item, act, at = queue.length) => {
      queue.splice(at, 0, item);
      if (queue.length === 1) carry(queue, act);
    };
    const run = (item) => item();
    connection.down = (frame) => put(down, () => this.#fire('message', this.chance.happens(0.2) ? JSON.stringify(frame) : structuredClone(frame)), run);
    connection.up = (text, answered) => {
      const answer = (response, mayOvertake = false) => {
        const early = mayOvertake && this.chance.happens(0.5) ? this.chance.below(down.length + 1) : down.length;
        put(down, () => answered(structuredClone(response)), run, early);
      };
      put(up, () => this.gateway.take(connection, JSON.parse(text), answer), run);
    };
    connection.end = () => {
      connection.open = false;
      this.gateway.connections.delete(connection);
      if (this.#connection !== connection) return;
      this.#connection = undefined;
      if (!this.connected) return;
      this.connected = false;
      this.#fire('disconnect', 'transport close');
      if (this.#wanted) this.connect();
    };
    return connection;
  }

  emit(event, text, answered) {
    if (this.connected) this.#connection.up(text, answered);
  }

  cut() {
    this.#connection?.end();
  }

  disconnect() {
    this.#wanted = false;
    this.#connection?.end();
  }

  die() {
    this.#dead = true;
    this.disconnect();
  }
}
