// The command that scripts/chaos starts. It prints what was checked, with counts. After a failure it prints
// the seed, the wrong messages, and the directory with the evidence.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { keep, keepServer } from './keep.js';
import { DEFAULTS, optionsOf } from './options.js';
import { PLANTS } from './plants.js';
import { run } from './run.js';

const SHOWN = 12;
const MOST_SHOWN = 600;

let options;
try {
  options = optionsOf(process.argv.slice(2));
  if (options.cluster && options.plant.startsWith('data-')) throw new Error(`${options.plant} changes a data directory: it cannot be used with --cluster`);
  if (options.plant && !PLANTS.includes(options.plant)) throw new Error(`unknown fault ${options.plant}; the faults are ${PLANTS.join(', ')}`);
} catch (error) {
  console.error(`scripts/chaos: ${error.message}`);
  process.exit(2);
}

const began = Date.now();
const note = (text) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}`);
const disk = process.env.MYNAH_TEST_SMALL_DISK;
if (!disk && !options.cluster) console.log('SKIPPED full disk: MYNAH_TEST_SMALL_DISK is not set, because this user may not mount a small file system');

const directory = options.dir || mkdtempSync(join(tmpdir(), 'mynah-chaos-'));
mkdirSync(directory, { recursive: true });
const result = await run(options, { disk, directory, note }).catch((error) => {
  if (error.gateway) keepServer(directory, error.gateway);
  console.log(`\n---- FAILED: the run was aborted: ${error.stack}\nseed ${options.seed}; kept: ${directory}`);
  process.exit(1);
});
const { failures, counts } = result;
console.log(`\n---- checked, in ${Math.round((Date.now() - began) / 1000)} s`);
for (const [name, values] of Object.entries(counts)) {
  console.log(`${name.padEnd(8)} ${Object.entries(values).map(([what, value]) => `${what} ${typeof value === 'object' ? inspect(value) : value}`).join(', ')}`);
}
const isKept = options.dir !== '' || (failures.length > 0 && options.keep !== 'no');
if (!isKept) rmSync(directory, { recursive: true, force: true });
if (failures.length === 0) {
  console.log(`ok: seed ${options.seed}`);
} else {
  if (isKept) keep({ ...result, directory });
  const perCheck = Object.entries(countBy(failures.map(({ check }) => check))).map(([check, times]) => `${check} ${times}`);
  console.log(`\n---- FAILED: ${perCheck.join(', ')}`);
  for (const { check, what, detail } of failures.slice(0, SHOWN)) console.log(`${check}: ${what}${detail ? `\n    ${shown(detail)}` : ''}`);
  if (failures.length > SHOWN) console.log(`... and ${failures.length - SHOWN} more`);
  const again = Object.entries(options).filter(([name, value]) => value !== DEFAULTS[name] && !['dir', 'keep'].includes(name)).map(([name, value]) => (value === true ? `--${name}` : `--${name} ${value}`));
  console.log(`seed ${options.seed}; run it again with scripts/chaos ${again.join(' ')}${isKept ? `\nkept: ${directory}` : ''}`);
}
// Sockets of crashed applications may keep the event loop busy.
process.exit(failures.length === 0 ? 0 : 1);

function shown(detail) {
  const text = inspect(detail, { depth: 4, breakLength: Infinity, maxArrayLength: 40 });
  return text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)} ...` : text;
}

function countBy(names) {
  const counted = {};
  for (const name of names) counted[name] = (counted[name] ?? 0) + 1;
  return counted;
}
