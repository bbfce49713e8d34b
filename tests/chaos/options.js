// What a run can be told, with the default of each.

export const DEFAULTS = {
  seed: undefined, // made by chance and printed
  rounds: 8, // kills of the server under load
  seconds: 60, // of load and faults
  clients: 40, // users, with 1 to 3 devices each
  teams: 4,
  rate: 100, // messages a second, of all together
  patience: 90, // seconds for everything to arrive once it is quiet
  rss: 128, // MiB that the server may take
  keep: 'yes', // no: a run that failed leaves nothing behind
  plant: '', // a fault on purpose: plants.js names them
  dir: '', // where the record and the logs are kept; a temporary directory unless said
};

/** Reads `--name value`; says what is wrong by throwing. */
export function optionsOf(args) {
  const options = { ...DEFAULTS };
  for (let i = 0; i < args.length; i += 2) {
    const name = args[i].replace(/^--/, '');
    if (!args[i].startsWith('--') || !(name in DEFAULTS)) throw new Error(`no option is called ${args[i]}; there are --${Object.keys(DEFAULTS).join(' --')}`);
    const value = args[i + 1];
    if (value === undefined) throw new Error(`${args[i]} wants a value`);
    options[name] = typeof DEFAULTS[name] === 'string' ? value : Number(value);
    if (typeof options[name] === 'number' && !(Number.isInteger(options[name]) && options[name] >= 0)) throw new Error(`${args[i]} wants a number, not ${value}`);
  }
  options.seed ??= Math.floor(Math.random() * 2 ** 31);
  return options;
}
