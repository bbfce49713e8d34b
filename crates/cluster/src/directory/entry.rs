//! The entry of a connection in the directory, and how Redis keeps it.
//!
//! Invariant: a text that is written has no control characters, which separate fields and lines, and is not
//! longer than its limit. The scripts read and write the same form (`record.lua`).

use mynah_store::ids::{DeviceId, Uid};

use crate::failure::Failure;
use crate::ids::{Incarnation, Order};

/// The maximum number of bytes of a sid.
const MOST_SID_BYTES: usize = 64;
/// The maximum number of bytes of a platform.
const MOST_PLATFORM_BYTES: usize = 128;

/// A registered connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The connection's id: at most 64 bytes without control characters.
    pub sid: Box<str>,
    /// The node that has it.
    pub node: Incarnation,
    /// The device as which it is registered.
    pub device: DeviceId,
    /// Its platform: at most 128 bytes without control characters, not empty.
    pub platform: Option<Box<str>>,
}

/// A connection of this node that is registered.
#[derive(Debug, Clone)]
pub struct Held {
    /// The user.
    pub uid: Uid,
    /// Its entry.
    pub entry: Entry,
    /// The number of its claim.
    pub order: Order,
}

impl Entry {
    /// Checks what the types do not.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let fits = |text: &str, most: usize| text.len() <= most && !text.contains(char::is_control);
        if self.sid.is_empty() || !fits(&self.sid, MOST_SID_BYTES) {
            return Err(Failure::Invalid("the sid of an entry does not fit"));
        }
        match self.platform.as_deref() {
            Some(platform) if platform.is_empty() || !fits(platform, MOST_PLATFORM_BYTES) => {
                Err(Failure::Invalid("the platform of an entry does not fit"))
            }
            _ => Ok(()),
        }
    }

    /// Reads a line of a record, with the number of the entry's claim; `None` if it is not one.
    pub(super) fn parse(line: &str) -> Option<(Order, Self)> {
        let [order, till, node, sid, device, platform] = fields(line)?;
        let order = Order(order.parse().ok()?);
        till.parse::<u64>().ok()?;
        let entry = Self {
            sid: sid.into(),
            node: Incarnation::parse(node)?,
            device: DeviceId::new(device).ok()?,
            platform: (!platform.is_empty()).then(|| platform.into()),
        };
        Some((order, entry))
    }
}

/// The fields of a line of a record.
fn fields(line: &str) -> Option<[&str; 6]> {
    let mut fields = line.split('\t');
    let mut line = [""; 6];
    for field in &mut line {
        *field = fields.next()?;
    }
    fields.next().is_none().then_some(line)
}

/// The lines of the value of a user's key, oldest entry first; `None` if it is not a record.
fn lines(value: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let text = std::str::from_utf8(value).ok()?;
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let last = lines.next()?.strip_prefix("mynah1 ")?;
    last.parse::<u64>().ok()?;
    Some(lines)
}

/// The nodes in the value of a user's key, each once; `None` if it is not a record.
pub(super) fn nodes(value: &[u8]) -> Option<Vec<Incarnation>> {
    let mut nodes = Vec::new();
    for line in lines(value)? {
        let [_, _, node, ..] = fields(line)?;
        let node = Incarnation::parse(node)?;
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    Some(nodes)
}

/// The entries in the value of a user's key, oldest first, with the numbers of their claims.
#[cfg(test)]
pub(crate) fn entries(value: &[u8]) -> Option<Vec<(Order, Entry)>> {
    lines(value)?.map(Entry::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            sid: "s1".into(),
            node: Incarnation([7; 16]),
            device: DeviceId::new("phone").unwrap(),
            platform: None,
        }
    }

    #[test]
    fn a_record_is_read_completely_or_not_at_all() {
        let node = Incarnation([7; 16]);
        let line = format!("12\t99\t{node}\ts1\tphone\t");
        let record = format!("mynah1 12\n{line}\n{line}\n");
        let found = (Order(12), entry());
        assert_eq!(entries(record.as_bytes()), Some(vec![found; 2]));
        assert_eq!(nodes(record.as_bytes()), Some(vec![node]));
        assert_eq!(nodes(b"mynah1 3\n"), Some(vec![]));
        for end in 0..record.len() {
            let cut = &record.as_bytes()[..end];
            let whole = cut.ends_with(b"\n");
            assert_eq!(
                (entries(cut).is_some(), nodes(cut).is_some()),
                (whole, whole),
                "{end}"
            );
        }
        for foreign in ["", "\n", "mynah1 x\n", "mynah2 3\n", "mynah1 3\na\tb\n"] {
            assert_eq!(nodes(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn texts_that_could_break_a_record_are_refused() {
        assert_eq!(entry().check(), Ok(()));
        let breaks: [fn(&mut Entry); 5] = [
            |entry| entry.sid = "".into(),
            |entry| entry.sid = "a\tb".into(),
            |entry| entry.sid = "a".repeat(65).into(),
            |entry| entry.platform = Some("".into()),
            |entry| entry.platform = Some("\u{85}".into()),
        ];
        for break_it in breaks {
            let mut entry = entry();
            break_it(&mut entry);
            assert!(matches!(entry.check(), Err(Failure::Invalid(_))), "{entry:?}");
        }
    }
}
