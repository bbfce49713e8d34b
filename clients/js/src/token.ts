// Who a token is for. Invariant: nothing is believed because of it; the gateway alone checks tokens.

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

function percentEncoded(base64url: string): string {
  let [bits, count, text] = [0, 0, ''];
  for (const character of base64url.replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')) {
    bits = (bits << 6) | ALPHABET.indexOf(character);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    text += `%${((bits >> count) & 255).toString(16).padStart(2, '0')}`;
    bits &= (1 << count) - 1;
  }
  return text;
}

/** The `sub` of a JSON Web Token; undefined when it cannot be read. */
export function subjectOf(token: string): string | undefined {
  try {
    const claims = JSON.parse(decodeURIComponent(percentEncoded(token.split('.')[1] ?? ''))) as { sub?: unknown };
    return typeof claims.sub === 'string' ? claims.sub : undefined;
  } catch {
    return undefined;
  }
}
