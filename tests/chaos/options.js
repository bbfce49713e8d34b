// The options of a run, with their defaults.

export const DEFAULTS = {
  seed: undefined, // chosen at random and printed
  rounds: 8, // how often the server is killed under load
  seconds: 60, // seconds of load and faults
  clients: 40, // users, with 1 to 3 devices each
  teams: 4,
  rate: 100, // messages per second of all users together
  patience: 90, // seconds in which everything must arrive after the load
  rss: 128, // the most MiB that the server may use
  keep: 'yes', // with "no", a failed run leaves no files
  cluster: false, // three nodes with PostgreSQL and Redis, and their faults
  plant: '', // a deliberate fault; plants.js lists them
  dir: '', // where the evidence is kept; by default a temporary directory
};

/** Parses `--name value`, and `--cluster`. Throws if an option is wrong. */
export function optionsOf(args) {
  const options = { ...DEFAULTS };
  for (let i = 0; i < args.length; i += 2) {
    const name = args[i].replace(/^--/, '');
    if (name === 'cluster') {
      options.cluster = true;
      i--;
      continue;
    }
    if (!args[i].startsWith('--') || !(name in DEFAULTS)) throw new Error(`unknown option ${args[i]}; the options are --${Object.keys(DEFAULTS).join(' --')}`);
    const value = args[i + 1];
    if (value === undefined) throw new Error(`${args[i]} wants a value`);
    options[name] = typeof DEFAULTS[name] === 'string' ? value : Number(value);
    if (typeof options[name] === 'number' && !(Number.isInteger(options[name]) && options[name] >= 0)) throw new Error(`${args[i]} needs a number, not ${value}`);
  }
  options.seed ??= Math.floor(Math.random() * 2 ** 31);
  return options;
}
