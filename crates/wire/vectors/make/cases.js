// The inputs from which make.js generates the vectors.
"use strict";

const bytes = (...list) => Buffer.from(list);
const texts = ["", "a", "hello world", "h\u00e9llo", "\u4f60\u597d", "\ud83d\ude00", "a:b\\n\\\\n\n\t\u0000\u001f\"", "\u2028\u2029"];
const many = Buffer.from(Array.from({ length: 300 }, (_, i) => i % 256));

exports.enginePackets = [
  { type: "open", data: '{"sid":"abc"}' },
  { type: "close" },
  { type: "ping" },
  { type: "ping", data: "probe" },
  { type: "pong" },
  { type: "pong", data: "probe" },
  { type: "upgrade" },
  { type: "noop" },
  ...texts.map((data) => ({ type: "message", data })),
  { type: "message", data: bytes() },
  { type: "message", data: bytes(0) },
  { type: "message", data: bytes(1, 2) },
  { type: "message", data: bytes(255, 254, 253) },
  { type: "message", data: many },
];

// Node also reads invalid base64. Our parser does not, so there are no such cases.
exports.rawEnginePackets = {
  3: ["", "7", "a", "-1", "\u00e9", "4\u0000", "b4AQID", "b4AQ==", "b4AQ", "b", bytes(4, 1), bytes(9)],
  4: ["", "7", "a", "-1", "\u00e9", "4\u0000", "bAQID", "bAQ==", "bAQ", "b", bytes(4, 1), bytes()],
};

exports.payloads = [
  ...exports.enginePackets.filter(({ data }) => data === undefined || data.length > 0).map((packet) => [packet]),
  texts.slice(1).map((data) => ({ type: "message", data })),
  [{ type: "message", data: "2[\"chat\",\"\u4f60\u597d \ud83d\ude00\"]" }, { type: "ping" }, { type: "message", data: "h\u00e9" }],
  [{ type: "message", data: "\u00e9" }, { type: "message", data: bytes(1, 2, 3, 4) }, { type: "pong" }],
  [{ type: "message", data: bytes(0, 255) }, { type: "message", data: "\ud83d\ude00" }, { type: "message", data: many }],
];

exports.rawPayloads = [
  "", "4", "4a\u001e", "\u001e4a", "4a\u001e\u001e4b", "4a\u001e7", "4a\u001ebAQ==", ":", "a:", "4a", "1:4a", "3:4a", "2:4a1", "2:4a:",
  "2:7a", "-2:4a", "2:4\u00e9", "3:4\ud83d\ude00", "4:4\ud83d\ude00", "10:b4AQIDBA==",
];

const CONNECT = 0;
const DISCONNECT = 1;
const EVENT = 2;
const ACK = 3;
const ERROR = 4;

const common = (generation) => [
  { type: DISCONNECT, nsp: "/" },
  { type: DISCONNECT, nsp: "/custom" },
  { type: EVENT, nsp: "/", data: ["chat"] },
  { type: EVENT, nsp: "/", data: ["chat", "h\u00e9llo \u65e5\u672c \ud83d\ude00 \u2028 end"] },
  { type: EVENT, nsp: "/", id: 0, data: ["chat", 1, null, true, -1.5, { a: [{}] }] },
  { type: EVENT, nsp: "/custom", id: 123456789, data: ["a\"b\\c\n\u0000", "x,y/z"] },
  { type: EVENT, nsp: "/", data: ["bin", Buffer.from([1, 2, 3])] },
  { type: EVENT, nsp: "/custom", id: 7, data: ["bin", { a: [Buffer.from([1])] }, Buffer.alloc(0), "x"] },
  { type: ACK, nsp: "/", id: 0, data: [] },
  { type: ACK, nsp: "/custom", id: 12, data: ["ok", { n: 1 }] },
  { type: ACK, nsp: "/custom", id: 13, data: [Buffer.from([9, 8])] },
].map((packet) => ({ generation, ...packet }));

exports.socketPackets = [
  // For clients 3.x and later, in both directions.
  { generation: "V5", type: CONNECT, nsp: "/" },
  { generation: "V5", type: CONNECT, nsp: "/", data: { token: "\u65e5" } },
  { generation: "V5", type: CONNECT, nsp: "/custom", data: { sid: "abc" } },
  { generation: "V5", type: CONNECT, nsp: "/", data: { sid: "abc" } },
  { generation: "V5", type: ERROR, nsp: "/", data: { message: "nope" } },
  { generation: "V5", type: ERROR, nsp: "/denied", data: { message: "no\"pe", data: { code: 7 } } },
  { generation: "V5", type: EVENT, nsp: "/", data: [7, "a number names it"] },
  ...common("V5"),
  // For clients 1.x and 2.x, in both directions.
  { generation: "V2", type: CONNECT, nsp: "/" },
  { generation: "V2", type: CONNECT, nsp: "/custom" },
  { generation: "V2", type: CONNECT, nsp: "/custom?token=a%20b&x=1" },
  { generation: "V2", type: ERROR, nsp: "/", data: "nope" },
  { generation: "V2", type: ERROR, nsp: "/denied", data: { code: 7 } },
  ...common("V2"),
];

const placeholder = (num) => ({ _placeholder: true, num });

exports.rawSocketPackets = [
  { text: "0/custom" },
  { text: "1/custom" },
  { text: "2/custom,012[\"a\"]" },
  { text: "2[ \"a\" , 1 ] " },
  { text: "51-" + JSON.stringify(["a", placeholder(0)]), attachments: [bytes(1)] },
  { text: "52-" + JSON.stringify(["a", placeholder(1), placeholder(0)]), attachments: [bytes(1), bytes(2)] },
  { text: "7" },
  { text: "999" },
  { text: "2{}" },
  { text: "2\"a\"" },
  { text: "2[" },
  { text: "2[]" },
  { text: "2[null]" },
  { text: "2[{\"a\":1}]" },
  { text: "2[\"connect\"]" },
  { text: "2[\"disconnecting\"]" },
  { text: "2[\"newListener\"]" },
  { text: "2[\"\\u0063onnect\"]" },
  { text: "0\"text\"" },
  { text: "0[]" },
  { text: "0null" },
  { text: "1{}" },
  { text: "2[\"a\"]x" },
  { text: "5" },
  { text: "5[\"a\"]" },
  { text: "51[\"a\"]" },
  { text: "5-1-[\"a\"]" },
  { text: "51.5-[\"a\"]" },
  { text: "511-[\"a\"]" },
  { text: "51-{}", attachments: [bytes(1)] },
  { text: "51-" + JSON.stringify(["a", placeholder(1)]), attachments: [bytes(1)] },
  { text: "51-" + JSON.stringify(["a", placeholder("0")]), attachments: [bytes(1)] },
  { text: "51-" + JSON.stringify(["a", placeholder(-1)]), attachments: [bytes(1)] },
  { text: "52-" + JSON.stringify(["a", placeholder(0)]), attachments: [bytes(1)] },
  { text: "2[\"a\"]", attachments: [bytes(1)] },
  { text: "50-[\"a\"]", differs: "parsers before 3.3.6 and 4.2.6 read it, and nothing is wrong with it" },
  { text: "", differs: "nothing at all" },
  { text: "2" },
  { text: "3[]", differs: "an answer to nothing" },
  { text: "299999999999999999999[\"a\"]", differs: "an id that no number of ours holds" },
];

exports.wsMaxPayload = 70_000;
const close = (code, reason = "") => Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);

exports.wsStreams = [
  { name: "texts", frames: ["", "hello", "h\u00e9llo \ud83d\ude00"].map((data) => ({ opcode: "text", data })) },
  ...[125, 126, 127, 65_535, 65_536].map((length) => ({
    name: `binary of ${length} bytes`,
    frames: [{ opcode: "binary", data: Buffer.alloc(length, 7) }],
  })),
  { name: "from a server", role: "client", frames: [{ opcode: "text", data: "hi" }, { opcode: "ping", data: "p" }] },
  {
    name: "fragments with control frames between them",
    frames: [
      { opcode: "text", data: Buffer.from("\u65e5").subarray(0, 1), fin: false },
      { opcode: "ping", data: "1" },
      { opcode: "continuation", data: Buffer.from("\u65e5").subarray(1), fin: false },
      { opcode: "pong", data: "" },
      { opcode: "continuation", data: "" },
      { opcode: "binary", data: bytes(0, 255) },
    ],
  },
  { name: "close without a code", frames: [{ opcode: "close", data: "" }] },
  { name: "close with code and reason", frames: [{ opcode: "close", data: close(1000, "b\u00fde") }] },
  { name: "close of an application", frames: [{ opcode: "close", data: close(4999) }] },
  { name: "close payload of one byte", frames: [{ opcode: "close", data: "x" }] },
  ...[0, 999, 1004, 1005, 1006, 1015, 2999, 5000].map((code) => ({
    name: `close code ${code}`,
    frames: [{ opcode: "close", data: close(code) }],
  })),
  { name: "close reason not UTF-8", frames: [{ opcode: "close", data: bytes(3, 232, 255) }] },
  { name: "text not UTF-8", frames: [{ opcode: "text", data: "ok" }, { opcode: "text", data: bytes(0xff) }] },
  { name: "text cut within a character", frames: [{ opcode: "text", data: bytes(0xe6, 0x97) }] },
  { name: "surrogate in UTF-8", frames: [{ opcode: "text", data: bytes(0xed, 0xa0, 0x80) }] },
  { name: "continuation of nothing", frames: [{ opcode: "continuation", data: "x" }] },
  {
    name: "message within a message",
    frames: [{ opcode: "text", data: "a", fin: false }, { opcode: "text", data: "b" }],
  },
  { name: "fragmented ping", frames: [{ opcode: "ping", data: "a", fin: false }] },
  { name: "ping too long", frames: [{ opcode: "ping", data: Buffer.alloc(126) }] },
  { name: "not masked", raw: "810161" },
  { name: "masked by a server", role: "client", raw: "81810000000061" },
  { name: "RSV1", raw: "c1810000000061" },
  { name: "RSV2", raw: "a1810000000061" },
  { name: "RSV3", raw: "91810000000061" },
  ...[3, 7, 11, 15].map((opcode) => ({ name: `reserved opcode ${opcode}`, raw: (0x80 | opcode).toString(16) + "8000000000" })),
  { name: "too big by its header", raw: "82ff000000000001117100000000" },
  { name: "length of 2^63", raw: "82ff800000000000000000000000" },
  {
    name: "fragments too big together",
    frames: [
      { opcode: "binary", data: Buffer.alloc(40_000), fin: false },
      { opcode: "continuation", data: Buffer.alloc(30_001) },
    ],
  },
];
