// The list of conversations, page by page. Invariant: whatever a page says is also told to `learned`, whoever asked for it.

import type { Link } from './link.js';
import type { Conversation, ConversationsResponse } from './protocol.js';

/** Conversations of a page when we ask for ourselves. */
const PAGE = 200;

/** Times that the list is gone through for one conversation. */
const ATTEMPTS = 3;

export class Lookup {
  constructor(
    readonly link: Link,
    readonly learned: (row: Conversation) => void,
  ) {}

  async page(after: string | undefined, limit: number): Promise<ConversationsResponse> {
    const page = await this.link.askPatiently(110, { ...(after !== undefined && { after }), limit });
    for (const row of page.conversations) this.learned(row);
    return page;
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

  /** One conversation; undefined when the user has no such. */
  async find(conv: string): Promise<Conversation | undefined> {
    // One that moves to the front while we turn the pages is missed, and found there by the next attempt.
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      for await (const row of this.all()) if (row.conv === conv) return row;
    }
    return undefined;
  }
}
