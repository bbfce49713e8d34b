// Observes the frames that a client library sends, with any version of socket.io-client. A planted fault may
// change them.

/** Wraps `io`. `heard` gets every outgoing frame, `answered` its answer, and `made` every socket. */
export function tapped(io, { heard, answered, made, plant }) {
  return (url, options) => {
    const socket = io(url, options);
    const emit = socket.emit;
    const say = (type, data) => {
      heard({ type, data });
      emit.call(socket, 'message', JSON.stringify({ type, data }), () => {});
    };
    socket.emit = function (event, raw, ...more) {
      if (event !== 'message' || typeof raw !== 'string') return emit.call(socket, event, raw, ...more);
      const frame = JSON.parse(raw);
      const [ack] = more;
      const pass = () => {
        heard(frame);
        emit.call(socket, event, raw, (answer) => {
          answered(frame, answer);
          ack(answer);
        });
      };
      if (plant?.outgoing) plant.outgoing(frame, ack, pass, say);
      else pass();
      return socket;
    };
    if (plant?.incoming) {
      socket.on('message', (raw) => {
        const frame = typeof raw === 'string' ? JSON.parse(raw) : raw;
        plant.incoming(frame, say);
      });
    }
    made(socket);
    return socket;
  };
}
