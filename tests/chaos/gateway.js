// The server under test and its faults: kill -9, SIGSTOP, a full disk. It keeps the output of all runs of the
// program and samples its memory.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startGateway } from '../lib/program.js';
import { planServer, serverFaults } from './faults.js';

/** How long the server hangs: longer than the heartbeat. */
const HANG_MS = 3_200;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Gateway {
  logs = [];
  /** The largest resident memory that was seen, in MiB. */
  mostMiB = 0;
  counts = { kills: 0, stops: 0, full: 0 };
  /** Called after a kill with the data directory. A planted fault changes the data here. */
  whileDown = () => {};
  #gateway;
  #env = {};
  #disk;
  #watch;
  /** The end of the program is expected: it was killed, or the run is over. */
  #isWanted = false;
  #die;
  /** Rejects if the program ends unexpectedly. */
  death = new Promise((_, reject) => (this.#die = reject));

  /** `disk` is a directory on a small file system, or undefined. The other files are in `directory`. */
  static async start({ directory, disk, config }) {
    const self = new Gateway();
    self.#disk = disk;
    const data = join(disk ? mkdtempSync(join(disk, 'chaos-')) : directory, 'data');
    mkdirSync(data, { recursive: true });
    self.#gateway = await startGateway({ directory, env: self.#env, config: { ...config, store: { path: data } } });
    self.#began();
    self.#watch = setInterval(() => self.#weigh(), 250);
    return self;
  }

  #began() {
    const { program } = this.#gateway;
    this.logs.push(program);
    this.#isWanted = false;
    program.exited.then((end) => {
      if (!this.#isWanted) this.#die(new Error(`the server ended unexpectedly with ${JSON.stringify(end)}`));
    });
  }

  get port() {
    return this.#gateway.port;
  }

  get url() {
    return this.#gateway.url;
  }

  get api() {
    return this.#gateway.api;
  }

  get data() {
    return this.#gateway.data;
  }

  get canFill() {
    return this.#disk !== undefined;
  }

  /** The output of all runs of the program. */
  get output() {
    return this.logs.map((program, i) => `---- life ${i + 1}\n${program.output}`).join('\n');
  }

  #weigh() {
    try {
      const [, kib] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.#gateway.program.pid}/status`, 'utf8')) ?? [];
      if (kib) this.mostMiB = Math.max(this.mostMiB, Math.round(Number(kib) / 1024));
    } catch {
      // The process is being killed, or this system has no /proc.
    }
  }

  /** Kills and restarts the program. `meanwhile` is called before the restart. */
  async kill(downMs, { env = {}, meanwhile = () => {} } = {}) {
    this.counts.kills++;
    this.#isWanted = true;
    await this.#gateway.program.kill();
    await sleep(downMs);
    this.whileDown(this.data);
    meanwhile();
    Object.assign(this.#env, env);
    await this.#gateway.start();
    this.#began();
  }

  /** Stops the process for a while, as on a machine that swaps or is migrated. */
  async stop(ms) {
    this.counts.stops++;
    this.#gateway.program.signal('SIGSTOP');
    await sleep(ms);
  }

  goOn() {
    this.#gateway.program.signal('SIGCONT');
  }

  /** Uses all space on the disk, to the last byte. */
  fill() {
    this.counts.full++;
    for (let size = 1 << 20; size >= 1; size >>= 4) {
      try {
        for (;;) writeFileSync(this.#ballast, Buffer.alloc(size, 1), { flag: 'a' });
      } catch (error) {
        if (error.code !== 'ENOSPC') throw error;
      }
    }
    return statfsSync(this.#disk).bavail === 0;
  }

  makeRoom() {
    rmSync(this.#ballast, { force: true });
  }

  get #ballast() {
    return join(this.#disk, 'ballast');
  }

  plan({ chance, options: { rounds, seconds } }) {
    return planServer({ chance, rounds, seconds, canFill: this.canFill, hangMs: HANG_MS });
  }

  /** Carries out the plan. Resolves when it is finished and the server runs. */
  suffer({ plan, note }) {
    return serverFaults({ plan, gateway: this, note });
  }

  /** Ends the program as an operator does. */
  async end() {
    clearInterval(this.#watch);
    this.#isWanted = true;
    return this.#gateway.program.stop();
  }
}
