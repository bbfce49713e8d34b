// Reads the list of conversations page by page. Invariant: every row that is read is also passed to
// `learned`, before any frame that came after it is handled.

import type { Connection } from './connection.js';
import type { Conversation, ConversationsResponse } from './protocol.js';

/** The size of a page, unless the application chose it. */
const PAGE = 200;

/** How many times the list is read to find one conversation. */
const ATTEMPTS = 3;

export class ConversationList {
  constructor(
    readonly connection: Connection,
    readonly learned: (row: Conversation) => void,
  ) {}

  page(after: string | undefined, limit: number): Promise<ConversationsResponse> {
    const request = { ...(after !== undefined && { after }), limit };
    return this.connection.requestWithRetry(110, request, (page) => page.conversations.forEach((row) => this.learned(row)));
  }

  /** All conversations, newest first. */
  async *all({ after, limit = PAGE }: { after?: string | undefined; limit?: number | undefined } = {}): AsyncGenerator<Conversation, void> {
    let next: string | null | undefined = after;
    do {
      const page: ConversationsResponse = await this.page(next, limit);
      yield* page.conversations;
      next = page.next;
    } while (next !== null);
  }

  /** Finds one conversation; undefined if the user does not have it. */
  async find(conv: string): Promise<Conversation | undefined> {
    // A conversation that moves to the front while the pages are read is missed. The next attempt finds it
    // there.
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      for await (const row of this.all()) if (row.conv === conv) return row;
    }
    return undefined;
  }
}
