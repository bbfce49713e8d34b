// Fills a gateway's history through the HTTP API, and reads pages of it.
//
// Half of the messages belong to the conversations of mynah-bench's clients (bench-0 with bench-1, bench-2
// with bench-3 and so on). The other half belongs to conversations of 100 messages between users who do
// nothing else. In both, consecutive messages of a conversation are far apart in the database.

"use strict";

const http = require("node:http");
const { KEY } = require("./bench.js");

/** Messages in one call, and calls at the same time. */
const PER_CALL = 1_000;
const AT_ONCE = 6;
/**
 * Messages in each conversation of the other half, and how many of these conversations are written to in
 * turn.
 */
const EACH = 100;
const IN_TURN = 1_000;
const TEXT = "x".repeat(200);

const agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE });

/** Makes a call, which must succeed, and returns the text of the answer. */
function call(port, method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${KEY}` };
    if (body !== undefined) Object.assign(headers, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    const request = http.request({ host: "127.0.0.1", port, method, path, headers, agent }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => {
        const text = Buffer.concat(chunks).toString();
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`${method} ${path}: status ${response.statusCode}: ${text.slice(0, 300)}`));
      });
    });
    request.once("error", reject);
    request.end(body);
  });
}

/** The JSON of message number `number`. */
function message(number, pairs) {
  const half = Math.floor(number / 2);
  let from, to;
  if (number % 2 === 0) {
    const first = (half % pairs) * 2;
    const turn = Math.floor(half / pairs) % 2;
    [from, to] = [`bench-${first + turn}`, `bench-${first + 1 - turn}`];
  } else {
    const conversation = Math.floor(half / (EACH * IN_TURN)) * IN_TURN + (half % IN_TURN);
    [from, to] = [`crowd-${conversation}`, `crowd-${conversation + 1}`];
  }
  return `{"type":3,"to":{"user":"${to}"},"from":"${from}","cid":"fill-${number}","push":false,"data":{"text":"${TEXT}"}}`;
}

/**
 * Writes the messages from number `from` to number `until`. Half of them belong to `pairs` pairs of clients.
 */
async function fill(port, { from, until, pairs }) {
  let next = from;
  const worker = async () => {
    while (next < until) {
      const first = next;
      next = Math.min(until, next + PER_CALL);
      const messages = Array.from({ length: next - first }, (_, at) => message(first + at, pairs));
      const answer = await call(port, "POST", "/v1/messages/batch", `{"messages":[${messages.join(",")}]}`);
      if (answer.includes('"code":')) throw new Error(`messages were refused: ${answer.slice(0, 300)}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/**
 * The milliseconds that each of `count` pages took. A page is the newest 20 messages of a pair's
 * conversation; calls are sequential.
 */
async function pages(port, { count, pairs }) {
  const convs = [];
  for (let pair = 0; pair < Math.min(pairs, count); pair++) {
    const { conversations } = JSON.parse(await call(port, "GET", `/v1/users/bench-${pair * 2}/conversations`));
    convs.push(conversations[0].conv);
  }
  const times = [];
  for (let at = 0; at < count; at++) {
    const conv = convs[at % convs.length];
    const began = process.hrtime.bigint();
    const page = await call(port, "GET", `/v1/conversations/${conv}/messages?before=${Number.MAX_SAFE_INTEGER}&limit=20`);
    times.push(Number(process.hrtime.bigint() - began) / 1e6);
    if (!page.includes('"mid"')) throw new Error(`conversation ${conv} has no messages`);
  }
  return times;
}

module.exports = { fill, pages };
