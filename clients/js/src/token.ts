// Reads the subject and the expiry of a JSON Web Token. Invariant: nothing here is a check; only the gateway
// checks tokens.

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

/** The claims of a JSON Web Token; an empty object if they cannot be read. */
function claimsOf(token: string): { sub?: unknown; exp?: unknown } {
  try {
    const claims: unknown = JSON.parse(decodeURIComponent(percentEncoded(token.split('.')[1] ?? '')));
    return typeof claims === 'object' && claims !== null ? claims : {};
  } catch {
    return {};
  }
}

/** The `sub` of a JSON Web Token; undefined if it cannot be read. */
export function subjectOf(token: string): string | undefined {
  const { sub } = claimsOf(token);
  return typeof sub === 'string' ? sub : undefined;
}

/** When a JSON Web Token expires, in milliseconds since 1970; undefined if that cannot be read. */
export function expiryOf(token: string): number | undefined {
  const { exp } = claimsOf(token);
  return typeof exp === 'number' ? exp * 1000 : undefined;
}
