// The program: it never panicked, never ended by itself, and did not grow without bounds.

export function checkServer({ gateway, options, end }, fail) {
  const panic = /^.*(panicked at|RUST_BACKTRACE|fatal runtime error).*$/m.exec(gateway.output);
  if (panic) fail('panic', panic[0]);
  if (gateway.died) fail('died', `the server ${gateway.died}`);
  if (end.code !== 0) fail('end', `the server ended with ${JSON.stringify(end)}`);
  if (gateway.mostMiB > options.rss) fail('memory', `the server took ${gateway.mostMiB} MiB, more than ${options.rss}`);
  return { lives: gateway.logs.length, 'most MiB': gateway.mostMiB };
}
