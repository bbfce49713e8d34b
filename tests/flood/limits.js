// The limits of the server under test, and floods that check two of them.

import { closed, event, tcp, user } from './wire.js';

/**
 * The limits that the server is started with. Registers of a user are not limited, because the reconnect
 * storm needs many.
 */
export const LIMITS = {
  queue_bytes: 262_144,
  connections_per_address: 400,
  registers_per_minute: 600,
  registers_burst: 100,
  refused_burst: 2_000,
  user_registers_per_minute: 0,
};
/** The number of HTTP connections that an address may have if it may have this number of sessions. */
const HTTP_PER_ADDRESS = 2 * LIMITS.connections_per_address + 64;
const TOO_FAST = 1008;
/** The time limit for each step. */
const PATIENCE_MS = 20_000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until the condition is true. Returns false if it does not become true in time. */
async function becomes(condition) {
  const end = performance.now() + PATIENCE_MS;
  while (!(await condition()) && performance.now() < end) await pause(20);
  return condition();
}

/**
 * Connections that register again and again. Registers beyond the burst are answered 429; a connection that
 * continues is closed.
 */
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
        else if (code) wrong.push(`a register was answered with code ${code}`);
      };
      const ws = await user(port, `registers-${index}`, { hear, ended: (code) => (mine.code = code) });
      if (!ws) continue;
      counts.connections += 1;
      const burst = Array.from({ length: 100 }, () => event({ type: 1, data: { uid: `registers-${index}`, deviceid: 'd' } }, 1));
      // These are more than all bursts together, so every connection has to be closed.
      for (let sent = 0; ws.socket.writable && sent < 20_000; sent += burst.length) {
        burst.forEach(ws.text);
        while (ws.socket.writableLength > 0 && !ws.socket.destroyed) await pause(1);
      }
      await Promise.race([closed(ws.socket), pause(PATIENCE_MS)]);
      const allowed = LIMITS.registers_burst + (LIMITS.registers_per_minute * (performance.now() - begun)) / 60_000 + 1;
      if (mine.registered > allowed) wrong.push(`${mine.registered} registers were accepted; at most ${Math.floor(allowed)} are allowed`);
      if (mine.refused < LIMITS.refused_burst) wrong.push(`only ${mine.refused} registers were answered 429`);
      if (mine.code !== undefined && mine.code !== TOO_FAST) wrong.push(`a connection was closed with code ${mine.code}, not ${TOO_FAST}`);
      if (!ws.socket.destroyed) wrong.push('a connection that did not slow down was not closed');
      else counts.closed += 1;
      if (mine.code === TOO_FAST) counts['told why'] += 1;
      ws.socket.destroy();
      counts.registered += mine.registered;
      counts.refused += mine.refused;
    } while (!over());
  }));
  if (counts['told why'] === 0) wrong.push(`no connection was closed with code ${TOO_FAST}`);
  return { ...counts, wrong: wrong.slice(0, 5) };
}

/**
 * One address that opens more and more connections gets the allowed number. Another address can connect
 * meanwhile, and the first one can connect again after it has closed connections.
 */
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
      if (!answer.startsWith('HTTP/1.1 429 ')) wrong.push(`a refused connection was answered ${answer.slice(0, 30)}`);
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
  if (open !== most) wrong.push(`${open} connections of one address are open, not ${most}`);
  if (refused === 0) wrong.push('no connection was refused');
  const other = await user(port, 'one-neighbour', { from: neighbour });
  if (!other) wrong.push('another address cannot connect');
  other?.socket.destroy();

  // Connections that send no request are limited too.
  let told = 0;
  const idle = Array.from({ length: HTTP_PER_ADDRESS + 100 }, () => {
    const socket = tcp(port, { from: silent, hears: true });
    return socket.on('data', (data) => (told += data.includes('HTTP/1.1 429 ') ? 1 : 0));
  });
  if (!(await becomes(() => told >= 100))) wrong.push(`${told} of 100 connections beyond the limit were refused`);
  idle.forEach((socket) => socket.destroy());

  inside.forEach(({ socket }) => socket.destroy());
  let back;
  await becomes(async () => (back ??= await knock(0)) !== undefined);
  if (!back) wrong.push('the address cannot connect again');
  back?.socket.destroy();
  return { 'let in': inside.length, refused, 'refused without a request': told, wrong: wrong.slice(0, 5) };
}
