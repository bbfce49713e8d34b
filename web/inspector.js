// The list of frames: every packet in both directions, newest last. A click shows a packet as formatted JSON.

import { nameOf } from './kinds.js';
import { element } from './element.js';

const KEPT = 400;

const list = document.querySelector('#frames');
const empty = document.querySelector('#frames-empty');
const showAll = document.querySelector('#frames-all');
const counter = document.querySelector('#frames-count');
let frames = 0;

/**
 * Describes a packet: {title, kind, value, transport}. `transport` marks packets that do not carry an event.
 */
export function read(packet) {
  if (packet === '2') return { title: 'heartbeat', kind: 'ping', transport: true };
  if (packet === '3') return { title: 'heartbeat', kind: 'pong', transport: true };
  if (packet[0] === '0') return { title: 'handshake', kind: 'open', value: parse(packet.slice(1)), transport: true };
  if (packet.startsWith('40')) return { title: 'namespace joined', kind: 'connect', value: parse(packet.slice(2)), transport: true };
  if (packet.startsWith('41')) return { title: 'disconnected', kind: 'disconnect' };
  if (packet.startsWith('42')) {
    const [name, first, ...more] = parse(packet.slice(packet.indexOf('['))) ?? [];
    const frame = typeof first === 'string' ? parse(first) ?? first : first;
    if (name !== 'message' || more.length) return { title: name, kind: 'event', value: [frame, ...more] };
    return { title: nameOf(frame?.type), kind: frame?.type ?? '?', value: frame };
  }
  return { title: 'packet', kind: packet[0], value: packet, transport: true };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function show(direction, packet) {
  const { title, kind, value, transport = false } = read(packet);
  const now = new Date();
  const clock = `${now.toTimeString().slice(0, 8)}.${String(now.getMilliseconds()).padStart(3, '0')}`;
  const head = [
    element('span', { class: 'arrow', title: direction === 'up' ? 'to the server' : 'from the server' }, direction === 'up' ? '↑' : '↓'),
    element('span', { class: 'number' }, String(kind)),
    element('span', { class: 'title' }, title),
    element('span', { class: 'bytes' }, size(packet)),
    element('time', {}, clock),
  ];
  const body = value === undefined ? packet : JSON.stringify(value, null, 2);
  const item = element('li', { class: `frame ${direction}${transport ? ' transport' : ''}`, 'data-kind': kind }, element('details', {}, element('summary', {}, ...head), element('pre', {}, body)));
  const scroller = list.parentElement;
  const following = scroller.scrollTop + scroller.clientHeight > scroller.scrollHeight - 60;
  list.append(item);
  while (list.childElementCount > KEPT) list.firstElementChild.remove();
  if (!transport) counter.textContent = String(++frames);
  empty.hidden = true;
  if (following) scroller.scrollTop = scroller.scrollHeight;
}

const size = (packet) => {
  const bytes = new TextEncoder().encode(packet).length;
  return bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(1)} kB`;
};

showAll.addEventListener('change', () => list.classList.toggle('all', showAll.checked));
document.querySelector('#frames-clear').addEventListener('click', () => {
  list.replaceChildren();
  frames = 0;
  counter.textContent = '0';
  empty.hidden = false;
});
