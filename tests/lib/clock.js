// A clock for the gateway that can be set while it runs: Debian's faketime, preloaded. The monotonic clock is
// not changed, as on a machine whose time of day is set.

import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const libraries = '/usr/lib';
const library = readdirSync(libraries)
  .map((name) => join(libraries, name, 'faketime/libfaketimeMT.so.1'))
  .find(existsSync);

/** The reason for the option `skip` of `test` if faketime is not installed; false if it is. */
export const noClock = library ? false : 'faketime is not installed: the gateway was not tested while its clock is set';

export class Clock {
  #file;

  /** A clock that shows the right time. Its file is in a directory of the test. */
  constructor(directory) {
    this.#file = join(directory, 'clock');
    this.env = { LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: this.#file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1' };
    this.set(0);
  }

  /** Sets the clock so that it is ahead by `seconds` (behind, if negative). */
  set(seconds) {
    writeFileSync(`${this.#file}.new`, `${seconds < 0 ? '' : '+'}${seconds}s`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}
