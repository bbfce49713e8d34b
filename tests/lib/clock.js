// A clock for the gateway that can be set while it runs: Debian's faketime, preloaded. Its steady clock goes on, as a machine's
// does when somebody sets the time.

import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const libraries = '/usr/lib';
const library = readdirSync(libraries)
  .map((name) => join(libraries, name, 'faketime/libfaketimeMT.so.1'))
  .find(existsSync);

/** Why there is no such clock here, for `test`'s option `skip`; false where there is one. */
export const noClock = library ? false : 'faketime is not installed: the gateway was not tested with a clock that is set';

export class Clock {
  #file;

  /** A clock that is right, in a directory of the test's own. */
  constructor(directory) {
    this.#file = join(directory, 'clock');
    this.env = { LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: this.#file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1' };
    this.set(0);
  }

  /** Sets the clock so that it is off by so many seconds. */
  set(seconds) {
    writeFileSync(`${this.#file}.new`, `${seconds < 0 ? '' : '+'}${seconds}s`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}
