// The faults and their times, all derived from the seed. Faults of the server come one after another; faults
// of single devices happen at the same time.

import { come } from './world.js';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Plans kills at random moments, one in each part of the run. Between them the server hangs, or its disk is
 * full.
 */
export function planServer({ chance, rounds, seconds, canFill, hangMs }) {
  const part = (seconds * 1000) / Math.max(rounds, 1);
  const plan = [];
  for (let i = 0; i < rounds; i++) {
    // Every sort of kill is used, most often the plain one.
    const way = i % 4 === 1 ? 'hang and kill' : i % 4 === 2 && canFill ? 'full and kill' : 'kill';
    plan.push({ at: part * (i + chance.between(0.05, 0.95)), way, ms: chance.between(0, 1_200), hangMs });
  }
  for (let i = 0; i < Math.ceil(rounds / 4); i++) {
    plan.push({ at: chance.between(0, seconds * 1000), way: 'hang', hangMs: hangMs + chance.between(0, 1_000) });
    if (canFill) plan.push({ at: chance.between(0, seconds * 1000), way: 'full', ms: chance.between(500, 2_500) });
  }
  return plan.sort((a, b) => a.at - b.at);
}

/** Carries out the plan. Resolves when it is finished and the server runs. */
export async function serverFaults({ plan, gateway, note }) {
  const begin = Date.now();
  for (const { at, way, ms, hangMs } of plan) {
    await sleep(Math.max(0, begin + at - Date.now()));
    note(`server: ${way}`);
    if (way === 'kill') await gateway.kill(ms);
    else if (way === 'hang and kill') {
      await gateway.stop(hangMs / 2);
      await gateway.kill(ms);
    } else if (way === 'hang') {
      await gateway.stop(hangMs);
      gateway.goOn();
    } else {
      gateway.fill();
      await sleep(ms);
      if (way === 'full') gateway.makeRoom();
      else await gateway.kill(0, { meanwhile: () => gateway.makeRoom() });
    }
  }
}

const WEIGHTS = { cut: 4, middle: 4, delay: 2, stall: 3, crash: 5, restart: 3, signOut: 1, silence: 2 };

/** Causes faults of single devices until `isOver()`. Resolves when the last fault has ended. */
export async function deviceFaults({ world, backend, chance, everyMs, counts, isOver }) {
  const running = [];
  while (!isOver()) {
    await sleep(chance.between(0, everyMs * 2));
    const device = chance.pick(world.devices);
    if (device.isTroubled) continue;
    device.isTroubled = true;
    running.push(trouble({ device, backend, chance, counts, isOver }).finally(() => (device.isTroubled = false)));
  }
  await Promise.all(running);
}

async function trouble({ device, backend, chance, counts, isOver }) {
  const { wire } = device;
  const count = (name) => (counts[name] = (counts[name] ?? 0) + 1);
  if (device.knownAt === undefined) {
    count('new device');
    await Promise.race([come(device), sleep(5_000)]);
    return;
  }
  if (device.isStopped) {
    count('comes back');
    device.reconnect();
    return;
  }
  const name = chance.weighted(WEIGHTS);
  const way = chance.pick(['up', 'down']);
  const ms = chance.between(0, 2_500);
  count(name);
  if (name === 'cut') wire.cut({ reset: chance.isOne(0.5) });
  else if (name === 'middle') wire.cutInTheMiddle(way);
  else if (name === 'delay') {
    wire.delay(chance.between(20, 200));
    await sleep(ms);
    wire.delay(0);
  } else if (name === 'stall' || name === 'silence') {
    wire.stall(way);
    await sleep(name === 'silence' ? ms + 3_000 : ms);
    if (chance.isOne(0.5)) wire.cut();
    wire.heal();
  } else if (name === 'crash' || name === 'restart') {
    if (!device.isUp) return;
    if (name === 'crash') device.crash();
    else await device.close();
    if (!isOver()) await sleep(chance.between(0, 1_500));
    device.start();
  } else if (name === 'signOut') await backend.insist('POST', `/v1/users/${encodeURIComponent(device.uid)}/signout`, {});
}
