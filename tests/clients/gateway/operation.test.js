// The operation of the program: unknown environment variables, signals, and the format of the log.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { call } from '../../lib/api.js';
import { within } from '../../lib/inbox.js';
import { certify, freshDirectory, GATEWAY, Program, startGateway } from '../../lib/program.js';
import { SECRET, token } from '../../lib/token.js';
import { signIn, someone, visitor } from '../../lib/user.js';

function directory(t) {
  const made = freshDirectory();
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** Runs the program until it ends. */
async function run(t, args, env) {
  const program = new Program(GATEWAY, args, { env, cwd: directory(t) });
  t.after(() => program.signal('SIGKILL'));
  const end = await within(program.exited, `${args.join(' ')} to end`);
  return { ...end, output: program.output };
}

test('a variable that begins with MYNAH_ but is no key is an error in every command that reads the configuration', async (t) => {
  for (const args of [['--listen', '127.0.0.1:0'], ['check-config'], ['api-key', 'list'], ['api-key', 'add', 'x'], ['token', 'alice']]) {
    for (const [name, meant] of [['MYNAH_LOGIN_POLICY', 'MYNAH_LOGIN__POLICY'], ['MYNAH_SERVER__LISTN', 'MYNAH_SERVER__LISTEN'], ['MYNAH_BIN', '']]) {
      const { code, output } = await run(t, args, { [name]: 'multi' });
      assert.notEqual(code, 0, `${args} with ${name}`);
      assert.ok(output.includes(`${name}: unknown key`) && output.includes(meant), output);
      assert.ok(!output.includes('multi'), 'the value may be a secret');
    }
  }
  const kubernetes = { MYNAH_PORT: 'tcp://10.0.0.1:3001', MYNAH_SERVICE_HOST: '10.0.0.1', MYNAH_PORT_3001_TCP_PROTO: 'tcp' };
  assert.equal((await run(t, ['check-config'], kubernetes)).code, 0);
});

test('no error about a key, a variable or an option mentions a type of Rust', async (t) => {
  const rust = /\b(usize|u16|u32|u64|i64|struct|enum|variant|sequence|newtype|borrowed|digit found)\b/;
  const wrong = [['--kinds', 'x'], ['--kinds', '-1'], ['--kinds', '70000']].map((more) => [['token', 'alice', ...more], {}]);
  for (const [name, value] of [['LIMITS__MEMBERS', '-1'], ['LIMITS__MEMBERS', 'many'], ['LOGIN__POLICY', 'one'], ['KINDS', '[5]'], ['KINDS', '[{number = "x"}]'], ['AUTH__API_KEYS', '[1]']]) {
    wrong.push([['check-config'], { [`MYNAH_${name}`]: value }]);
  }
  for (const [args, env] of wrong) {
    const { code, output } = await run(t, args, env);
    assert.equal(code, 2, `${args} ${JSON.stringify(env)}: ${output}`);
    assert.doesNotMatch(output, rust);
  }
});

test('SIGHUP reads keys and certificates again without closing connections, and other signals are ignored', async (t) => {
  const certificates = directory(t);
  certify(certificates);
  const tls = { cert_file: join(certificates, 'cert.pem'), key_file: join(certificates, 'key.pem') };
  const gateway = await startGateway({ embedded: true, config: { server: { admin_listen: '127.0.0.1:0', tls: { ...tls, admin: false } } } });
  t.after(() => gateway.close());
  for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGPIPE', 'SIGIO']) gateway.program.signal(signal);
  certify(certificates);
  gateway.program.signal('SIGHUP');
  await gateway.program.printed(/reload: the API keys were read again, the TLS certificate is being read again;/);
  await gateway.program.printed(/the TLS certificate was read again/);
  writeFileSync(join(gateway.data, 'api-keys.toml'), 'nonsense');
  gateway.program.signal('SIGHUP');
  await gateway.program.printed(/reload: the API keys could not be read and the last valid ones stay in force/);
  writeFileSync(tls.cert_file, 'nonsense');
  gateway.program.signal('SIGHUP');
  await gateway.program.printed(/the previous TLS certificate stays in use/);
  assert.equal((await gateway.api.call('GET', '/v1/users/alice')).status, 200);
});

test('a log that is not written to a terminal has no colours', async (t) => {
  const gateway = await startGateway({ env: { MYNAH_LOG__FILTER: 'debug' } });
  t.after(() => gateway.close());
  await signIn(t, gateway, someone());
  await gateway.program.printed(/registered/);
  assert.ok(!gateway.program.output.includes('\u001b'), gateway.program.output);
});

test('a log on a terminal has colours, unless NO_COLOR is set', async (t) => {
  const log = (env) => {
    const cwd = directory(t);
    // The program warns about the short key, and then ends because the key file is invalid.
    writeFileSync(join(cwd, 'api-keys.toml'), 'nonsense');
    const command = `MYNAH_AUTH__API_KEYS=short '${GATEWAY}' --listen 127.0.0.1:0 --data .`;
    // script(1) runs a command on its own terminal.
    execFileSync('script', ['-qc', command, 'typescript'], { cwd, env: { PATH: process.env.PATH, SHELL: '/bin/sh', ...env }, stdio: 'ignore' });
    return readFileSync(join(cwd, 'typescript'), 'utf8');
  };
  assert.match(log({}), /can be guessed/);
  assert.match(log({}), /\u001b\[/);
  assert.doesNotMatch(log({ NO_COLOR: '1' }), /\u001b\[/);
});

test('a byte order mark before JSON and the configuration is ignored', async (t) => {
  const cwd = directory(t);
  writeFileSync(join(cwd, 'mynah.toml'), '\ufeff[login]\npolicy = "multi"\n');
  const checked = new Program(GATEWAY, ['check-config'], { cwd });
  assert.equal((await checked.exited).code, 0, checked.output);
  const gateway = await startGateway();
  t.after(() => gateway.close());
  const user = await signIn(t, gateway, '42');
  const frame = JSON.stringify({ type: 101, data: { type: 3, to: { user: 42 }, data: {} } });
  const [answer] = await user.peer.ask('message', `\ufeff${frame}`);
  assert.equal(answer.code, 0, JSON.stringify(answer));
  const body = `\ufeff${JSON.stringify({ type: 6, to: { user: 42 }, data: {} })}`;
  const sent = await fetch(`${gateway.url}/v1/messages`, { method: 'POST', headers: { authorization: `Bearer ${gateway.api.key}` }, body });
  assert.equal(sent.status, 200, await sent.text());
});

test('. and .. are refused as names of users and teams', async (t) => {
  const gateway = await startGateway();
  t.after(() => gateway.close());
  const user = await signIn(t, gateway, someone());
  for (const dots of ['.', '..']) {
    assert.equal((await user.ask(1, { uid: dots })).code, 400);
    for (const to of [{ user: dots }, { team: dots }]) {
      const refused = await user.ask(101, { type: to.user ? 3 : 15, to, data: {} });
      assert.equal(refused.code, 400);
      assert.match(refused.error, /must not be "\." or "\.\."/);
    }
    const { status, body } = await gateway.api.call('PUT', '/v1/teams/t', { members: [dots] });
    assert.equal(status, 400);
    assert.match(body.detail, /"members\[0\]" must not be "\." or "\.\."/);
  }
});

test('refusals are logged at debug, and summarised at warn; no token is logged', async (t) => {
  const auth = { mode: 'jwt', jwt: { secret: SECRET } };
  for (const filter of ['debug', 'info']) {
    const gateway = await startGateway({ config: { auth, server: { cors_origins: ['https://chat.example.com'] } }, env: { MYNAH_LOG__FILTER: filter } });
    t.after(() => gateway.close());
    const user = await visitor(t, gateway);
    const forged = token({ sub: 'alice' }, { key: `${SECRET}x` });
    assert.equal((await user.ask(1, { token: forged })).code, 401);
    const poll = '/socket.io/?EIO=4&transport=polling';
    assert.equal((await call(gateway.url, 'GET', poll, { headers: { origin: 'https://evil.example' } })).status, 403);
    assert.equal((await call(gateway.url, 'GET', `${poll}&sid=unknown`)).status, 400);
    await gateway.program.printed(/clients were refused since the last such line: [^\n]*(1 because of origin \(server\.cors_origins\)|registers refused as unauthenticated: 1)/);
    const { output } = gateway.program;
    assert.ok(!output.includes(forged) && !output.includes(forged.split('.')[2]));
    if (filter === 'debug') {
      assert.match(output, /refused a frame[^\n]*kind=1 code=401/);
      assert.match(output, /refused a request: its origin is not allowed[^\n]*evil\.example/);
      assert.match(output, /refused a request[^\n]*Session ID unknown/);
    } else {
      assert.doesNotMatch(output, /refused a |evil\.example|peer/);
    }
  }
});
