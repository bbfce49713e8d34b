//! `[[kinds]]`: the application's own kinds.

use serde::{Deserialize, Serialize};

/// An application kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindRow {
    /// From 1000 to 9999.
    pub number: u16,
    /// The name in logs and metrics, by convention in capitals, digits and underscores.
    pub name: String,
    /// The sort of conversation to which messages of this kind belong.
    pub conversation: Conversation,
    /// Whether messages are kept in the history and delivered at least once; false by default.
    #[serde(default)]
    pub stored: bool,
    /// Whether messages count as unread; false by default.
    #[serde(default)]
    pub unread: bool,
    /// Whether users who do not receive a message are notified; false by default.
    #[serde(default)]
    pub push: bool,
    /// Whether clients may send messages of this kind (frame 101); false by default.
    #[serde(default)]
    pub clients: bool,
}

/// The sort of conversation to which messages of a kind belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conversation {
    /// A conversation of two users, as for kind 3.
    Pair,
    /// The notices of the recipient.
    Notices,
    /// A team.
    Team,
    /// No conversation: messages are not stored, and go to users, a team, or everyone.
    None,
}

/// The numbers of kinds that an application may define.
pub const APPLICATION_KINDS: std::ops::RangeInclusive<u16> = 1_000..=9_999;

const MAX_NAME_BYTES: usize = 64;

pub(super) fn check(rows: &[KindRow], problems: &mut Vec<String>) {
    for (index, row) in rows.iter().enumerate() {
        let at = format!("kinds: number {}", row.number);
        if !APPLICATION_KINDS.contains(&row.number) {
            problems.push(format!("{at} must be 1000 to 9999"));
        }
        if row.name.is_empty()
            || row.name.len() > MAX_NAME_BYTES
            || !row.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            problems.push(format!(
                "{at}: the name must be 1 to {MAX_NAME_BYTES} letters, digits and underscores, not {:?}",
                row.name
            ));
        }
        if row.stored && row.conversation == Conversation::None {
            problems.push(format!(
                "{at}: a stored kind needs a conversation: pair, notices or team"
            ));
        }
        if (row.unread || row.push) && !row.stored {
            problems.push(format!(
                "{at}: unread and push are for stored kinds; set stored = true"
            ));
        }
        if row.clients && row.conversation == Conversation::Notices {
            problems.push(format!(
                "{at}: clients cannot send notices; set clients = false or another conversation"
            ));
        }
        if rows[..index].iter().any(|other| other.number == row.number) {
            problems.push(format!("{at} is defined twice"));
        }
        if rows[..index].iter().any(|other| other.name == row.name) {
            problems.push(format!("{at}: the name {:?} is used twice", row.name));
        }
    }
}
