// Signs a user out over HTTP. Invariant: only `fetch` is needed, so that it works without a live connection
// too.

import { MynahError, textOf } from './errors.js';
import type { Fetch } from './host.js';

/** The URL for signing out at the gateway at `url`. */
export function signOutUrl(url: string): string {
  const origin = /^(?:http|ws)(s?:\/\/[^/?#]+)/.exec(url);
  return `${origin ? `http${origin[1]}` : ''}/signout`;
}

/** Disconnects every connection of the user for good. */
export async function signOut(fetch: Fetch, url: string, who: { uid: string; token: string | undefined }): Promise<void> {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (who.token !== undefined) headers['authorization'] = `Bearer ${who.token}`;
  const body = JSON.stringify(who.token === undefined ? { uid: who.uid } : {});
  let answer;
  try {
    answer = await fetch(url, { method: 'POST', headers, body });
  } catch (thrown) {
    throw new MynahError('offline', `The request to ${url} failed: ${textOf(thrown)}`, thrown);
  }
  if (answer.status >= 200 && answer.status < 300) return;
  const problem = (await answer.json().catch(() => ({}))) as { detail?: unknown };
  throw new MynahError(answer.status, typeof problem.detail === 'string' ? problem.detail : `The gateway answered the request to sign out with HTTP status ${answer.status}.`);
}
