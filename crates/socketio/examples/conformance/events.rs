//! The conformance server's answers to events.

use bytes::Bytes;
use mynah_socketio::{
    Acked, BoxFuture, ConnectRefused, DisconnectReason, Event, Handler, Handshake, Namespaces, Protocol,
    Socket, Transport,
};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

/// The text that `unicode-in` expects and `unicode-out` sends.
const UNICODE: &str = "h\u{e9}llo \u{65e5}\u{672c} \u{1f600} \u{2028} end";

/// The namespaces of the conformance server.
pub(crate) struct Conformance;

impl Namespaces for Conformance {
    fn connect(
        &self,
        socket: &Socket,
        handshake: &Handshake,
        auth: Option<&RawValue>,
    ) -> Result<Box<dyn Handler>, ConnectRefused> {
        match socket.namespace() {
            "/" | "/custom" => Ok(Box::new(Client {
                socket: socket.clone(),
                auth: auth.map_or_else(|| raw(&json!({})), ToOwned::to_owned),
                token: handshake.query("token"),
            })),
            "/denied" => Err(ConnectRefused {
                message: "nope".into(),
                data: Some(raw(&json!({"code": 7}))),
            }),
            // The test suite of the older generation was written against Node's newer server, which sends old
            // clients an object here.
            _ if socket.protocol() == Protocol::V3 => {
                let message = "Invalid namespace";
                Err(ConnectRefused {
                    message: message.into(),
                    data: Some(raw(&json!({"message": message}))),
                })
            }
            _ => Err(ConnectRefused::invalid_namespace()),
        }
    }
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("a JSON value can be written as JSON")
}

struct Client {
    socket: Socket,
    auth: Box<RawValue>,
    token: Option<String>,
}

impl Client {
    fn emit(&self, name: &str, value: &Value) {
        self.socket.emit(name, &[&raw(value)]);
    }

    fn whoami(&self) -> Value {
        let eio = match self.socket.protocol() {
            Protocol::V3 => 3,
            Protocol::V4 => 4,
        };
        let transport = match self.socket.transport() {
            Transport::Polling => "polling",
            Transport::WebSocket => "websocket",
        };
        json!({"eio": eio, "transport": transport, "auth": self.auth, "token": self.token})
    }

    /// Asks the client for an acknowledgement, and emits its arguments.
    fn ask(&self, question: &str, answer: &'static str, args: &[&RawValue], attachments: &[Bytes]) {
        let Ok(acked) = self.socket.emit_with_ack(question, args, attachments) else {
            return;
        };
        let socket = self.socket.clone();
        tokio::spawn(async move {
            if let Ok(Acked { args, attachments }) = acked.await {
                let args: Vec<&RawValue> = args.iter().map(AsRef::as_ref).collect();
                socket.emit_binary(answer, &args, &attachments);
            }
        });
    }

    /// A chat frame, as a JSON string or an object, is answered as by the replaced Node module.
    fn chat(&self, arg: &RawValue) {
        let Ok(mut frame) = serde_json::from_str::<Value>(arg.get()) else {
            return;
        };
        if let Value::String(text) = &frame {
            let Ok(inner) = serde_json::from_str(text) else {
                return;
            };
            frame = inner;
        }
        match frame.get("type").and_then(Value::as_i64) {
            Some(1) => self.emit("message", &json!({"type": 2, "data": {"code": 0}})),
            Some(_) => self.emit("message", &json!({"type": 3, "data": {"echo": frame}})),
            None => {}
        }
    }
}

impl Handler for Client {
    fn connected(&mut self) {
        self.socket.emit("auth", &[&*self.auth]);
    }

    fn event(&mut self, event: Event<'_>) -> Option<BoxFuture> {
        let Event {
            name,
            args,
            attachments,
            ack,
        } = event;
        let first = args.first().copied();
        let answer = |args: &[&RawValue], attachments: &[Bytes]| {
            if let Some(ack) = ack {
                self.socket.ack_binary(ack, args, attachments);
            }
        };
        match name {
            "message" => {
                self.socket.emit_binary("message-back", args, attachments);
                if let Some(arg) = first {
                    self.chat(arg);
                }
            }
            "echo" | "bin-echo" => {
                self.socket.emit_binary(name, args, attachments);
            }
            "message-with-ack" | "ack-echo" => answer(args, attachments),
            "emit-with-ack" => self.ask("emit-with-ack", "emit-with-ack", args, attachments),
            "server-ack" => self.ask("server-ack-q", "server-ack-r", args, attachments),
            "whoami" => answer(&[&raw(&self.whoami())], &[]),
            "kick" if first.is_some_and(|hard| hard.get() == "true") => self.socket.disconnect_for_good(),
            "kick" => self.socket.disconnect(),
            "unicode-in" => {
                let saw = first.and_then(|arg| serde_json::from_str::<Value>(arg.get()).ok());
                self.emit(
                    "unicode-in-r",
                    &json!({"ok": saw == Some(json!(UNICODE)), "saw": saw}),
                );
            }
            "unicode-out" => self.emit("unicode-out-r", &json!(UNICODE)),
            _ => {}
        }
        None
    }

    fn disconnected(&mut self, _: DisconnectReason) {}
}
