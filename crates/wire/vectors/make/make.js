// Writes ../*.json: the output of Node's own encoders and parsers. Run it with npm install && npm run make
//
// Text is written as text, bytes as hexadecimal digits. A case without "packet", "packets" or "messages" must
// be refused.
"use strict";

const fs = require("fs");
const path = require("path");
const cases = require("./cases");

const parsers = {
  engine1: require("engine-1"),
  engine2: require("engine-2"),
  engine5: require("engine-5"),
  socket2: require("socket-2"),
  socket3: require("socket-3"),
  socket4: require("socket-4"),
};
const version = (name) => require("./package.json").dependencies[name].replace("npm:", "");
// Long repetitions of the same four bytes are written as (bytes*times).
const hex = (bytes) =>
  Buffer.from(bytes)
    .toString("hex")
    .replace(/([0-9a-f]{8})\1{9,}/g, (run, four) => `(${four}*${run.length / 8})`);
const isBinary = (data) => Buffer.isBuffer(data) || data instanceof Uint8Array;

function write(name, from, list) {
  const lines = list.map((one) => "  " + JSON.stringify(one));
  const file = path.join(__dirname, "..", name + ".json");
  fs.writeFileSync(file, `{"from": ${JSON.stringify(from)}, "cases": [\n${lines.join(",\n")}\n]}\n`);
  console.log(`${name}.json: ${list.length} cases`);
}

/** A packet in the form of the vectors. */
function shown(packet) {
  if (isBinary(packet.data)) return { type: packet.type, hex: hex(packet.data) };
  return { type: packet.type, text: packet.data === undefined ? "" : String(packet.data) };
}

const frame = (data) => (isBinary(data) ? { hex: hex(data) } : { text: data });

// ---- Engine.IO packets in WebSocket frames

function enginePackets() {
  const list = [];
  const { engine2, engine5 } = parsers;
  for (const packet of cases.enginePackets) {
    for (const b64 of isBinary(packet.data) ? [false, true] : [false]) {
      engine5.encodePacket(packet, !b64, (data) => {
        list.push({ protocol: 4, b64, packet: shown(packet), frame: frame(data) });
      });
      engine2.encodePacket(packet, !b64, false, (data) => {
        list.push({ protocol: 3, b64, packet: shown(packet), frame: frame(data) });
      });
    }
  }
  // These are only read: forms that our side never writes, and invalid packets.
  for (const [protocol, parser] of [[4, engine5], [3, engine2]]) {
    for (const raw of cases.rawEnginePackets[protocol]) {
      const packet = parser.decodePacket(raw, "nodebuffer");
      const good = packet.type !== undefined && packet.type !== "error";
      list.push({ protocol, read: true, frame: frame(raw), ...(good && { packet: shown(packet) }) });
    }
  }
  write("engine-packets", [version("engine-5"), version("engine-2")], list);
}

// ---- Polling bodies

function payloads() {
  const list = [];
  const { engine1, engine2, engine5 } = parsers;
  const add = (one, body) => list.push({ ...one, ...(isBinary(body) ? { hex: hex(body) } : { text: body }) });
  for (const packets of cases.payloads) {
    const shownAll = packets.map(shown);
    const anyBinary = packets.some((packet) => isBinary(packet.data));
    engine5.encodePayload(packets, (body) => add({ protocol: 4, form: "text", packets: shownAll }, body));
    engine2.encodePayload(packets, false, (body) => {
      add({ protocol: 3, form: "text", packets: shownAll }, body);
      jsonp(body, (script, form) => {
        list.push({ protocol: 3, form: "jsonp", packets: shownAll, script, text: form });
      });
    });
    engine2.encodePayload(packets, true, (body) => {
      if (anyBinary) add({ protocol: 3, form: "binary", packets: shownAll }, body);
    });
    // For clients 1.x. The HTTP layer encodes their text once more; their binary bodies stay unchanged.
    engine1.encodePayload(packets, false, (body) => {
      list.push({ protocol: 3, form: "text", read: true, habit: "twice", packets: shownAll, text: body });
    });
    engine1.encodePayload(packets, true, (body) => {
      add({ protocol: 3, form: "binary", read: true, packets: shownAll }, body);
    });
  }
  for (const [protocol, parser] of [[4, engine5], [3, engine2]]) {
    for (const text of cases.rawPayloads) {
      const packets = [];
      if (protocol === 4) packets.push(...parser.decodePayload(text, "nodebuffer"));
      else parser.decodePayload(text, "nodebuffer", (packet) => void packets.push(packet));
      const good = packets.every((packet) => packet.type !== "error");
      list.push({ protocol, form: "text", read: true, ...(good && { packets: packets.map(shown) }), text });
    }
  }
  write("payloads", [version("engine-5"), version("engine-2"), version("engine-1"), version("engine-server-3")], list);
}

/** The script that Node's server sends, and the form that a client posts and Node's server reads back. */
function jsonp(body, then) {
  const Polling = require("engine-server-3/lib/transports/polling");
  const JSONP = require("engine-server-3/lib/transports/polling-jsonp");
  const transport = Object.assign(Object.create(JSONP.prototype), { head: "___eio[3](", foot: ");" });
  // This is how engine.io-client 3.x writes its form.
  const escaped = body.replace(/\\n/g, "\\\n").replace(/\n/g, "\\n");
  const form = "d=" + encodeURIComponent(escaped).replace(/%20/g, "+");
  const { doWrite, onData } = Polling.prototype;
  let script;
  let read;
  Polling.prototype.doWrite = (data) => (script = data);
  Polling.prototype.onData = (data) => (read = data);
  transport.doWrite(body);
  transport.onData(form);
  Object.assign(Polling.prototype, { doWrite, onData });
  if (read !== body) throw new Error("Node reads something else than its client has written: " + body);
  then(script, form);
}

// ---- Socket.IO packets

function socketPackets() {
  const list = [];
  for (const packet of cases.socketPackets) {
    const { generation, ...plain } = packet;
    const made = { V5: ["socket4"], V2: ["socket3", "socket2"] }[generation];
    const encoded = made.map((name) => encodeSocket(parsers[name], plain));
    for (const one of encoded) {
      if (JSON.stringify(one) !== JSON.stringify(encoded[0])) throw new Error("the parsers differ: " + one[0]);
    }
    const [text, ...attachments] = encoded[0];
    list.push({ generation, ...described(plain, text), text, attachments: attachments.map(hex) });
  }
  for (const { text, attachments = [], differs } of cases.rawSocketPackets) {
    const packet = decodeSocket(parsers.socket4, [text, ...attachments]);
    const good = differs === undefined ? packet !== undefined : packet === undefined;
    const one = { generation: "V5", read: true, good, text, attachments: attachments.map(hex) };
    if (differs) one.differs = differs;
    if (good && packet) Object.assign(one, { namespace: packet.nsp, id: packet.id });
    list.push(one);
  }
  write("socket-packets", [version("socket-4"), version("socket-3"), version("socket-2")], list);
}

function encodeSocket(parser, packet) {
  const encoder = new parser.Encoder();
  // Parsers before version 4 take the binary kinds from the caller.
  const binary = JSON.stringify(packet.data, (key, value) => (value && value.type === "Buffer" ? "\u0000bin" : value));
  let { type } = packet;
  if (parser !== parsers.socket4 && binary && binary.includes("\\u0000bin")) type += 3;
  let encoded;
  const direct = encoder.encode({ ...packet, type }, (list) => (encoded = list));
  return direct || encoded;
}

/** The parts of a packet in the form that our encoders take. */
function described(packet, text) {
  const kinds = ["connect", "disconnect", "event", "ack", "connect_error"];
  const parts = { kind: kinds[packet.type], namespace: packet.nsp.split("?")[0], id: packet.id };
  if (packet.nsp.includes("?")) parts.query = packet.nsp.split("?")[1];
  const json = text.match(/^\d(?:\d+-)?(?:\/[^,]*,)?\d*(.*)$/su)[1];
  if (json) parts.payload = json;
  if (packet.type === 2 || packet.type === 3) {
    const raw = JSON.parse(json).map((element) => JSON.stringify(element));
    if (packet.type === 2) parts.name = String(JSON.parse(raw.shift()));
    parts.args = raw;
  }
  return parts;
}

function decodeSocket(parser, messages) {
  const decoder = new parser.Decoder();
  let decoded;
  decoder.on("decoded", (packet) => (decoded = packet));
  try {
    messages.forEach((message) => decoder.add(message));
  } catch {
    return undefined;
  }
  return decoded;
}

// ---- WebSocket frames

async function wsFrames() {
  const list = [];
  for (const { name, role = "server", frames, raw } of cases.wsStreams) {
    const bytes = raw ? Buffer.from(raw, "hex") : Buffer.concat(frames.map((one) => wsFrame(one, role === "server")));
    list.push({ name, role, hex: hex(bytes), ...(await wsRead(bytes, role === "server")) });
  }
  write("ws-streams", ["ws@" + version("ws")], list);
}

const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

function wsFrame({ opcode, data, fin = true }, mask) {
  const options = { fin, opcode: opcodes[opcode], mask, maskBuffer: Buffer.alloc(4), readOnly: true, rsv1: false };
  options.generateMask = (buffer) => buffer.set([0x37, 0xfa, 0x21, 0x3d]);
  return Buffer.concat(require("ws").Sender.frame(Buffer.from(data), options));
}

/** The messages that Node's receiver reads from the stream, and the close code of its error. */
function wsRead(bytes, isServer) {
  return new Promise((resolve) => {
    const receiver = new (require("ws").Receiver)({ isServer, maxPayload: cases.wsMaxPayload });
    const messages = [];
    receiver.on("message", (data, binary) => messages.push(binary ? { binary: hex(data) } : { text: data.toString() }));
    receiver.on("ping", (data) => messages.push({ ping: hex(data) }));
    receiver.on("pong", (data) => messages.push({ pong: hex(data) }));
    receiver.on("conclude", (code, reason) => messages.push({ close: code, reason: reason.toString() }));
    receiver.on("error", (error) => {
      const symbol = Object.getOwnPropertySymbols(error).find((one) => one.toString().includes("status-code"));
      resolve({ messages, error: error[symbol] });
    });
    receiver.on("finish", () => resolve({ messages }));
    receiver.end(bytes);
  });
}

enginePackets();
payloads();
socketPackets();
wsFrames();
