//! The table of kinds: what each kind is. What the gateway does with a kind is in `dispatch`.
//!
//! There is one line per kind. A new kind needs a line here and, if it does something new, a handler there.

use std::collections::HashMap;

use crate::config::{self, KindRow};
use crate::ids::PairClass;

/// The direction of a kind's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From clients to the gateway.
    Up,
    /// From the gateway to clients.
    Down,
}

/// The conversation to which messages of a kind belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversation {
    /// They belong to no conversation.
    None,
    /// The conversation of this class between two users.
    Pair(PairClass),
    /// The notices of the recipient.
    Notices,
    /// The conversation of a team.
    Team,
    /// The conversation of the message to which it refers.
    OfMessage,
}

/// Whether users who receive no such message on a connection are notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushRule {
    /// They are not notified.
    No,
    /// They are notified.
    Yes,
    /// They are notified, but not later than this many milliseconds after the message.
    Urgent(u64),
}

/// Who may send messages of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Senders {
    /// Only the gateway, as part of its own work.
    Gateway,
    /// The backend.
    Backend,
    /// The backend, and all registered clients.
    Clients,
    /// The backend, and the members of the team.
    Members,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The number on the wire.
    pub number: u16,
    /// The name in the protocol.
    pub name: &'static str,
    /// The direction of its frames.
    pub way: Way,
    /// The rules for its messages.
    pub rule: Rule,
}

/// The rules for the messages of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The conversation to which they belong.
    pub conversation: Conversation,
    /// Whether they are stored, and delivered at least once to devices that resume.
    pub stored: bool,
    /// Whether they count as unread.
    pub unread: bool,
    /// Whether users who do not receive them on a connection are notified.
    pub push: PushRule,
    /// Who may send them.
    pub senders: Senders,
}

impl Rule {
    /// The rule of a kind that is only registered by an embedding program: the backend may send it, to
    /// connected users.
    pub const REGISTERED: Self = Self {
        conversation: Conversation::None,
        stored: false,
        unread: false,
        push: PushRule::No,
        senders: Senders::Backend,
    };
}

/// Generates the enum and the list of all kinds from one list.
macro_rules! kinds {
    ($($kind:ident)*) => {
        /// The kinds that the gateway itself knows. The numbers 1 to 19 are those of the replaced Node
        /// module, and never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // the table says what each is
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            /// All kinds, in the order of their numbers.
            pub const ALL: [Self; [$(stringify!($kind)),*].len()] = [$(Self::$kind),*];
        }
    };
}

kinds! {
    RegisterReq RegisterRes AloneChat Signed System Reservation DoctorMsg TeammateChat
    DoctorFriendChat FriendApply Social DifferentConnection Remind Unsigned TeamChat TeamMemberEnter
    TeamMemberLeave VideoCallInvite VideoCallEnd Response SendReq SendRes Ack SyncReq SyncRes
    ReadReq ReadPush RecallReq RecallPush ConversationsReq ConversationsRes Resumed
}

const STORED: bool = true;
const COUNTS: bool = true;
const NO: bool = false;

impl Kind {
    /// The kind's row of the table (docs/PROTOCOL.md#5-kinds).
    #[rustfmt::skip]
    pub const fn row(self) -> Row {
        use Conversation::{None, Notices, OfMessage, Pair, Team};
        use PairClass::{Doctor, DoctorFriend, Plain, Teammate};
        use PushRule::{No, Urgent, Yes};
        use Senders::{Backend, Clients, Gateway, Members};
        use Way::{Down, Up};
        match self {
            Self::RegisterReq         => row(1,   "C2S_REGISTER_REQ",          Up,   None,               NO,     NO,     No,             Gateway),
            Self::RegisterRes         => row(2,   "S2C_REGISTER_RES",          Down, None,               NO,     NO,     No,             Gateway),
            Self::AloneChat           => row(3,   "S2C_ALONECHAT_PUSH",        Down, Pair(Plain),        STORED, COUNTS, Yes,            Clients),
            Self::Signed              => row(4,   "S2C_SIGNED_PUSH",           Down, Notices,            STORED, COUNTS, Yes,            Backend),
            Self::System              => row(5,   "S2C_SYSTEM_PUSH",           Down, Notices,            STORED, COUNTS, Yes,            Backend),
            Self::Reservation         => row(6,   "S2C_RESERVATION_PUSH",      Down, Notices,            STORED, COUNTS, Yes,            Backend),
            Self::DoctorMsg           => row(7,   "S2C_DOCTORMSG_PUSH",        Down, Pair(Doctor),       STORED, COUNTS, Yes,            Clients),
            Self::TeammateChat        => row(8,   "S2C_TEAMMATECHAT_PUSH",     Down, Pair(Teammate),     STORED, COUNTS, Yes,            Clients),
            Self::DoctorFriendChat    => row(9,   "S2C_DOCTORFRIENDCHAT_PUSH", Down, Pair(DoctorFriend), STORED, COUNTS, Yes,            Clients),
            Self::FriendApply         => row(10,  "S2C_FRIENDAPPLY_PUSH",      Down, Notices,            STORED, COUNTS, Yes,            Backend),
            Self::Social              => row(11,  "S2C_SOCIAL_PUSH",           Down, Notices,            STORED, COUNTS, Yes,            Backend),
            Self::DifferentConnection => row(12,  "S2C_DIFFERENT_CONNECTION",  Down, None,               NO,     NO,     No,             Gateway),
            Self::Remind              => row(13,  "S2C_REMIND_PUSH",           Down, Notices,            STORED, COUNTS, Yes,            Backend),
            Self::Unsigned            => row(14,  "S2C_UNSIGNED_PUSH",         Down, Notices,            STORED, COUNTS, Yes,            Backend),
            Self::TeamChat            => row(15,  "S2C_TEAMCHAT_PUSH",         Down, Team,               STORED, COUNTS, Yes,            Members),
            Self::TeamMemberEnter     => row(16,  "S2C_TEAMMEMBER_ENTER",      Down, Team,               STORED, NO,     No,             Gateway),
            Self::TeamMemberLeave     => row(17,  "S2C_TEAMMEMBER_LEAVE",      Down, Team,               STORED, NO,     No,             Gateway),
            Self::VideoCallInvite     => row(18,  "S2C_VIDEOCALL_INVITE",      Down, Pair(Plain),        STORED, NO,     Urgent(60_000), Clients),
            Self::VideoCallEnd        => row(19,  "S2C_VIDEOCALL_END",         Down, Pair(Plain),        STORED, NO,     No,             Clients),
            Self::Response            => row(100, "S2C_RES",                   Down, None,               NO,     NO,     No,             Gateway),
            Self::SendReq             => row(101, "C2S_SEND_REQ",              Up,   None,               NO,     NO,     No,             Gateway),
            Self::SendRes             => row(102, "S2C_SEND_RES",              Down, None,               NO,     NO,     No,             Gateway),
            Self::Ack                 => row(103, "C2S_ACK",                   Up,   None,               NO,     NO,     No,             Gateway),
            Self::SyncReq             => row(104, "C2S_SYNC_REQ",              Up,   None,               NO,     NO,     No,             Gateway),
            Self::SyncRes             => row(105, "S2C_SYNC_RES",              Down, None,               NO,     NO,     No,             Gateway),
            Self::ReadReq             => row(106, "C2S_READ_REQ",              Up,   None,               NO,     NO,     No,             Gateway),
            Self::ReadPush            => row(107, "S2C_READ_PUSH",             Down, None,               NO,     NO,     No,             Gateway),
            Self::RecallReq           => row(108, "C2S_RECALL_REQ",            Up,   None,               NO,     NO,     No,             Gateway),
            Self::RecallPush          => row(109, "S2C_RECALL_PUSH",           Down, OfMessage,          STORED, NO,     No,             Gateway),
            Self::ConversationsReq    => row(110, "C2S_CONVERSATIONS_REQ",     Up,   None,               NO,     NO,     No,             Gateway),
            Self::ConversationsRes    => row(111, "S2C_CONVERSATIONS_RES",     Down, None,               NO,     NO,     No,             Gateway),
            Self::Resumed             => row(112, "S2C_RESUMED",               Down, None,               NO,     NO,     No,             Gateway),
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self.row().number
    }

    /// The kind with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        BY_NUMBER.get(usize::from(number)).copied().flatten()
    }
}

/// The kinds by their numbers.
static BY_NUMBER: [Option<Kind>; 128] = {
    let mut kinds = [None; 128];
    let mut index = 0;
    while index < Kind::ALL.len() {
        let kind = Kind::ALL[index];
        kinds[kind.number() as usize] = Some(kind);
        index += 1;
    }
    kinds
};

#[allow(clippy::too_many_arguments)] // the columns of the table
const fn row(
    number: u16,
    name: &'static str,
    way: Way,
    conversation: Conversation,
    stored: bool,
    unread: bool,
    push: PushRule,
    senders: Senders,
) -> Row {
    let rule = Rule {
        conversation,
        stored,
        unread,
        push,
        senders,
    };
    Row {
        number,
        name,
        way,
        rule,
    }
}

/// The numbers that belong to the application.
pub const APPLICATION: std::ops::RangeInclusive<u16> = 1000..=9999;

/// All kinds of this gateway: its own, and the application's from the configuration.
#[derive(Debug, Default)]
pub struct Kinds {
    configured: HashMap<u16, Rule>,
}

impl Kinds {
    /// The kinds with these configured rows, which the configuration has checked.
    pub fn new(rows: &[KindRow]) -> Self {
        let configured = rows.iter().map(|row| (row.number, Rule::from(row))).collect();
        Self { configured }
    }

    /// The rules for messages of the kind; `None` if the number is not a kind.
    pub fn rule(&self, number: u16) -> Option<Rule> {
        match Kind::from_number(number) {
            Some(kind) => Some(kind.row().rule),
            None => self.configured.get(&number).copied(),
        }
    }
}

impl From<&KindRow> for Rule {
    fn from(row: &KindRow) -> Self {
        let conversation = match row.conversation {
            config::Conversation::Pair => Conversation::Pair(PairClass::Plain),
            config::Conversation::Notices => Conversation::Notices,
            config::Conversation::Team => Conversation::Team,
            config::Conversation::None => Conversation::None,
        };
        let senders = match (row.clients, conversation) {
            (false, _) => Senders::Backend,
            (true, Conversation::Team) => Senders::Members,
            (true, _) => Senders::Clients,
        };
        Self {
            conversation,
            stored: row.stored && conversation != Conversation::None,
            unread: row.unread,
            push: if row.push { PushRule::Yes } else { PushRule::No },
            senders,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_ascend() {
        for pair in Kind::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number(), "{pair:?}");
        }
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.row().name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn names_say_which_way() {
        for kind in Kind::ALL {
            let row = kind.row();
            let prefix = if row.way == Way::Up { "C2S_" } else { "S2C_" };
            assert!(row.name.starts_with(prefix), "{row:?}");
            assert_eq!(Kind::from_number(row.number), Some(kind));
        }
    }

    #[test]
    fn only_what_is_stored_counts_or_notifies() {
        for row in Kind::ALL.map(Kind::row) {
            let rule = row.rule;
            assert!(
                rule.stored || (!rule.unread && rule.push == PushRule::No),
                "{row:?}"
            );
            assert_eq!(rule.stored, rule.conversation != Conversation::None, "{row:?}");
        }
    }

    #[test]
    fn kinds_without_a_conversation_are_never_stored() {
        let row = KindRow {
            number: 1000,
            name: "TYPING".into(),
            conversation: config::Conversation::None,
            stored: true,
            unread: false,
            push: false,
            clients: true,
        };
        let kinds = Kinds::new(&[row]);
        let rule = kinds.rule(1000).unwrap();
        assert!(!rule.stored);
        assert_eq!(rule.senders, Senders::Clients);
        assert_eq!(kinds.rule(1001), None);
        assert_eq!(kinds.rule(20), None);
    }
}
