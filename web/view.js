// Draws the page. Invariant: text of other users becomes text nodes only.

import { avatar, element } from './element.js';
import { RECALLED, TEAM_ENTER, TEAM_LEAVE, nameOf } from './kinds.js';

export const $ = (selector) => document.querySelector(selector);

const GROUP_MS = 120_000;

const clock = (ts) => new Date(ts).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });

/** The text of a message in one line; undefined if it has no text. */
function textOf({ type, data, from, recalled }) {
  if (recalled) return 'This message was recalled.';
  if (type === RECALLED) return `${from ?? 'The application'} recalled a message`;
  if (type === TEAM_ENTER) return `${data?.uid} joined`;
  if (type === TEAM_LEAVE) return `${data?.uid} left`;
  if (type === 18) return `📹 ${from} calls`;
  if (type === 19) return '📹 call ended';
  const text = typeof data === 'string' ? data : data?.text ?? data?.msg ?? data?.content;
  return typeof text === 'string' ? text : undefined;
}

export function drawState(text, tone) {
  $('#state').textContent = text;
  $('#state').dataset.tone = tone;
}

export function drawRooms(rooms, online, choose, hasMore) {
  $('#rooms-more').hidden = !hasMore;
  show($('#rooms'), rooms.all.map((room) => roomRow(room, rooms, online, choose)));
  $('#rooms-empty').hidden = rooms.all.length > 0;
  const unread = rooms.all.reduce((sum, room) => sum + room.unread, 0);
  document.title = unread ? `(${unread}) ${rooms.uid} · Mynah` : `${rooms.uid} · Mynah`;
}

function roomRow(room, rooms, online, choose) {
  const last = rooms.newest(room);
  const preview = last ? textOf(last) ?? nameOf(last.type) : room.isTeam ? 'team' : 'no messages yet';
  const row = element(
    'button',
    { class: 'row', 'data-room': room.key, 'aria-current': String(room.key === rooms.open), title: room.unread ? `${room.unread} unread` : '' },
    avatar(room.name, room.isTeam),
    element('span', { class: 'text' }, element('span', { class: 'name' }, room.name), element('span', { class: 'preview' }, preview)),
  );
  if (online.has(room.to?.user)) row.classList.add('online');
  if (room.unread) row.append(element('span', { class: 'badge' }, room.unread > 99 ? '99+' : String(room.unread)));
  row.onclick = () => choose(room);
  return row;
}

/**
 * Shows buttons in a list. A button that was shown before, for the same room or user, keeps its element:
 * otherwise a click or the focus would be lost if the list is drawn again meanwhile.
 */
function show(list, buttons) {
  const key = ({ dataset }) => dataset.room ?? dataset.uid;
  const before = new Map([...list.children].map((item) => [key(item.firstChild), item]));
  const items = buttons.map((button) => {
    const item = before.get(key(button));
    if (!item) return element('li', {}, button);
    const shown = item.firstChild;
    if (!shown.isEqualNode(button)) {
      for (const { name, value } of button.attributes) shown.setAttribute(name, value);
      shown.replaceChildren(...button.childNodes);
    }
    shown.onclick = button.onclick;
    return item;
  });
  const isKept = new Set(items);
  for (const item of [...list.children]) if (!isKept.has(item)) item.remove();
  items.forEach((item, at) => {
    if (list.children[at] !== item) list.insertBefore(item, list.children[at] ?? null);
  });
}

export function drawPeople(uids, choose) {
  const rows = uids.map((uid) => {
    const row = element('button', { class: 'row online', 'data-uid': uid }, avatar(uid), element('span', { class: 'text' }, element('span', { class: 'name' }, uid)));
    row.onclick = () => choose(uid);
    return row;
  });
  show($('#people'), rows);
  $('#people-empty').hidden = rows.length > 0;
}

/** Draws the open room. `earlier(room)` loads earlier messages. */
export function drawRoom(rooms, online, earlier) {
  const { current: room, uid: me } = rooms;
  $('#nothing-open').hidden = Boolean(room);
  $('#messages').hidden = !room;
  $('#compose').hidden = !room?.to;
  $('#room-avatar').replaceChildren(...(room ? [avatar(room.name, room.isTeam)] : []));
  $('#room-name').textContent = room?.name ?? 'Mynah';
  $('#room-state').textContent = room ? stateOf(rooms, room, online) : '';
  if (!room) return;
  const shown = rooms.shown(room);
  const items = room.hasEarlier ? [earlierRow(() => earlier(room))] : [];
  let previous;
  for (const message of shown) {
    items.push(bubble(message, me, room.isTeam, previous));
    previous = message;
  }
  const list = $('#messages');
  const below = list.scrollHeight - list.scrollTop;
  list.replaceChildren(...items);
  const newest = JSON.stringify([room.key, previous?.mid ?? previous?.cid ?? previous?.ts]);
  // Earlier messages are inserted above those on screen, which must not move.
  if (newest === list.dataset.newest) list.scrollTop = list.scrollHeight - below;
  else toEnd();
  list.dataset.newest = newest;
}

function earlierRow(load) {
  const button = element('button', { class: 'quiet small' }, 'Earlier messages');
  button.addEventListener('click', load);
  return element('li', { class: 'earlier' }, button);
}

/** Scrolls to the newest message. */
export function toEnd() {
  $('#messages').scrollTop = $('#messages').scrollHeight;
}

function stateOf(rooms, room, online) {
  if (room.isTeam) return rooms.membersOf(room).map((uid) => (uid === rooms.uid ? 'you' : uid)).join(', ') || 'team';
  if (!room.to) return 'from the application';
  return online.has(room.to.user) ? 'online' : 'offline';
}

function bubble(message, me, isTeam, previous) {
  const text = textOf(message);
  if ([TEAM_ENTER, TEAM_LEAVE, RECALLED].includes(message.type)) return element('li', { class: 'event' }, `${text} · ${clock(message.ts)}`);
  const mine = message.from === me;
  const follows = previous !== undefined && previous.from === message.from && previous.type === message.type && message.ts - previous.ts < GROUP_MS;
  const item = element('li', { class: `message${mine ? ' mine' : ''}${follows ? ' follows' : ''}${message.recalled ? ' recalled' : ''}` });
  if (!mine && isTeam && !follows) item.append(element('span', { class: 'author' }, message.from));
  const body = text === undefined ? element('pre', {}, JSON.stringify(message.data, null, 2)) : element('p', {}, text);
  const foot = element('span', { class: 'foot' }, clock(message.ts));
  if (message.type && ![3, 15].includes(message.type)) foot.prepend(`${nameOf(message.type)} · `);
  if (mine) foot.append(message.error ? ' · not sent' : message.waiting ? ' · sending' : ' ✓');
  item.append(element('div', { class: 'bubble' }, body, foot));
  if (message.error) item.append(element('span', { class: 'refusal' }, message.error));
  return item;
}
