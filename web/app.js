// Mynah's page: a chat in open mode and a look at the frames behind it. This file ties the parts together: signing in,
// what each frame means to the page, and what a click does.

import { avatar, element } from './element.js';
import { show } from './inspector.js';
import { ALONE_CHAT, DISPLACED, REGISTER, REGISTERED, SEND, SENT, TEAM_CHAT } from './kinds.js';
import { Rooms } from './rooms.js';
import { Socket } from './socket.js';
import { $, drawPeople, drawRoom, drawRooms, drawState, toEnd } from './view.js';

const PRESENCE_MS = 3_000;

const session = { uid: null, device: null, socket: null, rooms: null, online: new Set(), displaced: null };

// ---- signing in and out

/** The device id lives as long as the tab. A duplicated tab inherits it, so it belongs to whoever holds its lock. */
async function claimDevice() {
  const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, '0')).join('');
  let device = sessionStorage.getItem('mynah:device') ?? fresh();
  if (navigator.locks && !(await hold(device))) {
    device = fresh();
    await hold(device);
  }
  sessionStorage.setItem('mynah:device', device);
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
  Object.assign(session, { uid, rooms: new Rooms(uid), online: new Set(), displaced: null });
  sessionStorage.setItem('mynah:uid', uid);
  $('#me').textContent = uid;
  $('#me-avatar').replaceChildren(avatar(uid));
  $('#door').hidden = true;
  $('#house').hidden = false;
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
  send({ type: REGISTER, data: { type: 'user', uid, deviceid: device, platform: 'web' } });
}

function leave(reason) {
  session.socket.close();
  sessionStorage.removeItem('mynah:uid');
  session.uid = null;
  $('#house').hidden = true;
  $('#house').classList.remove('in-room');
  $('#banner').hidden = true;
  $('#door').hidden = false;
  $('#door-error').textContent = reason ?? '';
  $('#door-error').hidden = !reason;
  document.title = 'Mynah';
}

function lost({ away, waitMs }) {
  if (!session.uid) return;
  if (!away) {
    drawState(`connection lost, trying again in ${Math.ceil(waitMs / 1000)} s`, 'wait');
    return;
  }
  drawState('sent away', 'off');
  const { displaced } = session;
  $('#banner-text').textContent = displaced
    ? `${session.uid} signed in somewhere else (device ${displaced.deviceid ?? 'unknown'}), so the server closed this connection.`
    : 'You were signed out: the server closed this connection.';
  $('#banner').hidden = false;
}

// ---- frames

const send = (frame) => session.socket.emit('message', JSON.stringify(frame));

function receive(argument) {
  let frame = argument;
  if (typeof argument === 'string') {
    try {
      frame = JSON.parse(argument);
    } catch {
      return;
    }
  }
  const { rooms } = session;
  if (frame.type === REGISTERED) return registered(frame.data);
  if (frame.type === DISPLACED) {
    session.displaced = frame.data;
    return;
  }
  if (frame.type === SENT) rooms.confirm(frame.data);
  else if (frame.type < 100 || frame.type >= 1000) rooms.receive(frame);
  draw();
}

function registered({ code, error, epoch }) {
  if (code !== 0) return leave(error);
  drawState('online', 'on');
  session.displaced = null;
  $('#banner').hidden = true;
  session.rooms.enter(epoch);
  // The answer to these was lost with the connection. The same `cid` makes sending twice harmless.
  for (const [room, message] of session.rooms.waiting) transmit(room, message);
  draw();
  pollOnline();
}

function transmit(room, { cid, data }) {
  send({ type: SEND, data: { type: room.isTeam ? TEAM_CHAT : ALONE_CHAT, to: room.to, cid, data } });
}

function say(room, text, more = {}) {
  const cid = `${session.device}-${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
  const data = { text, ...(room.isTeam ? { team: room.name } : { to: room.name }), ...more };
  transmit(room, session.rooms.compose(room, cid, data));
  draw();
}

// ---- who is there

async function pollOnline() {
  if (!session.uid || document.hidden) return;
  try {
    const answer = await fetch('open/online');
    $('#online-section').hidden = !answer.ok;
    if (!answer.ok) return;
    const { online } = await answer.json();
    session.online = new Set(online);
  } catch {
    // The server is gone for the moment; the connection says so already.
    session.online = new Set();
  }
  if (session.uid) draw();
}

setInterval(pollOnline, PRESENCE_MS);
document.addEventListener('visibilitychange', () => {
  if (!session.uid || document.hidden) return;
  if (session.rooms.current) session.rooms.read(session.rooms.current);
  pollOnline();
  draw();
});

// ---- the screen

let drawn;

function draw() {
  const { rooms, online, uid } = session;
  if (!uid) return;
  drawRooms(rooms, online, openRoom);
  const others = [...online].filter((one) => one !== uid).sort();
  $('#online-count').textContent = String(others.length);
  drawPeople(others, (one) => openRoom(rooms.withUser(one)));
  // Redrawing the messages would lose a selection: only when there is something new.
  const shown = JSON.stringify([rooms.current, uid, online.has(rooms.current?.to?.user)]);
  if (shown !== drawn) drawRoom(rooms.current, uid, online);
  drawn = shown;
}

function openRoom(room) {
  session.rooms.open = room.key;
  session.rooms.read(room);
  $('#house').classList.add('in-room');
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

// Enter sends, but not the Enter that picks a word in an input method.
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

$('#back').addEventListener('click', () => {
  session.rooms.open = null;
  $('#house').classList.remove('in-room');
  draw();
});

function showFrames(shown) {
  $('#house').classList.toggle('no-frames', !shown);
  $('#frames-toggle').setAttribute('aria-pressed', String(shown));
}
showFrames(innerWidth > 680);

$('#frames-toggle').addEventListener('click', () => showFrames($('#house').classList.contains('no-frames')));

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
  Object.assign(room, { conv: team.conv ?? room.conv, members: team.members ?? members });
  openRoom(room);
  // Making a team sends nothing, so the others hear of it by its first message.
  say(room, `made the team ${name}`, { members });
});

const kept = sessionStorage.getItem('mynah:uid');
if (kept) signIn(kept);
