// Ambiguous requests, which two parsers could understand in two ways. Each hides a second request. The hidden
// one must not be answered, and the server must not continue with the rest of the bytes.

const HIDDEN = 'GET /health/live?hidden HTTP/1.1\r\nHost: x\r\n\r\n';
const head = (...lines) => `${['POST /signout HTTP/1.1', 'Host: x', 'Content-Type: application/json', ...lines].join('\r\n')}\r\n\r\n`;

/** The name of the case, the bytes, and the largest allowed number of answers. */
export const SMUGGLED = [
  ['Content-Length before Transfer-Encoding', `${head('Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n${HIDDEN}`, 1],
  ['Transfer-Encoding before Content-Length', `${head('Transfer-Encoding: chunked', 'Content-Length: 5')}0\r\n\r\n${HIDDEN}`, 1],
  ['Transfer-Encoding that ends early', `${head(`Content-Length: ${5 + HIDDEN.length}`, 'Transfer-Encoding: chunked')}0\r\n\r\n${HIDDEN}`, 1],
  ['two lengths', `${head('Content-Length: 2', `Content-Length: ${2 + HIDDEN.length}`)}{}${HIDDEN}`, 1],
  ['a list of lengths', `${head('Content-Length: 2, 3')}{}${HIDDEN}`, 1],
  ['a length with a sign', `${head('Content-Length: +2')}{}${HIDDEN}`, 1],
  ['a negative length', `${head('Content-Length: -1')}{}${HIDDEN}`, 1],
  ['a length in hexadecimal', `${head('Content-Length: 0x2')}{}${HIDDEN}`, 1],
  ['a length beyond all numbers', `${head('Content-Length: 99999999999999999999999')}{}${HIDDEN}`, 1],
  ['a coding that is not chunked', `${head('Transfer-Encoding: gzip')}{}${HIDDEN}`, 1],
  ['chunked, then something else', `${head('Transfer-Encoding: chunked, identity')}0\r\n\r\n${HIDDEN}`, 1],
  ['chunked with a vertical tab', `${head('Transfer-Encoding: \vchunked')}0\r\n\r\n${HIDDEN}`, 1],
  ['chunked in HTTP/1.0', `${head('Transfer-Encoding: chunked').replace('1.1', '1.0')}0\r\n\r\n${HIDDEN}`, 1],
  ['a blank before the colon', `${head('Transfer-Encoding : chunked')}0\r\n\r\n${HIDDEN}`, 1],
  ['a folded line', `${head('X: a\r\n Content-Length: 2')}{}${HIDDEN}`, 1],
  ['a folded coding', `${head('Transfer-Encoding:\r\n chunked')}0\r\n\r\n${HIDDEN}`, 1],
  ['a NUL in a header', `${head('X: a\0b')}{}${HIDDEN}`, 1],
  ['a bare CR in a header', `${head('X: a\rTransfer-Encoding: chunked')}0\r\n\r\n${HIDDEN}`, 1],
  ['a chunk size beyond all numbers', `${head('Transfer-Encoding: chunked')}fffffffffffffffff\r\n{}\r\n0\r\n\r\n${HIDDEN}`, 1],
  ['a chunk size with a sign', `${head('Transfer-Encoding: chunked')}+2\r\n{}\r\n0\r\n\r\n${HIDDEN}`, 1],
  ['a chunk without its end', `${head('Transfer-Encoding: chunked')}2\r\n{}${HIDDEN}`, 1],
  ['a chunk extension without end', `${head('Transfer-Encoding: chunked')}2;${'x'.repeat(100_000)}\r\n{}\r\n0\r\n\r\n`, 1],
  ['trailers without end', `${head('Transfer-Encoding: chunked')}2\r\n{}\r\n0\r\n${'X: y\r\n'.repeat(20_000)}\r\n`, 1],
  ['no colon', `${head('Content-Length 2')}{}${HIDDEN}`, 1],
  ['an empty name', `${head(': x')}{}${HIDDEN}`, 1],
  ['HTTP/2 without asking', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 1],
  ['a version of its own', `GET / HTTP/9.9\r\nHost: x\r\n\r\n${HIDDEN}`, 1],
  ['a tunnel', `CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n${HIDDEN}`, 2],
  ['a header of a megabyte', `GET / HTTP/1.1\r\nX: ${'y'.repeat(1_000_000)}\r\n\r\n`, 1],
  ['ten thousand headers', `GET / HTTP/1.1\r\n${'X: y\r\n'.repeat(10_000)}\r\n`, 1],
  ['a target of a megabyte', `GET /${'y'.repeat(1_000_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 1],
  ['an upgrade with a body', `${head('Upgrade: websocket', 'Connection: Upgrade', 'Content-Length: 2')}{}${HIDDEN}`, 2],
];

/** What is wrong with the answers to such a request; undefined if nothing is wrong. */
export function smuggled(answer, most) {
  const statuses = [...answer.matchAll(/^HTTP\/1\.[01] (\d+)/gm)].map(([, status]) => Number(status));
  if (statuses.length > most) return `answered ${statuses.join(', ')}: the hidden request was answered too`;
  if (statuses.some((status) => status >= 500 && status !== 505)) return `answered ${statuses.join(', ')}`;
  return undefined;
}
