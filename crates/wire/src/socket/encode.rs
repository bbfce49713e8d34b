//! Writes packets as text.

use serde_json::value::RawValue;

use super::{Kind, write_string};
use crate::engine::Protocol;

/// An event. If `attachments` is above 0 it is a binary one, and `args` must contain its placeholders.
pub fn encode_event(
    namespace: &str,
    id: Option<u64>,
    name: &str,
    args: &[&RawValue],
    attachments: usize,
) -> String {
    encoded(event_writer(namespace, id, name, args, attachments))
}

/// A function that appends the text which [`encode_event`] returns.
pub fn event_writer(
    namespace: &str,
    id: Option<u64>,
    name: &str,
    args: &[&RawValue],
    attachments: usize,
) -> impl FnOnce(&mut Vec<u8>) {
    move |out| {
        out.reserve(48 + namespace.len() + name.len() + args_len(args));
        let kind = if attachments > 0 {
            Kind::BinaryEvent
        } else {
            Kind::Event
        };
        write_head(out, kind, namespace, attachments);
        write_id(out, id);
        out.push(b'[');
        write_string(out, name);
        for arg in args {
            out.push(b',');
            out.extend_from_slice(arg.get().as_bytes());
        }
        out.push(b']');
    }
}

/// The ack of the event `id`. If `attachments` is above 0 it is a binary one.
pub fn encode_ack(namespace: &str, id: u64, args: &[&RawValue], attachments: usize) -> String {
    encoded(ack_writer(namespace, id, args, attachments))
}

/// A function that appends the text which [`encode_ack`] returns.
pub fn ack_writer(
    namespace: &str,
    id: u64,
    args: &[&RawValue],
    attachments: usize,
) -> impl FnOnce(&mut Vec<u8>) {
    move |out| {
        out.reserve(48 + namespace.len() + args_len(args));
        let kind = if attachments > 0 {
            Kind::BinaryAck
        } else {
            Kind::Ack
        };
        write_head(out, kind, namespace, attachments);
        write_id(out, Some(id));
        out.push(b'[');
        for (i, arg) in args.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(arg.get().as_bytes());
        }
        out.push(b']');
    }
}

/// Tells the client that it is connected to `namespace`. EIO3 clients compute `sid` themselves.
pub fn encode_connect(protocol: Protocol, namespace: &str, sid: &str) -> String {
    encoded(|out| {
        write_head(out, Kind::Connect, namespace, 0);
        if protocol == Protocol::V4 {
            out.extend_from_slice(b"{\"sid\":");
            write_string(out, sid);
            out.push(b'}');
        }
    })
}

/// Tells the client that it cannot connect to `namespace`. EIO4 clients get message and data; EIO3 clients
/// get the data, or the message if there is no data.
pub fn encode_connect_error(
    protocol: Protocol,
    namespace: &str,
    message: &str,
    data: Option<&RawValue>,
) -> String {
    encoded(|out| {
        write_head(out, Kind::ConnectError, namespace, 0);
        match (protocol, data) {
            (Protocol::V4, data) => {
                out.extend_from_slice(b"{\"message\":");
                write_string(out, message);
                if let Some(data) = data {
                    out.extend_from_slice(b",\"data\":");
                    out.extend_from_slice(data.get().as_bytes());
                }
                out.push(b'}');
            }
            (Protocol::V3, Some(data)) => out.extend_from_slice(data.get().as_bytes()),
            (Protocol::V3, None) => write_string(out, message),
        }
    })
}

/// Tells the client that it has been disconnected from `namespace`.
pub fn encode_disconnect(namespace: &str) -> String {
    encoded(|out| write_head(out, Kind::Disconnect, namespace, 0))
}

/// Returns as text the bytes that `write` appends.
fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("only UTF-8 is written: whole strings and ASCII")
}

/// Writes the kind, the number of attachments if the kind is binary, and the namespace unless it is `/`.
fn write_head(out: &mut Vec<u8>, kind: Kind, namespace: &str, attachments: usize) {
    out.push(kind.digit());
    if kind.is_binary() {
        write_number(out, attachments as u64);
        out.push(b'-');
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
}

fn write_id(out: &mut Vec<u8>, id: Option<u64>) {
    if let Some(id) = id {
        write_number(out, id);
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn args_len(args: &[&RawValue]) -> usize {
    args.iter().map(|arg| arg.get().len() + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn events_and_acks_are_written() {
        assert_eq!(encode_event("/", None, "chat", &[], 0), r#"2["chat"]"#);
        assert_eq!(
            encode_event("/x", Some(7), "c\"\n", &[raw("1"), raw("{}")], 0),
            r#"2/x,7["c\"\n",1,{}]"#
        );
        let placeholder = raw(r#"{"_placeholder":true,"num":0}"#);
        assert_eq!(
            encode_event("/x", Some(0), "b", &[placeholder], 1),
            r#"51-/x,0["b",{"_placeholder":true,"num":0}]"#
        );
        assert_eq!(encode_ack("/", 12, &[], 0), "312[]");
        assert_eq!(encode_ack("/x", 3, &[raw("1"), raw("2")], 0), "3/x,3[1,2]");
        assert_eq!(
            encode_ack("/", 3, &[placeholder], 1),
            r#"61-3[{"_placeholder":true,"num":0}]"#
        );
    }

    #[test]
    fn connect_packets_are_written_for_both_protocols() {
        assert_eq!(encode_connect(Protocol::V4, "/", "abc"), r#"0{"sid":"abc"}"#);
        assert_eq!(encode_connect(Protocol::V4, "/x", "abc"), r#"0/x,{"sid":"abc"}"#);
        assert_eq!(encode_connect(Protocol::V3, "/", "abc"), "0");
        assert_eq!(encode_connect(Protocol::V3, "/x", "abc"), "0/x,");
        assert_eq!(encode_disconnect("/"), "1");
        assert_eq!(encode_disconnect("/x"), "1/x,");
    }

    #[test]
    fn connect_errors_are_written_for_both_protocols() {
        let data = Some(raw(r#"{"code":7}"#));
        assert_eq!(
            encode_connect_error(Protocol::V4, "/x", "nope", data),
            r#"4/x,{"message":"nope","data":{"code":7}}"#
        );
        assert_eq!(
            encode_connect_error(Protocol::V4, "/", "nope", None),
            r#"4{"message":"nope"}"#
        );
        assert_eq!(
            encode_connect_error(Protocol::V3, "/x", "nope", data),
            r#"4/x,{"code":7}"#
        );
        assert_eq!(
            encode_connect_error(Protocol::V3, "/", "nope", None),
            r#"4"nope""#
        );
    }
}
