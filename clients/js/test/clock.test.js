// The clock of the client is monotonic: setting the time of day does not lengthen a wait.

import assert from 'node:assert/strict';
import { test } from 'node:test';

const built = new URL('../dist/esm/host.js', import.meta.url);
const HOUR = 3_600_000;

/** The clock of the client in a host with or without `performance`. `day` sets the time of day. */
async function clockOf(t, hasPerformance, day) {
  const { performance } = globalThis;
  t.mock.method(Date, 'now', () => day.now);
  Object.defineProperty(globalThis, 'performance', { value: hasPerformance ? performance : undefined, configurable: true, writable: true });
  try {
    const { systemClock } = await import(`${built}?${hasPerformance}`);
    return systemClock;
  } finally {
    Object.defineProperty(globalThis, 'performance', { value: performance, configurable: true, writable: true });
  }
}

for (const hasPerformance of [true, false]) {
  test(`the clock does not go back with the time of day, ${hasPerformance ? 'with' : 'without'} performance.now`, async (t) => {
    const day = { now: 1_790_000_000_000 };
    const clock = await clockOf(t, hasPerformance, day);
    let last = clock.now();
    for (const step of [1_000, -HOUR, 1_000, 1_000, -24 * HOUR, 1_000]) {
      day.now += step;
      const now = clock.now();
      assert.ok(now >= last, `${now} after ${last}`);
      // Without performance.now, the clock follows the time of day, except for its steps back.
      if (!hasPerformance) assert.equal(now - last, Math.max(0, step));
      last = now;
    }
  });
}
