// A small Socket.IO client: protocol 5 on Engine.IO 4, over WebSocket, namespace "/". It shows how a client
// without a Socket.IO library can connect to Mynah.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;

/**
 * One connection, which is made again when it is lost. `handlers` are: `connect()`; `event(name, args)`;
 * `disconnect({isFinal, waitMs})`, where `isFinal` means that the client does not reconnect by itself,
 * because the server has disconnected it for good or `close` was called; and `traffic(direction, text)` for
 * every packet, with the direction "up" or "down".
 */
export class Socket {
  #url;
  #handlers;
  #web = null;
  #connected = false;
  #isFinal = true;
  #attempts = 0;
  #timeoutMs = 45_000;
  #watchdog;
  #retry;

  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    addEventListener('online', () => this.#retry && this.#dial());
  }

  get connected() {
    return this.#connected;
  }

  open() {
    this.#isFinal = false;
    if (!this.#web) this.#dial();
  }

  /** Disconnects, and does not reconnect. */
  close() {
    this.#isFinal = true;
    clearTimeout(this.#retry);
    if (this.#connected) this.#send('41');
    this.#web?.close();
  }

  /** Sends an event. Returns false if there is no connection; the event is then dropped. */
  emit(name, ...args) {
    if (!this.#connected) return false;
    this.#send(`42${JSON.stringify([name, ...args])}`);
    return true;
  }

  #dial() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const web = new WebSocket(this.#url);
    this.#web = web;
    web.onmessage = ({ data }) => {
      if (typeof data === 'string' && web === this.#web) this.#receive(data);
    };
    web.onclose = () => {
      if (web === this.#web) this.#lost();
    };
    this.#watch();
  }

  #send(packet) {
    this.#web.send(packet);
    this.#handlers.traffic('up', packet);
  }

  #receive(packet) {
    this.#watch();
    this.#handlers.traffic('down', packet);
    if (packet === '2') this.#send('3');
    else if (packet[0] === '0') this.#greet(JSON.parse(packet.slice(1)));
    else if (packet.startsWith('40')) this.#joined();
    else if (packet.startsWith('41')) this.#disconnectedForGood();
    else if (packet.startsWith('44')) this.#web.close();
    else if (packet.startsWith('42')) {
      const [name, ...args] = JSON.parse(packet.slice(packet.indexOf('[')));
      this.#handlers.event(name, args);
    }
  }

  #greet({ pingInterval, pingTimeout }) {
    this.#timeoutMs = pingInterval + pingTimeout;
    this.#watch();
    this.#send('40');
  }

  #joined() {
    this.#connected = true;
    this.#attempts = 0;
    this.#handlers.connect();
  }

  #disconnectedForGood() {
    this.#isFinal = true;
    this.#web.close();
  }

  /**
   * Restarts the timer that ends the connection when the server has sent nothing for longer than the
   * heartbeat allows.
   */
  #watch() {
    clearTimeout(this.#watchdog);
    const web = this.#web;
    this.#watchdog = setTimeout(() => {
      web.onclose = null;
      web.close();
      this.#lost();
    }, this.#timeoutMs);
  }

  #lost() {
    clearTimeout(this.#watchdog);
    this.#web = null;
    this.#connected = false;
    let waitMs;
    if (!this.#isFinal) {
      const longest = Math.min(FIRST_DELAY_MS * 2 ** this.#attempts++, LONGEST_DELAY_MS);
      waitMs = longest * (0.5 + Math.random() / 2);
      this.#retry = setTimeout(() => this.#dial(), waitMs);
    }
    this.#handlers.disconnect({ isFinal: this.#isFinal, waitMs });
  }
}
