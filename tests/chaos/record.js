// The history as the backend sees it: every conversation of every user with its messages, and the positions
// of each user.

/**
 * conv -> {conv, kind, messages, head, participants: Set of uids, team}; and uid -> its rows of the list of
 * conversations.
 */
export async function readRecord({ world, backend }) {
  const record = new Map();
  const rows = new Map();
  const unread = new Map();
  for (const { uid } of world.users) {
    const user = encodeURIComponent(uid);
    const { conversations } = await allPages(backend, user);
    rows.set(uid, conversations);
    unread.set(uid, (await backend.get(`/v1/users/${user}`)).unread);
    for (const { conv, kind, peer } of conversations) {
      if (kind === 'team') continue;
      if (!record.has(conv)) record.set(conv, { conv, kind, participants: new Set() });
      record.get(conv).participants.add(uid);
      if (peer) record.get(conv).participants.add(peer);
    }
  }
  for (const team of world.teams) record.set(team.conv, { conv: team.conv, kind: 'team', team, participants: new Set(team.members) });
  for (const conv of record.values()) Object.assign(conv, await history(backend, conv.conv));
  return { record, rows, unread };
}

async function allPages(backend, user) {
  const conversations = [];
  for (let after = null; ; ) {
    const page = await backend.get(`/v1/users/${user}/conversations?limit=100${after === null ? '' : `&after=${encodeURIComponent(after)}`}`);
    conversations.push(...page.conversations);
    after = page.next;
    if (after === null) return { conversations };
  }
}

async function history(backend, conv) {
  const messages = [];
  for (;;) {
    const page = await backend.get(`/v1/conversations/${conv}/messages?after=${messages.at(-1)?.seq ?? 0}&limit=500`);
    messages.push(...page.messages);
    if (!page.more) return { messages, head: page.head };
  }
}
