// A small Socket.IO client: protocol 5 on Engine.IO 4, over WebSocket, namespace "/". It shows how little is needed to
// speak with a Mynah from a place where no Socket.IO library is at hand.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;

/**
 * Keeps one connection. `handlers`: `connect()`, `event(name, args)`, `disconnect({away, waitMs})`, where `away` means
 * that the server sent this client away and it does not come back by itself, and `traffic(direction, text)` for every
 * packet, "up" or "down".
 */
export class Socket {
  #url;
  #handlers;
  #web = null;
  #connected = false;
  #away = true;
  #attempts = 0;
  #patienceMs = 45_000;
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
    this.#away = false;
    if (!this.#web) this.#dial();
  }

  /** Says good-bye and stays away. */
  close() {
    this.#away = true;
    clearTimeout(this.#retry);
    if (this.#connected) this.#send('41');
    this.#web?.close();
  }

  /** Sends an event; false when there is no connection, and then nothing is kept for later. */
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
    else if (packet.startsWith('41')) this.#sentAway();
    else if (packet.startsWith('44')) this.#web.close();
    else if (packet.startsWith('42')) {
      const [name, ...args] = JSON.parse(packet.slice(packet.indexOf('[')));
      this.#handlers.event(name, args);
    }
  }

  #greet({ pingInterval, pingTimeout }) {
    this.#patienceMs = pingInterval + pingTimeout;
    this.#watch();
    this.#send('40');
  }

  #joined() {
    this.#connected = true;
    this.#attempts = 0;
    this.#handlers.connect();
  }

  #sentAway() {
    this.#away = true;
    this.#web.close();
  }

  /** A server that says nothing for longer than its heartbeats take is gone, whatever TCP thinks. */
  #watch() {
    clearTimeout(this.#watchdog);
    const web = this.#web;
    this.#watchdog = setTimeout(() => {
      web.onclose = null;
      web.close();
      this.#lost();
    }, this.#patienceMs);
  }

  #lost() {
    clearTimeout(this.#watchdog);
    this.#web = null;
    this.#connected = false;
    let waitMs;
    if (!this.#away) {
      const longest = Math.min(FIRST_DELAY_MS * 2 ** this.#attempts++, LONGEST_DELAY_MS);
      waitMs = longest * (0.5 + Math.random() / 2);
      this.#retry = setTimeout(() => this.#dial(), waitMs);
    }
    this.#handlers.disconnect({ away: this.#away, waitMs });
  }
}
