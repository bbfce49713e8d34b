//! The entry of a connection in the directory, and how Redis keeps it.
//!
//! Invariant: a text that is written has no control characters, which separate fields and lines, and is not
//! longer than its limit. The scripts read and write the same form (`record.lua`).

use mynah_store::ids::DeviceId;

use crate::failure::Failure;
use crate::ids::{Incarnation, Order};

/// The maximum number of bytes of a sid.
const MOST_SID_BYTES: usize = 64;
/// The maximum number of bytes of the name of a node, and of a platform.
const MOST_NAME_BYTES: usize = 128;
/// The maximum number of bytes of `info`.
const MOST_INFO_BYTES: usize = 512;

/// The node of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// The node's own name, for people; at most 128 bytes without control characters.
    pub name: Box<str>,
    /// Its present run. Packets are addressed to it.
    pub incarnation: Incarnation,
}

/// A registered connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The connection's id: at most 64 bytes without control characters.
    pub sid: Box<str>,
    /// The node that has it.
    pub node: Node,
    /// The device as which it is registered.
    pub device: DeviceId,
    /// Its platform: at most 128 bytes without control characters, not empty.
    pub platform: Option<Box<str>>,
    /// What the gateway wants to know of connections on other nodes: at most 512 bytes without control
    /// characters, for example JSON.
    pub info: Box<str>,
}

/// An entry as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Found {
    /// The number of the claim that has made it.
    pub order: Order,
    /// The entry.
    pub entry: Entry,
}

impl Entry {
    /// Checks what the types do not.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let fits = |text: &str, most: usize| text.len() <= most && !text.contains(char::is_control);
        if self.sid.is_empty() || !fits(&self.sid, MOST_SID_BYTES) {
            return Err(Failure::Invalid("the sid of an entry does not fit"));
        }
        if !fits(&self.node.name, MOST_NAME_BYTES) {
            return Err(Failure::Invalid("the node's name of an entry does not fit"));
        }
        let platform = self.platform.as_deref();
        if platform.is_some_and(|platform| platform.is_empty() || !fits(platform, MOST_NAME_BYTES)) {
            return Err(Failure::Invalid("the platform of an entry does not fit"));
        }
        match fits(&self.info, MOST_INFO_BYTES) {
            true => Ok(()),
            false => Err(Failure::Invalid("the info of an entry does not fit")),
        }
    }

    /// The fields after the platform.
    pub(super) fn rest(&self) -> String {
        format!("{}\t{}", self.node.name, self.info)
    }
}

impl Found {
    /// Reads a line of a record; `None` if it is not one.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let order = Order(fields.next()?.parse().ok()?);
        let _expires: u64 = fields.next()?.parse().ok()?;
        let incarnation = Incarnation::parse(fields.next()?)?;
        let sid = fields.next()?.into();
        let device = DeviceId::new(fields.next()?).ok()?;
        let platform = Some(fields.next()?).filter(|platform| !platform.is_empty());
        let (name, info) = (fields.next()?.into(), fields.next()?.into());
        fields.next().is_none().then(|| Self {
            order,
            entry: Entry {
                sid,
                node: Node { name, incarnation },
                device,
                platform: platform.map(Into::into),
                info,
            },
        })
    }
}

/// Reads the value of a user's key, oldest entry first; `None` if it is not a record.
pub(super) fn parse_record(value: &[u8]) -> Option<Vec<Found>> {
    let text = std::str::from_utf8(value).ok()?;
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let last = lines.next()?.strip_prefix("mynah1 ")?;
    last.parse::<u64>().ok()?;
    lines.map(Found::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            sid: "s1".into(),
            node: Node {
                name: "n".into(),
                incarnation: Incarnation([7; 16]),
            },
            device: DeviceId::new("phone").unwrap(),
            platform: None,
            info: "{}".into(),
        }
    }

    #[test]
    fn a_record_is_read_completely_or_not_at_all() {
        let node = Incarnation([7; 16]).to_string();
        let line = format!("12\t99\t{node}\ts1\tphone\t\tn\t{{}}");
        let record = format!("mynah1 12\n{line}\n{line}\n");
        let found = Found {
            order: Order(12),
            entry: entry(),
        };
        assert_eq!(parse_record(record.as_bytes()), Some(vec![found; 2]));
        assert_eq!(parse_record(b"mynah1 3\n"), Some(vec![]));
        for end in 0..record.len() {
            let cut = &record.as_bytes()[..end];
            let whole = cut.ends_with(b"\n");
            assert_eq!(parse_record(cut).is_some(), whole, "{end}");
        }
        for foreign in ["", "\n", "mynah1 x\n", "mynah2 3\n", "mynah1 3\na\tb\n"] {
            assert_eq!(parse_record(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn texts_that_could_break_a_record_are_refused() {
        assert_eq!(entry().check(), Ok(()));
        let breaks: [fn(&mut Entry); 8] = [
            |entry| entry.sid = "".into(),
            |entry| entry.sid = "a\tb".into(),
            |entry| entry.sid = "a".repeat(65).into(),
            |entry| entry.node.name = "a\nb".into(),
            |entry| entry.platform = Some("".into()),
            |entry| entry.platform = Some("\u{85}".into()),
            |entry| entry.info = "\n".into(),
            |entry| entry.info = "x".repeat(513).into(),
        ];
        for break_it in breaks {
            let mut entry = entry();
            break_it(&mut entry);
            assert!(matches!(entry.check(), Err(Failure::Invalid(_))), "{entry:?}");
        }
    }
}
