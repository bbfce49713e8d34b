// The users of a run: each has 1 to 3 devices with different versions of socket.io-client and transports,
// friends, and teams whose members change.

import { CLIENTS, Device } from './device.js';
import { plantFor } from './plants.js';
import { Wire } from './wire.js';

/**
 * The largest number of connected devices per user under load. If a user has three, each new connection
 * displaces one.
 */
export const AT_ONCE = 2;

export class World {
  users = [];
  devices = [];
  teams = [];

  static async make({ options, chance, ledger, gateway, backend }) {
    const world = new World();
    let turn = 0;
    for (let u = 0; u < options.clients; u++) {
      const user = { uid: `用户${u} 🐦`, devices: [], friends: [] };
      for (let d = chance.int(1, 3); d > 0; d--) {
        const device = new Device({
          uid: user.uid,
          index: user.devices.length + 1,
          client: CLIENTS[turn++ % CLIENTS.length],
          wire: await Wire.open(() => gateway.port),
          ledger,
          chance: chance.of(`device ${turn}`),
          slow: chance.isOne(0.5),
          // Some of the further devices connect for the first time during the run.
          late: user.devices.length > 0 && chance.isOne(0.2),
          plant: plantFor(options.plant, chance.of(`plant ${turn}`)),
        });
        user.devices.push(device);
        world.devices.push(device);
      }
      world.users.push(user);
    }
    for (const user of world.users) for (let f = 0; f < 4; f++) user.friends.push(chance.pick(world.users).uid);
    for (let t = 0; t < options.teams; t++) {
      const some = world.users.filter((_, u) => u % options.teams === t || chance.isOne(0.1)).map(({ uid }) => uid);
      const team = { name: `队${t} 🎏`, staying: some.slice(2), moving: some.slice(0, 2), members: some };
      const { body } = await backend.insist('PUT', `/v1/teams/${encodeURIComponent(team.name)}`, { members: some });
      team.conv = body.conv;
      world.teams.push(team);
    }
    return world;
  }

  /** Starts every device that is not late. Resolves when the server knows them all. */
  async begin() {
    for (const { devices } of this.users) for (const device of devices) if (!device.late) await come(device);
  }

  close() {
    for (const { wire } of this.devices) wire.close();
  }
}

/** Starts a device for the first time. Resolves when the server knows it. */
export function come(device) {
  const known = new Promise((resolve) => (device.firstConnected = resolve));
  device.start();
  return known;
}
