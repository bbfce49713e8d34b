// The package as its users install it: both module systems, the types, the table of kinds, the storages, and
// no dependency.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import * as esm from 'mynah-client';
import { SavedState } from '../dist/esm/saved-state.js';
import { signOutUrl } from '../dist/esm/signout.js';
import { subjectOf } from '../dist/esm/token.js';

const here = (path) => new URL(path, import.meta.url);
const read = (path) => readFileSync(here(path), 'utf8');

test('import and require have the same exports', () => {
  const cjs = createRequire(import.meta.url)('mynah-client');
  assert.deepEqual(Object.keys(cjs).sort(), Object.keys(esm).sort());
});

test('the package imports only its own files, and its only peer dependency is socket.io-client', () => {
  const files = readdirSync(here('../dist/esm'), { recursive: true }).filter((name) => name.endsWith('.js'));
  for (const name of files) {
    for (const [, from] of read(`../dist/esm/${name}`).matchAll(/^(?:import|export) .*from '([^']+)'/gm)) assert.match(from, /^\.\.?\//, name);
  }
  const { dependencies, peerDependencies } = JSON.parse(read('../package.json'));
  assert.deepEqual([dependencies, Object.keys(peerDependencies)], [undefined, ['socket.io-client']]);
});

test('the types accept correct programs and reject wrong ones', () => {
  const tsc = new URL('../node_modules/typescript/bin/tsc', import.meta.url).pathname;
  try {
    execFileSync(process.execPath, [tsc, '-p', here('types/tsconfig.json').pathname], { encoding: 'utf8' });
  } catch (error) {
    assert.fail(error.stdout);
  }
});

test('the table of kinds equals that in docs/PROTOCOL.md', () => {
  const document = read('../../../docs/PROTOCOL.md');
  const table = document.slice(document.indexOf('<!-- kinds: begin -->'), document.indexOf('<!-- kinds: end -->'));
  const rows = table.split('\n').filter((line) => /^\| \d/.test(line)).map((line) => line.slice(2, -2).split(' | '));
  assert.ok(rows.length > 30);
  const places = { '–': 'none', 'pair (doctor)': 'pair_doctor', 'pair (teammate)': 'pair_teammate', 'pair (doctor friend)': 'pair_doctor_friend', 'of the message': 'of_message' };
  const documented = Object.fromEntries(rows.map(([kind, name, way, place, stored, unread, , sender]) => [
    kind, { name, way, place: places[place] ?? place, stored: stored === 'yes', unread: unread === 'yes', clients: /clients|members/.test(sender) },
  ]));
  assert.deepEqual(esm.KINDS, documented);
  for (const [name, kind] of Object.entries(esm.Kind)) {
    assert.equal(esm.KINDS[kind].name.replace(/^(C2S|S2C)_|_PUSH$/g, ''), name === 'RES' ? 'RES' : name, `Kind.${name}`);
  }
  assert.equal(Object.keys(esm.Kind).length, rows.length);
});

test('the saved state survives a restart, and failures of the storage are reported', async () => {
  const kept = new Map();
  const errors = [];
  const open = (uid = '小明:at', storage = esm.memoryStorage(kept)) => {
    const savedState = new SavedState(storage, 'mynah', (error) => errors.push(error));
    savedState.open(uid);
    return savedState;
  };
  const message = (n) => ({ n, cid: `c${n}`, to: { user: 'b' }, type: 3, data: {} });
  const first = open();
  await first.setPosition('a b', 7, 'e1', 'm');
  assert.deepEqual(await first.messages(), []);
  for (let i = 0; i < 100; i++) {
    const next = message(first.number());
    await first.saveMessage(next);
    if (i < 90) await first.removeMessage(next.n, next.n + 1);
  }
  const second = open();
  assert.deepEqual(await second.position('a b', 'e1'), { seq: 7, mid: 'm' });
  assert.equal(await second.position('a b', 'e2'), undefined, 'a position of another epoch is not valid');
  assert.equal(await open('other').position('a b', 'e1'), undefined, 'each user has its own positions');
  assert.deepEqual((await second.messages()).map(({ n }) => n), [90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
  assert.ok(second.number() >= 100, 'a number is used only once');
  assert.ok(kept.size < 20, 'removed messages are not in the storage');
  assert.deepEqual(errors, []);
  kept.set('mynah:%E5%B0%8F%E6%98%8E%3Aat:out:95', '{broken');
  assert.equal((await open().messages()).length, 9);
  const full = open('x', { get: () => { throw new Error('no'); }, set: () => Promise.reject(new Error('quota')), remove: () => {} });
  assert.equal(await full.setPosition('a', 1, 'e'), false);
  assert.equal(await full.position('a', 'e'), undefined);
  assert.deepEqual(errors.map(({ code }) => code), ['storage', 'storage', 'storage']);
});

test('itemStorage works with synchronous and asynchronous stores', async () => {
  const kept = new Map();
  const later = (act) => Promise.resolve().then(act);
  for (const when of [(act) => act(), later]) {
    const storage = esm.itemStorage({ getItem: (key) => when(() => kept.get(key) ?? null), setItem: (key, value) => when(() => void kept.set(key, value)), removeItem: (key) => when(() => void kept.delete(key)) });
    await storage.set('k', 'v');
    assert.equal(await storage.get('k'), 'v');
    await storage.remove('k');
    assert.equal(await storage.get('k'), null);
  }
});

test('subjectOf reads the sub of a token', () => {
  const token = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`;
  for (const sub of ['alice', '小明 🐦', 'a'.repeat(128)]) assert.equal(subjectOf(token({ sub, exp: 1 })), sub);
  for (const broken of ['', 'a.b', 'a.!!!.c', token({}), token({ sub: 7 }), token('text')]) assert.equal(subjectOf(broken), undefined, broken);
});

test('signOutUrl derives the URL from that of the gateway', () => {
  const expected = { 'http://h:3001': 'http://h:3001/signout', 'https://h/chat?x=1': 'https://h/signout', 'wss://h': 'https://h/signout', '': '/signout', '/': '/signout' };
  for (const [url, at] of Object.entries(expected)) assert.equal(signOutUrl(url), at);
});
