// The server: it never panicked, its memory was bounded, and it ended in an orderly way. (An unexpected end
// would have aborted the run.)

export function checkServer({ gateway, options, end }, fail) {
  const panic = /^.*(panicked at|RUST_BACKTRACE|fatal runtime error).*$/m.exec(gateway.output);
  if (panic) fail('panic', panic[0]);
  if (end.code !== 0) fail('end', `the server ended with ${JSON.stringify(end)}`);
  if (gateway.mostMiB > options.rss) fail('memory', `the server used ${gateway.mostMiB} MiB, more than ${options.rss}`);
  return { lives: gateway.logs.length, 'most MiB': gateway.mostMiB };
}
