// One run: it sets up users and devices, runs load and faults for a while, waits until everything has
// arrived, and checks the result.

import { Backend } from './backend.js';
import { Chance } from './chance.js';
import { checkHanded } from './checks/handed.js';
import { checkRecord } from './checks/record.js';
import { checkSends } from './checks/sends.js';
import { checkServer } from './checks/server.js';
import { checkUnread } from './checks/unread.js';
import { deviceFaults } from './faults.js';
import { Gateway } from './gateway.js';
import { Ledger } from './ledger.js';
import { load } from './load.js';
import { Nodes } from './nodes.js';
import { Notified } from './notified.js';
import { plantInData, plantInRecord } from './plants.js';
import { quiet } from './quiet.js';
import { readRecord } from './record.js';
import { AT_ONCE, World } from './world.js';

const HEARTBEAT = { ping_interval_ms: 1_200, ping_timeout_ms: 1_200 };
/** Replays are limited to a few messages, so that clients have to fetch many. */
const CONFIG = { engine: HEARTBEAT, login: { policy: 'multi', max_devices: AT_ONCE }, limits: { resume_messages: 40 } };

/**
 * Returns {failures, counts} and what `keep` needs. Throws if the server ends unexpectedly or the run takes
 * far too long.
 */
export async function run(options, { disk, directory, note }) {
  const notified = options.cluster ? await Notified.start(new Chance(options.seed, 'webhook')) : undefined;
  const config = { ...CONFIG, ...notified?.config };
  const gateway = options.cluster ? await Nodes.start({ config }) : await Gateway.start({ directory, disk, config });
  const seconds = options.seconds * 2 + options.patience * 2 + 60;
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error(`the run was not finished after ${seconds} s`)), seconds * 1_000).unref());
  try {
    return await Promise.race([runWith({ gateway, notified, options, note }), gateway.death, late]);
  } catch (error) {
    throw Object.assign(error, { gateway });
  }
}

async function runWith({ gateway, notified, options, note }) {
  const chance = new Chance(options.seed);
  const ledger = new Ledger();
  gateway.whileDown = (directory) => plantInData(options.plant, directory);
  const backend = new Backend(() => gateway.url, ledger);
  const world = await World.make({ options, chance: chance.of('world'), ledger, gateway, backend });
  note(`${world.users.length} users with ${world.devices.length} devices, ${world.teams.length} teams; seed ${options.seed}`);
  await world.begin();

  const troubles = {};
  let isOver = false;
  const plan = gateway.plan({ chance: chance.of('plan'), options });
  const part = { world, backend, options, isOver: () => isOver };
  const going = [load({ ...part, chance: chance.of('load') }), deviceFaults({ ...part, chance: chance.of('devices'), everyMs: 8_000 / world.devices.length, counts: troubles })];
  if (notified) going.push(notified.load({ ...part, chance: chance.of('offline') }));
  const time = new Promise((resolve) => setTimeout(resolve, options.seconds * 1_000));
  await Promise.all([time, gateway.suffer({ plan, note })]);
  isOver = true;
  note('quiet: the last kill, and a limit that allows every device');
  await gateway.kill(0, { env: { MYNAH_LOGIN__MAX_DEVICES: '10' } });
  await Promise.race([Promise.all(going), new Promise((resolve) => setTimeout(resolve, options.patience * 1_000))]);
  const missing = await quiet({ world, ledger, backend, notified, seconds: options.patience, note });
  const state = { world, ledger, gateway, options, ...(await readRecord({ world, backend })) };
  plantInRecord(options.plant, state.record);
  notified?.plant(options.plant, state);

  const failures = missing.map((what) => ({ check: 'rest', what: `timed out waiting for ${what}` }));
  const fail = (check, what, detail) => failures.push({ check, what, detail });
  for (const device of world.devices) device.ownMids = new Set(ledger.in('kept').filter(({ by }) => by === device.name).map(({ receipts }) => receipts[0].mid));
  const counts = {
    sends: checkSends(state, fail),
    record: checkRecord(state, fail),
    handed: checkHanded(state, fail),
    unread: checkUnread(state, fail),
    ...(notified && { notified: notified.check(state, fail) }),
    faults: { ...gateway.counts, ...troubles, ...sumOf(world.devices.map(({ counts: one }) => one)) },
    backend: backend.counts,
  };
  for (const device of world.devices) if (device.isUp) await device.close();
  counts.server = checkServer({ ...state, end: await gateway.end() }, fail);
  world.close();
  notified?.close();
  return { failures, counts, state, plan };
}

function sumOf(all) {
  const sums = {};
  for (const one of all) for (const [name, value] of Object.entries(one)) sums[name] = (sums[name] ?? 0) + value;
  return sums;
}
