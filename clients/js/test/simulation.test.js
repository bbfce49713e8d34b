// Whole lives of a device against the model of the gateway, with random events. `MYNAH_SEED=<n>` repeats one
// life; `MYNAH_LIVES=<n>` sets their number.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chance, seeds } from './lib/chance.js';
import { Life } from './lib/life.js';

const STEPS = 150;

async function live(seed, more = {}) {
  const dice = chance(seed);
  const life = new Life(dice, { limits: { resume: 1 + dice.below(8), listed: 1 + dice.below(4) }, ...more });
  const { gateway, time } = life;
  const others = ['小明', 'bob', 'carol'];
  const accepted = [];
  let n = 0;
  const somebodyWrites = () => gateway.write(dice.one(others), dice.happens(0.4) ? { team: dice.one(teams()) } : { user: 'me' }, { n: ++n });
  const teams = () => [...gateway.teams.keys()];
  for (const uid of others) gateway.join('t1', uid);
  gateway.join('t1', 'me');
  for (let i = dice.below(10); i > 0; i--) somebodyWrites();

  life.start();
  await time.pass(3_000, () => gateway.connections.size > 0);
  life.known();

  const acts = [
    [30, somebodyWrites],
    [4, () => { for (let i = 12; i > 0; i--) somebodyWrites(); }],
    [10, () => {
      if (!life.client) return;
      const to = dice.happens(0.3) ? { team: 't1' } : { user: dice.one([...others, 'me']) };
      const number = ++n;
      const { client, running } = life;
      // Once a message is in the storage, it must arrive. Before that, a crash may lose it.
      const accept = () => running.gone || accepted.push({ to, n: number });
      client.send(to, 'team' in to ? 15 : 3, { by: 'this', n: number }).then(accept, () => {});
      time.later(30, () => [...life.written].some((text) => text.includes(`"n":${number}}`)) && accept());
    }],
    [4, () => gateway.write('me', { user: dice.one(others) }, { by: 'my other device', n: ++n })],
    [8, () => life.network.cut()],
    [4, () => life.running && life.crash()],
    [2, () => life.running && life.close()],
    [8, () => life.running || life.start()],
    [2, () => gateway.join(`t${2 + dice.below(3)}`, dice.one([...others, 'me']))],
    [1, () => { const conv = dice.one([...gateway.convs.values()]); gateway.forget(conv, dice.below(conv.messages.length + 1)); }],
    [4, () => { const conv = dice.one([...gateway.convs.keys()]); life.client?.markRead(conv).catch(() => {}); }],
    [30, () => time.pass(dice.below(120))],
    [3, () => time.pass(dice.below(2_000))],
  ];
  const bag = acts.flatMap(([weight, act]) => Array(weight).fill(act));
  for (let step = 0; step < STEPS; step++) await dice.one(bag)();
  await life.end(accepted);
}

for (const seed of seeds(Number(process.env.MYNAH_LIVES ?? 60))) {
  test(`seed ${seed}: all messages arrive once and in order, despite crashes and disconnects`, () => live(seed));
}

for (const [what, sabotage] of [
  ['positions', (key) => key.includes(':at:')],
  ['the messages of the outbox', (key) => key.includes(':out:')],
  ['device ids', (key) => key.endsWith(':device')],
]) {
  test(`the simulation fails if ${what} are not saved`, async () => {
    for (let seed = 1; seed <= 20; seed++) {
      if (await live(seed, { sabotage }).then(() => false, () => true)) return;
    }
    assert.fail('no seed has failed');
  });
}
