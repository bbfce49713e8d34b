// The end of a run: there are no more faults, all devices connect, and everything that is in flight must
// arrive in time.

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Starts and reconnects all devices, then waits until nothing is missing. Returns what is still missing after
 * the time limit.
 */
export async function quiet({ world, ledger, backend, notified, seconds, note }) {
  for (const device of world.devices) {
    device.wire.heal();
    if (!device.isUp) device.start();
  }
  const end = Date.now() + seconds * 1_000;
  for (let round = 0; ; round++) {
    for (const device of world.devices) if (device.isStopped) device.reconnect();
    const missing = [...unsent(world, ledger, backend), ...(await behind(world)), ...(notified?.missing() ?? [])];
    if (missing.length === 0) return [];
    if (Date.now() > end) return missing;
    if (round % 20 === 19) note(`quiet: ${missing.length} things are missing, for example ${missing[0]}`);
    await sleep(250);
  }
}

function unsent(world, ledger, backend) {
  const open = ledger.in('open').map(({ n, by, to }) => `message ${n} of ${by} to ${JSON.stringify(to)} to be sent`);
  const pending = world.devices.filter(({ client }) => client.pending.length > 0).map(({ name, client }) => `the outbox of ${name} to be empty (${client.pending.length})`);
  const away = world.devices.filter(({ status }) => status !== 'connected').map(({ name, status }) => `${name} to connect (it is ${status})`);
  const calls = backend.busy > 0 ? [`${backend.busy} calls to be answered`] : [];
  return [...away, ...open, ...pending, ...calls];
}

/**
 * Finds devices that have not acknowledged the head of each conversation. (The written position may be behind
 * the gateway's cursor: if the last messages are the device's own, and it crashed before it saved that they
 * were sent.)
 */
async function behind(world) {
  const missing = [];
  for (const device of world.devices) {
    if (device.status !== 'connected') continue;
    try {
      for await (const { conv, head, cursor } of device.client.conversations({ limit: 200 })) {
        if (cursor < head) missing.push(`${device.name} (${device.kind}) to acknowledge ${conv} up to ${head} (the gateway's cursor is ${cursor}, the written position is ${device.storage.position(conv)})`);
      }
    } catch (error) {
      missing.push(`${device.name} to list its conversations (${error.code})`);
    }
  }
  return missing;
}
