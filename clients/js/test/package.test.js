// The package as its users get it: both module systems, its types, its table of kinds, its storages, and no other dependency.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import * as esm from 'mynah-client';
import { Notebook } from '../dist/esm/notebook.js';
import { signOutUrl } from '../dist/esm/signout.js';
import { subjectOf } from '../dist/esm/token.js';

const here = (path) => new URL(path, import.meta.url);
const read = (path) => readFileSync(here(path), 'utf8');

test('import and require give the same', () => {
  const cjs = createRequire(import.meta.url)('mynah-client');
  assert.deepEqual(Object.keys(cjs).sort(), Object.keys(esm).sort());
});

test('what it asks of its host is socket.io-client and ES2020', () => {
  const files = readdirSync(here('../dist/esm'), { recursive: true }).filter((name) => name.endsWith('.js'));
  for (const name of files) {
    for (const [, from] of read(`../dist/esm/${name}`).matchAll(/^(?:import|export) .*from '([^']+)'/gm)) assert.match(from, /^\.\.?\//, name);
  }
  const { dependencies, peerDependencies } = JSON.parse(read('../package.json'));
  assert.deepEqual([dependencies, Object.keys(peerDependencies)], [undefined, ['socket.io-client']]);
});

test('the types fit what its users write', () => {
  const tsc = new URL('../node_modules/typescript/bin/tsc', import.meta.url).pathname;
  try {
    execFileSync(process.execPath, [tsc, '-p', here('types/tsconfig.json').pathname], { encoding: 'utf8' });
  } catch (error) {
    assert.fail(error.stdout);
  }
});

test('the table of kinds is that of the protocol document', () => {
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

test('a notebook keeps what it was given, and says so when it cannot', async () => {
  const kept = new Map();
  const errors = [];
  const open = (uid = '小明:at', storage = esm.memoryStorage(kept)) => {
    const notebook = new Notebook(storage, 'mynah', (error) => errors.push(error));
    notebook.open(uid);
    return notebook;
  };
  const letter = (n) => ({ n, cid: `c${n}`, to: { user: 'b' }, type: 3, data: {} });
  const first = open();
  await first.setPosition('a b', 7, 'e1', 'm');
  assert.deepEqual(await first.letters(), []);
  for (let i = 0; i < 100; i++) {
    const next = letter(first.number());
    await first.keepLetter(next);
    if (i < 90) await first.dropLetter(next.n, next.n + 1);
  }
  const second = open();
  assert.deepEqual(await second.position('a b', 'e1'), { seq: 7, mid: 'm' });
  assert.equal(await second.position('a b', 'e2'), undefined, 'another epoch, another history');
  assert.equal(await open('other').position('a b', 'e1'), undefined, 'another user\'s');
  assert.deepEqual((await second.letters()).map(({ n }) => n), [90, 91, 92, 93, 94, 95, 96, 97, 98, 99]);
  assert.ok(second.number() >= 100, 'a number is given once');
  assert.ok(kept.size < 20, 'what is done is gone');
  assert.deepEqual(errors, []);
  kept.set('mynah:%E5%B0%8F%E6%98%8E%3Aat:out:95', '{broken');
  assert.equal((await open().letters()).length, 9);
  const full = open('x', { get: () => { throw new Error('no'); }, set: () => Promise.reject(new Error('quota')), remove: () => {} });
  assert.equal(await full.setPosition('a', 1, 'e'), false);
  assert.equal(await full.position('a', 'e'), undefined);
  assert.deepEqual(errors.map(({ code }) => code), ['storage', 'storage', 'storage']);
});

test('a store of items is a storage, at once or later', async () => {
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

test('who a token is for', () => {
  const token = (claims) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`;
  for (const sub of ['alice', '小明 🐦', 'a'.repeat(128)]) assert.equal(subjectOf(token({ sub, exp: 1 })), sub);
  for (const broken of ['', 'a.b', 'a.!!!.c', token({}), token({ sub: 7 }), token('text')]) assert.equal(subjectOf(broken), undefined, broken);
});

test('where to sign out', () => {
  const expected = { 'http://h:3001': 'http://h:3001/signout', 'https://h/chat?x=1': 'https://h/signout', 'wss://h': 'https://h/signout', '': '/signout', '/': '/signout' };
  for (const [url, at] of Object.entries(expected)) assert.equal(signOutUrl(url), at);
});
