// The load. Users send to friends and teams, read, and recall; the backend sends through the API, and adds
// and removes members.

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const MOST_WAITING = 40;
const PAIR_KINDS = [3, 3, 3, 7, 8, 9, 18];
const NOTICE_KINDS = [4, 5, 6, 10, 11, 13, 14];
const TEXTS = ['你好 👋', '在吗?', 'plain', '🔥'.repeat(40), 'née "quoted" \\ \u2028', ''];

/** Runs until `isOver()`. Resolves when all its calls are answered. */
export async function load({ world, backend, chance, options, isOver }) {
  const tickMs = 20;
  const perTick = (options.rate * tickMs) / 1000;
  const jobs = [];
  const moves = Promise.all(world.teams.map((team, t) => moveMembers({ team, backend, chance: chance.of(`moves ${t}`), isOver })));
  let owed = 0;
  let last = Date.now();
  while (!isOver()) {
    await sleep(tickMs);
    // Late ticks on a busy machine do not reduce the load. But after a long pause, the load is not made up
    // for.
    owed = Math.min(owed + (perTick * (Date.now() - last)) / tickMs, perTick * 10);
    last = Date.now();
    for (; owed >= 1; owed--) {
      if (chance.isOne(0.2)) jobs.push(byBackend(world, backend, chance));
      else byUser(world, chance);
    }
  }
  await Promise.all(jobs);
  await moves;
}

function byUser(world, chance) {
  const device = chance.pick(world.devices);
  if (!device.isUp || device.client.pending.length > MOST_WAITING) return;
  const act = chance.weighted({ pair: 60, team: 20, read: 15, recall: 5 });
  const data = { text: chance.pick(TEXTS) };
  const id = chance.isOne(0.5) ? `own-${device.ledger.entries.length}` : undefined;
  const user = world.users.find(({ uid }) => uid === device.uid);
  if (act === 'pair') device.send({ to: { user: chance.pick(user.friends) }, kind: chance.pick(PAIR_KINDS), data, id });
  else if (act === 'team') {
    const teams = world.teams.filter(({ members }) => members.includes(device.uid));
    if (teams.length > 0) device.send({ to: { team: chance.pick(teams).name }, kind: 15, data, id });
  } else if (act === 'read' && device.last.size > 0) void device.markRead(chance.pick([...device.last.keys()]));
  else if (act === 'recall') {
    const mine = device.ledger.entries.findLast(({ by, state }) => by === device.name && state === 'kept');
    if (mine?.receipts[0].mid) void device.recall(mine.receipts[0].mid);
  }
}

async function byBackend(world, backend, chance) {
  const data = { text: chance.pick(TEXTS) };
  const user = () => chance.pick(world.users).uid;
  const act = chance.weighted({ notice: 4, pair: 3, many: 1, team: 2 });
  if (act === 'notice') await backend.send({ to: { user: user() }, kind: chance.pick(NOTICE_KINDS), data });
  else if (act === 'pair') await backend.send({ to: { user: user() }, from: user(), kind: chance.pick(PAIR_KINDS), data });
  else if (act === 'many') await backend.send({ to: { users: [...new Set([user(), user(), user()])] }, kind: chance.pick(NOTICE_KINDS), data });
  else {
    const team = chance.pick(world.teams);
    if (team.staying.length > 0) await backend.send({ to: { team: team.name }, from: chance.pick(team.staying), kind: 15, data });
  }
}

/** Changes members one after another, so that the final members are known. */
async function moveMembers({ team, backend, chance, isOver }) {
  const isIn = new Map(team.moving.map((uid) => [uid, true]));
  while (!isOver() && team.moving.length > 0) {
    await sleep(chance.between(500, 3_000));
    const uid = chance.pick(team.moving);
    isIn.set(uid, !isIn.get(uid));
    await backend.move(team.name, uid, isIn.get(uid));
  }
}
