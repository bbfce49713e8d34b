// The demo page at `/`, in a real browser against the real gateway, with Chinese names and texts.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startBrowser } from '../lib/browser.js';
import { eventually } from '../lib/inbox.js';
import { startGateway } from '../lib/program.js';
import { signIn as signInPeer } from '../lib/user.js';

let gateway;
let browser;
before(async () => ([gateway, browser] = await Promise.all([startGateway(), startBrowser()])));
after(async () => {
  await browser?.close();
  await gateway?.close();
});

async function signIn(uid, options) {
  const tab = await browser.tab(`${gateway.url}/`, options);
  await tab.type('#uid', uid);
  await tab.press('Enter');
  await tab.shows('#state', 'online');
  return tab;
}

async function say(tab, text) {
  await tab.type('#text', text);
  await tab.press('Enter');
}

test('two users chat, and see who is online, the unread count and the frames', async () => {
  const context = await browser.context();
  const ming = await signIn('小明', { context });
  const hong = await signIn('小红🌸', { context });

  await ming.shows('#people .name', '小红🌸');
  await ming.click('#people [data-uid="小红🌸"]');
  await ming.shows('#room-state', 'online');
  await say(ming, '你好，小红！今天一起吃饭吗？🍜');
  await ming.shows('.message.mine', '✓');

  await hong.shows('#rooms .preview', '今天一起吃饭吗？🍜');
  await hong.shows('#rooms .badge', '1');
  assert.match(await hong.evaluate(() => document.title), /^\(1\)/);
  await hong.click('#rooms [data-room="user:小明"]');
  await hong.shows('.message .bubble', '你好，小红！今天一起吃饭吗？🍜');
  await hong.until(() => !document.querySelector('#rooms .badge'));
  await say(hong, '好啊，六点半 😋');
  await say(hong, '老地方见 <b>不是粗体</b> <img src=x onerror=alert(1)>');
  await ming.shows('.message .bubble', '<b>不是粗体</b>');
  await hong.shows('.message.mine:last-child', '✓');
  await hong.shows('.frame.up .title', 'C2S_SEND_REQ');
  await hong.shows('.frame.down .title', 'S2C_ALONECHAT_PUSH');
  await hong.click('.frame.down[data-kind="102"] summary');
  await hong.shows('.frame.down[class] details[open] pre', '"mid"');
  await ming.click('.frame.down[data-kind="3"] summary');
  await ming.picture('chat');
  await hong.dark(true);
  await hong.picture('chat-dark');
  assert.deepEqual([...ming.complaints, ...hong.complaints], []);
});

test('a user creates a team, and its members chat', async () => {
  const wei = await signIn('阿伟');
  const li = await signIn('丽丽');
  await wei.shows('#people .name', '丽丽');
  await wei.click('#new-team');
  await wei.shows('#team-people .check', '丽丽');
  await wei.picture('team-dialog');
  await wei.type('#team-name', '值班组 🚑');
  await wei.click('#team-people input[value="丽丽"]');
  await wei.click('#team-create');
  await wei.shows('#room-name', '值班组 🚑');
  await wei.shows('.message.mine', '✓');
  await li.shows('#rooms .name', '值班组 🚑');
  await li.click('#rooms [data-room="team:值班组 🚑"]');
  await li.shows('#room-state', '阿伟');
  await say(li, '收到，我今晚值班。');
  await wei.shows('.message .author', '丽丽');
  await wei.shows('.message .bubble', '收到，我今晚值班。');

  // The page shows changes of members by the backend.
  await gateway.api.team('值班组 🚑', ['阿伟', '丽丽', '老王']);
  await wei.shows('.messages .event', '老王 joined');
  await wei.shows('#room-state', '老王');
  await wei.picture('team');
  await gateway.api.expect(200, 'DELETE', `/v1/teams/${encodeURIComponent('值班组 🚑')}/members/${encodeURIComponent('丽丽')}`);
  await li.shows('.messages .event', '丽丽 left');
  await say(li, '还有人吗？');
  await li.shows('.message .refusal');
  await wei.resize(400, 800);
  await wei.picture('team-phone');
  assert.deepEqual([...wei.complaints, ...li.complaints], []);
});

test('a user who signs in elsewhere is told so in the first tab, and can reconnect there', async () => {
  const first = await signIn('小刚');
  const second = await signIn('小刚');
  await first.shows('#banner', '小刚 signed in somewhere else');
  await first.shows('#state', 'disconnected');
  await first.picture('displaced');
  await first.click('#banner-button');
  await first.shows('#state', 'online');
  await second.shows('#banner', 'signed in somewhere else');
  assert.equal((await gateway.api.user('小刚')).connections.length, 1);
});

test('a reload keeps the user, the chats and the device', async () => {
  const tab = await signIn('小华');
  await tab.type('#new-uid', '不在的人');
  await tab.press('Enter');
  await say(tab, '你回来了告诉我');
  await tab.shows('.message.mine', '✓');
  const [{ deviceid }] = (await gateway.api.user('小华')).connections;
  await tab.reload();
  await tab.until(() => document.querySelector('#state')?.dataset.tone === 'on' && performance.getEntriesByType('navigation')[0].type === 'reload');
  await tab.click('#rooms [data-room="user:不在的人"]');
  await tab.shows('.message.mine .bubble', '你回来了告诉我');
  assert.deepEqual((await gateway.api.user('小华')).connections.map((one) => one.deviceid), [deviceid]);
  assert.deepEqual(tab.complaints, []);
});

test('a click is not lost if the list is drawn again between its press and its release', async () => {
  const tab = await signIn('小满');
  await tab.type('#new-uid', '谁也不在');
  await tab.press('Enter');
  await tab.shows('#room-name', '谁也不在');
  await gateway.api.sendTo('小满', { type: 6, data: { text: '第一条' } });
  await tab.shows('#rooms .preview', '第一条');
  await tab.click('#rooms [data-room="notices"]', () => gateway.api.sendTo('小满', { type: 6, data: { text: '第二条' } }).then(() => tab.shows('#rooms .preview', '第二条')));
  await tab.shows('.message .bubble', '第二条');
});

test('a message of the backend is shown as a notice; signing out disconnects the user', async () => {
  const tab = await signIn('小芳');
  await gateway.api.sendTo('小芳', { type: 6, data: { text: '您的预约已确认 ✅', at: '10:30' } });
  await tab.shows('#rooms .preview', '您的预约已确认 ✅');
  await tab.click('#signout');
  await tab.shows('#login');
  assert.equal((await gateway.api.user('小芳')).online, false);
  await tab.picture('login');
  await tab.dark(true);
  await tab.picture('login-dark');
});

test('the page reconnects after a restart of the server, and sends what was written meanwhile', async () => {
  const tab = await signIn('小雨');
  const peer = await signIn('小雪');
  await tab.type('#new-uid', '小雪');
  await tab.press('Enter');
  const end = await gateway.program.stop();
  assert.deepEqual(end, { code: 0, signal: null });
  await tab.shows('#state', 'trying again');
  await say(tab, '断线时写的');
  await tab.shows('.message.mine', 'sending');
  await gateway.start();
  await tab.shows('#state', 'online');
  await tab.shows('.message.mine', '✓');
  // The peer may have reconnected too late for a push. The history must have the message once.
  await peer.shows('#state', 'online');
  const { conversations } = await gateway.api.expect(200, 'GET', `/v1/users/${encodeURIComponent('小雨')}/conversations`);
  const { messages } = await gateway.api.history(conversations[0].conv);
  assert.deepEqual(messages.map(({ data }) => data.text), ['断线时写的']);
});

test('the page and its files are served, with a strict content security policy', async () => {
  const page = await gateway.api.call('GET', '/');
  assert.equal(page.status, 200);
  assert.match(page.headers.get('content-type'), /^text\/html/);
  assert.match(page.headers.get('content-security-policy'), /default-src '(self|none)'/);
  for (const [, file] of page.text.matchAll(/(?:src|href)="([^"]+)"/g)) {
    assert.equal((await gateway.api.call('GET', `/${file}`)).status, 200, file);
  }
});

const bubbles = (tab) => tab.texts('.message .bubble p');

test('a user who was offline sees all messages once and as unread, in another browser too', async () => {
  const uid = '小冬';
  for (let i = 1; i <= 120; i++) await gateway.api.sendTo(uid, { type: 3, from: '小夏', data: { text: `第${i}条` } });
  await gateway.api.sendTo(uid, { type: 6, data: { text: '您的预约已确认' } });
  await gateway.api.sendTo(uid, { type: 7, from: '小夏', data: '医生的话' });
  await gateway.api.team('四季', [uid, '小夏']);
  await gateway.api.send({ type: 15, to: { team: '四季' }, from: '小夏', data: { text: '大家好' } });

  const first = await signIn(uid);
  await first.shows('#rooms [data-room="user:小夏"] .badge', '99+');
  for (const room of ['notices', 'pair_doctor:小夏', 'team:四季']) await first.shows(`#rooms [data-room="${room}"] .badge`, '1');
  assert.match(await first.evaluate(() => document.title), /^\(123\)/);
  await first.click('#rooms [data-room="user:小夏"]');
  await first.shows('.message:last-child .bubble', '第120条');
  await first.until(() => !document.querySelector('#rooms [data-room="user:小夏"] .badge'));
  const expected = Array.from({ length: 120 }, (_, i) => `第${i + 1}条`);
  assert.deepEqual(await bubbles(first), expected.slice(-50));
  await first.picture('history');
  await first.click('.earlier button');
  await first.until(() => document.querySelectorAll('.message').length === 100);
  await first.click('.earlier button');
  await first.until(() => document.querySelectorAll('.message').length === 120 && !document.querySelector('.earlier'));
  assert.deepEqual(await bubbles(first), expected);
  await first.click('#rooms [data-room="pair_doctor:小夏"]');
  await first.shows('.message .bubble', '医生的话');

  // Messages that were read here are read in another browser; the others are unread there too.
  const second = await signIn(uid);
  await second.shows('#rooms [data-room="team:四季"] .badge', '1');
  assert.equal(await second.evaluate(() => document.querySelectorAll('#rooms .badge').length), 2);
  await second.click('#rooms [data-room="user:小夏"]');
  await second.shows('.message:last-child .bubble', '第120条');
  assert.deepEqual(await bubbles(second), expected.slice(-50));
  assert.deepEqual([...first.complaints, ...second.complaints], []);
});

test('messages that were sent while a page was closed or disconnected are shown afterwards, once', async (t) => {
  const [uid, peer] = ['小春', '小秋'];
  const send = (text) => gateway.api.sendTo(uid, { type: 3, from: peer, data: { text } });
  const context = await browser.context();
  let tab = await signIn(uid, { context });
  await send('一');
  await tab.click(`#rooms [data-room="user:${peer}"]`);
  await tab.shows('.message .bubble', '一');
  const device = async () => (await gateway.api.user(uid)).connections.map(({ deviceid }) => deviceid);
  const [before] = await device();

  // The page is closed. Meanwhile three messages are sent, of which one is recalled.
  await tab.call('Page.close');
  await eventually(async () => !(await gateway.api.user(uid)).online, 'the end of the connection');
  await send('二');
  const sender = await signInPeer(t, gateway, peer);
  const { mid } = await sender.send({ user: uid }, { text: '说错了' });
  await sender.ask(108, { mid });
  await send('三');
  tab = await signIn(uid, { context });
  assert.deepEqual(await device(), [before]);
  await tab.shows(`#rooms [data-room="user:${peer}"] .badge`, '2');
  await tab.click(`#rooms [data-room="user:${peer}"]`);
  await tab.shows('.message:last-child .bubble', '三');
  const shown = ['一', '二', 'This message was recalled.', '三'];
  assert.deepEqual(await bubbles(tab), shown);

  // The server is killed while the page is open, and messages are sent before the page reconnects.
  await gateway.program.kill();
  await tab.shows('#state', 'trying again');
  await gateway.start();
  for (const text of ['四', '五']) await send(text);
  await tab.shows('.message:last-child .bubble', '五');
  assert.deepEqual(await bubbles(tab), [...shown, '四', '五']);
  await tab.until(() => !document.querySelector('#rooms .badge'));
  await eventually(async () => (await gateway.api.user(uid)).unread === 0, 'everything to be read');
});

test('two tabs of one browser are two devices, and each keeps its device id', async () => {
  const context = await browser.context();
  const [one, two] = [await signIn('甲方', { context }), await signIn('乙方', { context })];
  const device = async (uid) => (await gateway.api.user(uid)).connections[0].deviceid;
  const devices = [await device('甲方'), await device('乙方')];
  assert.notEqual(devices[0], devices[1]);
  await one.call('Page.close');
  await eventually(async () => !(await gateway.api.user('甲方')).online, 'the end of the first tab');
  const three = await signIn('甲方', { context });
  assert.equal(await device('甲方'), devices[0]);
  assert.deepEqual([...two.complaints, ...three.complaints], []);
});
