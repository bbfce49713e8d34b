// The limits of the server, and floods that each of them must hold.

import { closed, event, tcp, user } from './wire.js';

/** What the server is started with. Users may register as often as they like: storms are about displacing. */
export const LIMITS = {
  queue_bytes: 262_144,
  connections_per_address: 400,
  registers_per_minute: 600,
  registers_burst: 100,
  refused_burst: 2_000,
  user_registers_per_minute: 0,
};
/** HTTP connections that an address may have, as it may have so many sessions. */
const HTTP_PER_ADDRESS = 2 * LIMITS.connections_per_address + 64;
const TOO_FAST = 1008;
/** How long anything may take. */
const PATIENCE_MS = 20_000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until it is so; false when it never was. */
async function becomes(condition) {
  const end = performance.now() + PATIENCE_MS;
  while (!(await condition()) && performance.now() < end) await pause(20);
  return condition();
}

/** Connections that register again and again: answered 429 beyond the burst, and closed when they go on all the same. */
export async function registers({ port, over }) {
  const counts = { connections: 0, registered: 0, refused: 0, closed: 0, 'told why': 0 };
  const wrong = [];
  await Promise.all(Array.from({ length: 6 }, async (_, index) => {
    do {
      const begun = performance.now();
      const mine = { registered: 0, refused: 0, code: undefined };
      const hear = (text) => {
        const code = text.startsWith('43') ? /"code":(\d+)/.exec(text)?.[1] : undefined;
        if (code === '0') mine.registered += 1;
        else if (code === '429') mine.refused += 1;
        else if (code) wrong.push(`a register was answered ${code}`);
      };
      const ws = await user(port, `registers-${index}`, { hear, ended: (code) => (mine.code = code) });
      if (!ws) continue;
      counts.connections += 1;
      const burst = Array.from({ length: 100 }, () => event({ type: 1, data: { uid: `registers-${index}`, deviceid: 'd' } }, 1));
      // More than all bursts together, so that every one of them has to be closed.
      for (let sent = 0; ws.socket.writable && sent < 20_000; sent += burst.length) {
        burst.forEach(ws.text);
        while (ws.socket.writableLength > 0 && !ws.socket.destroyed) await pause(1);
      }
      await Promise.race([closed(ws.socket), pause(PATIENCE_MS)]);
      const allowed = LIMITS.registers_burst + (LIMITS.registers_per_minute * (performance.now() - begun)) / 60_000 + 1;
      if (mine.registered > allowed) wrong.push(`${mine.registered} registers were carried out, ${Math.floor(allowed)} may be`);
      if (mine.refused < LIMITS.refused_burst) wrong.push(`only ${mine.refused} were answered 429`);
      if (mine.code !== undefined && mine.code !== TOO_FAST) wrong.push(`it was closed with ${mine.code}`);
      if (!ws.socket.destroyed) wrong.push('who goes on and on was not closed');
      else counts.closed += 1;
      if (mine.code === TOO_FAST) counts['told why'] += 1;
      ws.socket.destroy();
      counts.registered += mine.registered;
      counts.refused += mine.refused;
    } while (!over());
  }));
  if (counts['told why'] === 0) wrong.push(`nobody was closed with ${TOO_FAST}`);
  return { ...counts, wrong: wrong.slice(0, 5) };
}

/** One address that comes again and again gets so many places and no more; its neighbour gets in, and so does it when it has left. */
export async function oneAddress({ port, over }) {
  const [from, neighbour, silent] = ['127.0.2.1', '127.0.2.2', '127.0.2.3'];
  const most = LIMITS.connections_per_address;
  const wrong = [];
  const inside = [];
  let refused = 0;
  const knock = (index) => user(port, `one-${index}`, {
    from,
    refused: (answer) => {
      refused += 1;
      if (!answer.startsWith('HTTP/1.1 429 ')) wrong.push(`it was answered ${answer.slice(0, 30)}`);
    },
  });
  let knocks = 0;
  const loops = Array.from({ length: 20 }, async () => {
    do {
      const ws = await knock((knocks += 1));
      if (ws) inside.push(ws);
    } while (!over() || inside.length < most && knocks < 4 * most);
  });
  await Promise.all(loops);
  const open = inside.filter(({ socket }) => !socket.destroyed).length;
  if (open !== most) wrong.push(`${open} connections of one address are open, ${most} should be`);
  if (refused === 0) wrong.push('none was refused');
  const other = await user(port, 'one-neighbour', { from: neighbour });
  if (!other) wrong.push('its neighbour is not let in');
  other?.socket.destroy();

  // Connections that ask for nothing are bounded too.
  let told = 0;
  const idle = Array.from({ length: HTTP_PER_ADDRESS + 100 }, () => {
    const socket = tcp(port, { from: silent, hears: true });
    return socket.on('data', (data) => (told += data.includes('HTTP/1.1 429 ') ? 1 : 0));
  });
  if (!(await becomes(() => told >= 100))) wrong.push(`${told} of 100 connections too many were refused`);
  idle.forEach((socket) => socket.destroy());

  inside.forEach(({ socket }) => socket.destroy());
  let back;
  await becomes(async () => (back ??= await knock(0)) !== undefined);
  if (!back) wrong.push('it does not get in again');
  back?.socket.destroy();
  return { 'let in': inside.length, refused, 'refused without a request': told, wrong: wrong.slice(0, 5) };
}
