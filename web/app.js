// The demo page of Mynah: a chat in open mode, and a list of the frames behind it. This file connects the
// parts: it signs the user in, handles the received frames, and handles clicks.

import { avatar, element } from './element.js';
import { show } from './inspector.js';
import { APPLICATION, DISPLACED, READ_PUSH, REGISTER, REGISTERED, SEND, SENT } from './kinds.js';
import { Record } from './record.js';
import { Rooms } from './rooms.js';
import { Socket } from './socket.js';
import { $, drawPeople, drawRoom, drawRooms, drawState, toEnd } from './view.js';

const PRESENCE_MS = 3_000;

const session = { uid: null, device: null, socket: null, rooms: null, record: null, epoch: null, online: new Set(), displaced: null };

// ---- signing in and out

/**
 * Chooses the device id of this tab. The browser keeps its device ids, so that a returning user has the same
 * device. Two tabs are two devices: a device belongs to the tab that holds its Web Lock, and a tab gets its
 * own device again after a reload. Without Web Locks (over http from another machine), the device id is kept
 * in the tab only.
 */
async function claimDevice() {
  const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  const own = sessionStorage.getItem('mynah:device');
  const kept = JSON.parse(localStorage.getItem('mynah:devices') ?? '[]');
  let device;
  if (!navigator.locks) device = own ?? fresh();
  else for (const one of [own, ...kept, fresh()]) if (one && !device && (await hold(one))) device = one;
  sessionStorage.setItem('mynah:device', device);
  if (navigator.locks && !kept.includes(device)) localStorage.setItem('mynah:devices', JSON.stringify([...kept, device]));
  return device;
}

function hold(device) {
  return new Promise((resolve) => {
    navigator.locks.request(`mynah:device:${device}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && new Promise(() => {});
    });
  });
}

async function signIn(uid) {
  session.device ??= await claimDevice();
  const rooms = new Rooms(uid);
  Object.assign(session, { uid, rooms, record: new Record(rooms, { ask, tell, changed: draw }), online: new Set(), displaced: null });
  sessionStorage.setItem('mynah:uid', uid);
  $('#me').textContent = uid;
  $('#me-avatar').replaceChildren(avatar(uid));
  $('#login').hidden = true;
  $('#chat').hidden = false;
  drawState('connecting', 'wait');
  draw();
  const url = new URL('socket.io/?EIO=4&transport=websocket', location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  session.socket ??= new Socket(url.href, {
    connect: register,
    event: (name, [first]) => name === 'message' && receive(first),
    disconnect: lost,
    traffic: show,
  });
  session.socket.open();
}

function register() {
  const { uid, device } = session;
  send({ type: REGISTER, data: { type: 'user', uid, deviceid: device, platform: 'web', resume: true } });
}

function leave(reason) {
  session.socket.close();
  sessionStorage.removeItem('mynah:uid');
  session.uid = null;
  $('#chat').hidden = true;
  $('#chat').classList.remove('in-room');
  $('#banner').hidden = true;
  $('#login').hidden = false;
  $('#login-error').textContent = reason ?? '';
  $('#login-error').hidden = !reason;
  document.title = 'Mynah';
}

function lost({ isFinal, waitMs }) {
  for (const answer of asked.values()) answer(undefined);
  asked.clear();
  if (!session.uid) return;
  if (!isFinal) {
    drawState(`connection lost, trying again in ${Math.ceil(waitMs / 1000)} s`, 'wait');
    return;
  }
  drawState('disconnected', 'off');
  const { displaced } = session;
  $('#banner-text').textContent = displaced
    ? `${session.uid} signed in somewhere else (device ${displaced.deviceid ?? 'unknown'}), so the server closed this connection.`
    : 'You were signed out: the server closed this connection.';
  $('#banner').hidden = false;
}

// ---- frames

const send = (frame) => session.socket.emit('message', JSON.stringify(frame));

const tell = (type, data) => send({ type, data });

/** The requests in flight: `req` -> the function that resolves the request. */
const asked = new Map();
let questions = 0;

/**
 * Sends a request. Resolves with the data of the answer, or with undefined if there is no connection or it is
 * lost.
 */
function ask(type, data) {
  const req = ++questions;
  return new Promise((answer) => {
    if (send({ type, req, data })) asked.set(req, answer);
    else answer(undefined);
  });
}

function receive(argument) {
  let frame = argument;
  if (typeof argument === 'string') {
    try {
      frame = JSON.parse(argument);
    } catch {
      return;
    }
  }
  const { rooms, record, uid } = session;
  if (frame.req !== undefined) {
    asked.get(frame.req)?.(frame.data);
    asked.delete(frame.req);
    return;
  }
  if (frame.type === REGISTERED) return registered(frame.data);
  if (frame.type === DISPLACED) {
    session.displaced = frame.data;
    return;
  }
  if (frame.type === SENT) sent(frame.data);
  else if (frame.type === READ_PUSH) frame.data.by === uid && record.read(frame.data);
  else if (frame.seq) record.receive(frame);
  else if (frame.type < 100 || frame.type >= APPLICATION) rooms.pass(frame);
  draw();
}

function sent(answer) {
  const room = session.rooms.answered(answer);
  if (room?.conv) session.record.open(room);
}

function registered({ code, error, epoch }) {
  if (code !== 0) return leave(error);
  drawState('online', 'on');
  session.displaced = null;
  $('#banner').hidden = true;
  // After a change of the epoch the server has another history, and the messages that were loaded before are
  // invalid.
  session.record.enter({ isOther: session.epoch !== epoch });
  session.epoch = epoch;
  // The answers to these sends were lost with the connection. The same `cid` makes it harmless to send them
  // again.
  for (const [room, message] of session.rooms.waiting) transmit(room, message);
  draw();
  pollOnline();
}

function transmit(room, { cid, data }) {
  send({ type: SEND, data: { type: room.type, to: room.to, cid, data } });
}

function say(room, text, more = {}) {
  const cid = `${session.device}-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
  transmit(room, session.rooms.compose(room, cid, { text, ...more }));
  draw();
}

// ---- who is online

async function pollOnline() {
  if (!session.uid || document.hidden) return;
  try {
    const answer = await fetch('open/online');
    $('#online-section').hidden = !answer.ok;
    if (!answer.ok) return;
    const { online } = await answer.json();
    session.online = new Set(online);
  } catch {
    // The server cannot be reached. The state of the connection already shows that.
    session.online = new Set();
  }
  if (session.uid) draw();
}

setInterval(pollOnline, PRESENCE_MS);
document.addEventListener('visibilitychange', () => {
  if (!session.uid || document.hidden) return;
  session.record.see();
  pollOnline();
  draw();
});

// ---- the screen

let drawn;

function draw() {
  const { rooms, online, uid } = session;
  if (!uid) return;
  drawRooms(rooms, online, openRoom, session.record.hasMore);
  const others = [...online].filter((one) => one !== uid).sort();
  $('#online-count').textContent = String(others.length);
  drawPeople(others, (one) => openRoom(rooms.withUser(one)));
  // Redrawing the messages would remove the user's text selection, so it is done only after a change.
  const { current } = rooms;
  const shown = JSON.stringify([current, current && rooms.shown(current), uid, online.has(current?.to?.user)]);
  if (shown !== drawn) drawRoom(rooms, online, (room) => session.record.earlier(room));
  drawn = shown;
}

function openRoom(room) {
  session.rooms.open = room.key;
  session.record.open(room);
  $('#chat').classList.add('in-room');
  draw();
  $('#text').focus();
}

$('#signin').addEventListener('submit', (event) => {
  event.preventDefault();
  const uid = $('#uid').value.trim();
  if (uid) signIn(uid);
});

$('#signout').addEventListener('click', async () => {
  const { uid } = session;
  leave();
  await fetch('signout', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ uid }) }).catch(() => {});
});

$('#banner-button').addEventListener('click', () => {
  drawState('connecting', 'wait');
  session.socket.open();
});

$('#new-chat').addEventListener('submit', (event) => {
  event.preventDefault();
  const uid = $('#new-uid').value.trim();
  if (!uid) return;
  $('#new-uid').value = '';
  openRoom(session.rooms.withUser(uid));
});

$('#compose').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('#text').value.trim();
  if (!text || !session.rooms.current) return;
  $('#text').value = '';
  fit();
  say(session.rooms.current, text);
});

// Enter sends the message, except for the Enter that selects a word in an input method.
$('#text').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  $('#compose').requestSubmit();
});

function fit() {
  const area = $('#text');
  area.style.height = 'auto';
  area.style.height = `${area.scrollHeight + 2}px`;
}
$('#text').addEventListener('input', fit);
addEventListener('resize', toEnd);

$('#rooms-more').addEventListener('click', () => session.record.more());

$('#back').addEventListener('click', () => {
  session.rooms.open = null;
  $('#chat').classList.remove('in-room');
  draw();
});

function showFrames(shown) {
  $('#chat').classList.toggle('no-frames', !shown);
  $('#frames-toggle').setAttribute('aria-pressed', String(shown));
}
showFrames(innerWidth > 680);

$('#frames-toggle').addEventListener('click', () => showFrames($('#chat').classList.contains('no-frames')));

// ---- teams

$('#new-team').addEventListener('click', () => {
  const { online, rooms, uid } = session;
  const known = new Set([...online, ...rooms.all.map((room) => room.to?.user).filter(Boolean)]);
  known.delete(uid);
  const choices = [...known].sort().map((one) => {
    const box = element('input', { type: 'checkbox', value: one });
    return element('label', { class: 'check' }, box, one);
  });
  $('#team-people').replaceChildren(...(choices.length ? choices : [element('span', { class: 'hint' }, 'Nobody else is online.')]));
  $('#team-form').reset();
  $('#team-error').hidden = true;
  $('#team-dialog').showModal();
  $('#team-name').focus();
});

$('#team-cancel').addEventListener('click', () => $('#team-dialog').close());

$('#team-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const name = $('#team-name').value.trim();
  const chosen = [...$('#team-people').querySelectorAll('input:checked')].map((box) => box.value);
  const more = $('#team-more').value.split(/[,，、]/).map((one) => one.trim()).filter(Boolean);
  const members = [...new Set([session.uid, ...chosen, ...more])];
  const answer = await fetch(`open/teams/${encodeURIComponent(name)}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ members }),
  }).catch((error) => error);
  if (!answer.ok) {
    const problem = await answer.json?.().catch(() => undefined);
    $('#team-error').textContent = problem?.error ?? problem?.detail ?? problem?.title ?? `The server answered ${answer.status ?? 'nothing'}.`;
    $('#team-error').hidden = false;
    return;
  }
  const team = await answer.json();
  $('#team-dialog').close();
  const room = session.rooms.team(name);
  openRoom(room);
  // Creating a team sends no frame, so this first message tells the other members about it.
  say(room, `created the team ${name}`, { members: team.members ?? members });
});

const kept = sessionStorage.getItem('mynah:uid');
if (kept) signIn(kept);
