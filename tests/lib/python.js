// Python programs with pinned packages from PyPI. Each has a virtual environment below target/, which stays
// for the next run.

import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/**
 * The interpreter of an environment with the packages in the file `requirements`. Throws if Python is missing
 * or PyPI cannot be reached.
 */
export function python(name, requirements) {
  const venv = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), `python-${name}`);
  const interpreter = join(venv, 'bin/python');
  const installed = join(venv, 'installed');
  if (existsSync(installed) && readFileSync(installed).equals(readFileSync(requirements))) return interpreter;
  const run = (...command) => execFileSync(command[0], command.slice(1), { stdio: ['ignore', 'ignore', 'inherit'], timeout: 300_000 });
  run('python3', '-m', 'venv', '--clear', venv);
  run(interpreter, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--requirement', requirements);
  copyFileSync(requirements, installed);
  return interpreter;
}
