// What the server takes, as the kernel says.

import { readFileSync, readdirSync } from 'node:fs';

const PERIOD_MS = 100;

/** MiB that are resident. */
export const rss = (pid) => Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024);

/** Descriptors that are open. */
export const descriptors = (pid) => readdirSync(`/proc/${pid}/fd`).length;

/** Looks again and again; `most()` is the most that was seen since the last call. */
export class Watch {
  #pid;
  #most = { mib: 0, fds: 0 };
  #timer;

  constructor(pid) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.#look(), PERIOD_MS);
  }

  #look() {
    try {
      this.#most = { mib: Math.max(this.#most.mib, rss(this.#pid)), fds: Math.max(this.#most.fds, descriptors(this.#pid)) };
    } catch {
      // It has ended, which is noticed elsewhere.
    }
  }

  most() {
    this.#look();
    const most = this.#most;
    this.#most = { mib: 0, fds: 0 };
    return most;
  }

  stop() {
    clearInterval(this.#timer);
  }
}
