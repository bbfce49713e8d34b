// Shared by the measuring scripts: servers and load generators, pinned to cores and always ended. Everything
// is on loopback.

"use strict";

const { spawn, spawnSync } = require("node:child_process");
const fs = require("node:fs");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");

const root = path.join(__dirname, "../..");
/** Where the programs are: those of a release build, unless BENCH_PROGRAMS names another directory. */
const release = process.env.BENCH_PROGRAMS || path.join(root, "target/release");
const KEY = "bench-peers-key-0123456789abcdef";
const STEP_LIMIT_MS = 300_000;

const option = (name, fallback) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
};

const number = (name, fallback, max) => {
  const value = Number(option(name, fallback));
  if (!(Number.isInteger(value) && value >= 0 && value <= max)) throw new Error(`--${name}: 0 to ${max}`);
  return value;
};

/** The running child processes, which are always ended. */
const children = new Set();

/**
 * This environment without variables that begin with MYNAH_: the gateway takes those for configuration keys.
 */
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("MYNAH_")));

function pinned(core, command, args, stdio, env = environment) {
  const child = spawn("taskset", ["-c", String(core), command, ...args.map(String)], { stdio, env });
  children.add(child);
  child.once("exit", () => children.delete(child));
  child.once("error", (error) => console.error(`${command}: ${error.message}`));
  return child;
}

/** On a signal, ends the children and then this program. */
function endWithSignals() {
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.once(signal, () => {
      for (const child of children) child.kill("SIGKILL");
      process.exit(1);
    });
  }
}

const ended = (child) =>
  child.exitCode !== null || child.signalCode !== null ? Promise.resolve() : new Promise((done) => child.once("exit", done));

async function end(child) {
  child.kill("SIGTERM");
  const hard = setTimeout(() => child.kill("SIGKILL"), 15_000);
  await ended(child);
  clearTimeout(hard);
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function listening(port, child) {
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`the server ended with code ${child.exitCode}`);
    const open = await new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1");
      socket.once("connect", () => (socket.destroy(), resolve(true)));
      socket.once("error", () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the server did not start to listen in time");
}

/** Makes a new directory for one server, in BENCH_DIR if that is set. */
const temporary = (name) => fs.mkdtempSync(path.join(process.env.BENCH_DIR || os.tmpdir(), `${name}-`));

/**
 * The command and arguments of the gateway. Writes its configuration into `dir`; its database is in `data`.
 */
function mynah(port, dir, { data = path.join(dir, "data"), durability = "power" } = {}) {
  const config = path.join(dir, "mynah.toml");
  const quote = JSON.stringify;
  fs.writeFileSync(
    config,
    [
      `[server]\nlisten = "127.0.0.1:${port}"`,
      `[store]\npath = ${quote(data)}\ndurability = ${quote(durability)}`,
      `[auth]\nmode = "open"\napi_keys = [${quote(KEY)}]`,
      `[[kinds]]\nnumber = 1000\nname = "BENCH"\nconversation = "none"\nclients = true`,
    ].join("\n\n") + "\n",
  );
  return [path.join(release, "mynah"), ["--config", config]];
}

/**
 * Runs the command that `start(port, dir)` returns on `core`, in its own directory, until
 * `use({ port, pid, dir })` resolves.
 */
async function withServer({ name, core, start, env }, use) {
  const dir = temporary(name);
  const log = fs.openSync(path.join(dir, "log"), "w");
  const port = await freePort();
  const [command, args] = start(port, dir);
  const server = pinned(core, command, args, ["ignore", log, log], env);
  try {
    await listening(port, server);
    return await use({ port, pid: server.pid, dir });
  } catch (error) {
    const tail = fs.readFileSync(path.join(dir, "log"), "utf8").slice(-2_000);
    throw new Error(`${error.message}\n${tail}`);
  } finally {
    await end(server);
    fs.closeSync(log);
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

/** Runs mynah-bench on `core` against a server and returns its figures. */
async function bench(core, { port, pid }, args) {
  const common = ["--url", `http://127.0.0.1:${port}`, "--pid", pid, "--threads", 1, "--json", "--api-key", KEY];
  const client = pinned(core, path.join(release, "mynah-bench"), [...args, ...common], ["ignore", "pipe", "inherit"]);
  let out = "";
  client.stdout.on("data", (chunk) => (out += chunk));
  const limit = setTimeout(() => client.kill("SIGKILL"), STEP_LIMIT_MS);
  await ended(client);
  clearTimeout(limit);
  if (client.exitCode !== 0) throw new Error(`mynah-bench ended with ${client.exitCode ?? client.signalCode}`);
  return JSON.parse(out).figures;
}

/** Builds these packages of the workspace, unless BENCH_PROGRAMS names programs. */
function build(packages) {
  if (process.env.BENCH_PROGRAMS) return;
  const args = ["build", "--release", ...packages.flatMap((name) => ["-p", name])];
  if (spawnSync("cargo", args, { cwd: root, stdio: "inherit" }).status !== 0) throw new Error("cargo build failed");
}

const sorted = (values) => [...values].sort((a, b) => a - b);
const median = (values) => {
  const s = sorted(values);
  return s.length % 2 ? s[(s.length - 1) / 2] : (s[s.length / 2 - 1] + s[s.length / 2]) / 2;
};
const round3 = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3))));
const spread = (values) =>
  values.length ? `${round3(median(values))} (${round3(Math.min(...values))} to ${round3(Math.max(...values))})` : "–";

/** Where and how the figures were measured. */
const machine = (script) => ({
  date: new Date().toISOString(),
  cpu: os.cpus()[0].model,
  cores: os.cpus().length,
  kernel: os.release(),
  node: process.version,
  command: `${script} ${process.argv.slice(2).join(" ")}`.trim(),
});

module.exports = {
  KEY,
  bench,
  build,
  endWithSignals,
  ended,
  environment,
  machine,
  median,
  mynah,
  number,
  option,
  pinned,
  release,
  root,
  round3,
  spread,
  temporary,
  withServer,
};
