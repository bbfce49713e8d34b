// The program: it never panicked, it did not grow without bounds, and it ended in good order. (Had it ended by itself, the run would
// have been broken off.)

export function checkServer({ gateway, options, end }, fail) {
  const panic = /^.*(panicked at|RUST_BACKTRACE|fatal runtime error).*$/m.exec(gateway.output);
  if (panic) fail('panic', panic[0]);
  if (end.code !== 0) fail('end', `the server ended with ${JSON.stringify(end)}`);
  if (gateway.mostMiB > options.rss) fail('memory', `the server took ${gateway.mostMiB} MiB, more than ${options.rss}`);
  return { lives: gateway.logs.length, 'most MiB': gateway.mostMiB };
}
