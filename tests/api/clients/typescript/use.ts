// A backend in TypeScript with types that were generated from the API's description. It must compile, and
// must work against a running server. ../clients.test.js generates api.d.ts, compiles this file and runs it.

import assert from 'node:assert/strict';
import createClient from 'openapi-fetch';
import type { components, paths } from './api.js';

const { URL: baseUrl = '', KEY, CONV = '', UID = '', VALUES = '[]' } = process.env;
const api = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${KEY}` } });

/** What a call answered; it must have succeeded. */
function good<T>({ data, error, response }: { data?: T; error?: unknown; response: Response }): T {
  assert.equal(response.status, 200, JSON.stringify(error));
  assert.ok(data !== undefined);
  return data;
}

// The history, with a recalled message (its data is null) and data of every type.
const record = good(await api.GET('/v1/conversations/{conv}/messages', { params: { path: { conv: CONV }, query: { limit: 500 } } }));
const messages: components['schemas']['Envelope'][] = record.messages;
const values: unknown[] = JSON.parse(VALUES);
assert.deepEqual(messages.slice(0, values.length).map(({ data }) => data), values);
const recalled = messages.find((message) => message.recalled);
assert.ok(recalled && recalled.data === null);
const data: unknown = recalled.data;
assert.equal(data, null);

// The newest message of a conversation is an envelope, or null.
const { conversations, next } = good(await api.GET('/v1/users/{uid}/conversations', { params: { path: { uid: UID } } }));
const last: components['schemas']['Envelope'] | null | undefined = conversations[0]?.last;
assert.equal(last?.seq, conversations[0]?.head);
assert.equal(next satisfies string | null, null);

// Data of every type can be sent, and data is required.
for (const value of values) {
  const sent = good(await api.POST('/v1/messages', { body: { type: 6, to: { user: UID }, data: value } }));
  assert.equal(sent.results?.length, 1);
}
good(await api.POST('/v1/messages', { body: { type: 6, to: { users: ['a', 7] }, data: { text: 'typed' }, cid: 'c', push: false } }));
// @ts-expect-error a message without data
const refused = await api.POST('/v1/messages', { body: { type: 6, to: { user: UID } } });
assert.equal(refused.error?.status, 400);
const batch = good(await api.POST('/v1/messages/batch', { body: { messages: [{ type: 6, to: { user: UID }, data: [1] }, { type: 99, to: { user: UID }, data: null }] } }));
assert.deepEqual(batch.results.map((result) => ('code' in result ? result.code : result.online)), [1, 404]);

// A user with a connection without a platform.
const user = good(await api.GET('/v1/users/{uid}', { params: { path: { uid: UID } } }));
assert.deepEqual(user.connections.map(({ platform }) => platform), user.connections.map(() => null));
assert.deepEqual(good(await api.POST('/v1/users/online', { body: { uids: [UID] } })).online, user.online ? [UID] : []);

// Both times of a revocation are optional.
assert.equal(good(await api.POST('/v1/revocations', { body: { uid: 'nobody' } })).closed, 0);
assert.equal(good(await api.POST('/v1/revocations', { body: { jti: 'one', until: Date.now() + 3_600_000 } })).closed, 0);

const team = good(await api.PUT('/v1/teams/{team}', { params: { path: { team: 't' } }, body: { members: ['a', 7] } }));
assert.deepEqual(team.members, ['7', 'a']);
assert.deepEqual(good(await api.GET('/v1/teams/{team}', { params: { path: { team: 't' } } })), team);
assert.equal(good(await api.GET('/v1/openapi.json')).openapi, '3.1.0');
console.log('typescript: done');
