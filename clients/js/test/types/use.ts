// Programs of applications. The correct lines must compile and the wrong ones must not. This file is never
// run.

import { connect, itemStorage, Kind, memoryStorage, MynahError, type Message } from 'mynah-client';
import { io } from 'socket.io-client';

declare module 'mynah-client' {
  interface Payloads {
    3: { text: string };
    1000: { typing: boolean };
  }
}

interface Attachment {
  file: string;
}

const client = connect(io, 'https://example.com', { uid: 'alice', storage: memoryStorage(), kinds: { 1000: { stored: false } } });
connect(io, '', { token: async () => 'x', uid: undefined, platform: 'web', socket: { transports: ['websocket'] } });
declare function legacy(uri: string, options?: { path?: string }): { on(event: string, fn: Function): unknown };
connect(legacy, '', { token: 'x' });
declare const asyncStorage: { getItem(k: string): Promise<string | null>; setItem(k: string, v: string): Promise<void>; removeItem(k: string): Promise<void> };
itemStorage(asyncStorage);

export const off: () => void = client.on('message', async (message: Message) => {
  if (message.type === 109) return void (message.data && message.data.mid.length);
  if (message.type === Kind.ALONECHAT && !message.recalled) return void message.data.text.toUpperCase();
  if (message.type === 16 && !message.recalled) return void message.data.uid.length;
  // @ts-expect-error a recalled message has no data
  if (message.type === 3) message.data.text;
  // @ts-expect-error kind 104 is never a message
  if (message.type === 104) return;
  return client.markRead(message.conv, message.seq);
});
client.on('event', (event) => void (event.type === 1000 && event.data.typing));
client.on('error', ({ code }: MynahError) => void (code === 401 || code === 'storage'));
client.on('recall', ({ mid, by }) => void [mid, by?.length]);
// @ts-expect-error there is no such event
client.on('mesage', () => {});

export async function sends(): Promise<number> {
  const { seq } = await client.send({ user: 'bob' }, 3, { text: 'hi' });
  // @ts-expect-error the data does not fit the declared payload of kind 3
  void client.send({ user: 'bob' }, 3, { txt: 'hi' });
  // @ts-expect-error a message needs a recipient
  void client.send({}, 3, { text: 'hi' });
  const attachment: Attachment = { file: 'x' };
  await client.send({ team: 't' }, 15, attachment, { id: 'row-1' });
  await client.send({ team: 't' }, 15, 'text');
  await client.send({ team: 't' }, 15, null);
  await client.send({ team: 't' }, 15, [attachment, 1]);
  // @ts-expect-error undefined is not a JSON value
  void client.send({ team: 't' }, 15, undefined);
  const receipt = await client.send({ user: 'bob' }, 1000, { typing: true });
  // @ts-expect-error the receipt of a kind that may not be stored has no seq
  receipt.mid;
  for await (const row of client.conversations({ limit: 10 })) if (row.last?.type === 3) break;
  const { messages, more } = await client.history('c', { before: 7 });
  return more ? messages.length : seq;
}
