// JSON Web Tokens as a backend makes them, and forged ones.

import { createHmac, generateKeyPairSync, randomUUID, sign as signWith } from 'node:crypto';

export const SECRET = 'a secret of at least thirty-two bytes';

const encode = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

const signatures = {
  HS256: (key, text) => createHmac('sha256', key).update(text).digest(),
  HS512: (key, text) => createHmac('sha512', key).update(text).digest(),
  RS256: (key, text) => signWith('sha256', Buffer.from(text), key),
  PS256: (key, text) => signWith('sha256', Buffer.from(text), { key, padding: 6, saltLength: 32 }),
  ES256: (key, text) => signWith('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' }),
  EdDSA: (key, text) => signWith(null, Buffer.from(text), key),
  none: () => Buffer.alloc(0),
};

export const seconds = () => Math.floor(Date.now() / 1000);

/** A token. `with` is the algorithm that really signs it; `alg` is the one in the header. */
export function token(claims, { key = SECRET, alg = 'HS256', with: real = alg, header = {} } = {}) {
  const whole = { exp: seconds() + 600, ...claims };
  const text = `${encode({ alg, typ: 'JWT', ...header })}.${encode(whole)}`;
  return `${text}.${signatures[real](key, text).toString('base64url')}`;
}

/** A key pair for `alg`, with the public key as PEM and as JWK. */
export function keys(alg, kid = randomUUID()) {
  const made = {
    RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    EdDSA: () => generateKeyPairSync('ed25519'),
  }[alg]();
  return {
    alg,
    kid,
    key: made.privateKey,
    pem: made.publicKey.export({ type: 'spki', format: 'pem' }),
    jwk: { ...made.publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' },
    /** A token that is signed by this key, and whose header names it. */
    sign(claims, { header = {}, ...more } = {}) {
      return token(claims, { key: made.privateKey, alg, header: { kid, ...header }, ...more });
    },
  };
}
