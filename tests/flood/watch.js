// The resources of the server process, as the kernel reports them.

import { readFileSync, readdirSync } from 'node:fs';

const PERIOD_MS = 100;

/** The resident memory in MiB. */
export const rss = (pid) => Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024);

/** The number of open descriptors. */
export const descriptors = (pid) => readdirSync(`/proc/${pid}/fd`).length;

/** Samples the resources of a process. `most()` returns the maximum since the last call. */
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
      // The process has ended, which is detected elsewhere.
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
