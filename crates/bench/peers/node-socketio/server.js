// Node's socket.io doing the job that mynah-bench expects of a gateway, with the same frames: register (1,
// answered by 2), send to a user or a team (101, answered by 102), and POST /v1/messages to everyone. It
// stores nothing; the settings are the defaults of socket.io.
//
// node server.js [port]      listens on 127.0.0.1, and prints "listening" when it is ready

"use strict";

const http = require("node:http");
const { Server } = require("socket.io");

const port = Number(process.argv[2] || 3002);
const users = new Map(); // uid -> socket, as in the replaced module
const teams = new Map(); // team -> uids

function frame(type, data, rest) {
  return JSON.stringify({ type, data, ...rest });
}

const kinds = {
  // register
  1(socket, data) {
    const uid = String(data.uid);
    const earlier = users.get(uid);
    if (earlier && earlier !== socket) earlier.disconnect(true);
    users.set(uid, socket);
    socket.data.uid = uid;
    socket.emit("message", frame(2, { code: 0, uid, deviceid: data.deviceid, sid: socket.id, ts: Date.now(), unread: 0 }));
  },
  // send
  101(socket, { type, to, cid, data }) {
    const ts = Date.now();
    const from = socket.data.uid;
    let delivered = false;
    if (to.user !== undefined) {
      const reader = users.get(to.user);
      delivered = reader !== undefined;
      if (delivered) reader.emit("message", frame(type, data, { from, ts }));
    } else {
      delivered = true;
      socket.to(`team:${to.team}`).emit("message", frame(type, data, { from, ts }));
    }
    socket.emit("message", frame(102, { code: 0, cid, ts, delivered }));
  },
};

const server = http.createServer((request, response) => {
  let body = "";
  request.setEncoding("utf8");
  request.on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    const answer = call(request.method, request.url, body ? JSON.parse(body) : {});
    const text = JSON.stringify(answer || { error: "no such call" });
    response.writeHead(answer ? 200 : 404, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) });
    response.end(text);
  });
});

function call(method, url, body) {
  if (method === "POST" && url === "/v1/messages" && body.to.everyone) {
    io.emit("message", frame(body.type, body.data, { ts: Date.now() }));
    return { online: users.size };
  }
  if (method === "PUT" && url.startsWith("/v1/teams/")) {
    const team = url.slice("/v1/teams/".length);
    teams.set(team, new Set(body.members));
    for (const uid of body.members) users.get(uid)?.join(`team:${team}`);
    return { team, members: body.members };
  }
  return undefined;
}

const io = new Server(server);

io.on("connection", (socket) => {
  socket.on("message", (text) => {
    const { type, data } = JSON.parse(text);
    kinds[type]?.(socket, data);
    if (type === 1) {
      for (const [team, members] of teams) if (members.has(socket.data.uid)) socket.join(`team:${team}`);
    }
  });
  socket.on("disconnect", () => {
    if (users.get(socket.data.uid) === socket) users.delete(socket.data.uid);
  });
});

server.listen(port, "127.0.0.1", 4096, () => console.log("listening"));
