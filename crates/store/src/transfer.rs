//! The form in which a whole store is copied into another one: tables, whose values are texts as PostgreSQL
//! writes them (`t` and `f`, decimal numbers, UUIDs with hyphens; `None` is null).

use crate::UnixMillis;

/// A row: one value for each column of its table.
pub type Row = Vec<Option<String>>;

/// A table that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The columns, in the order of the values.
    pub columns: &'static [&'static str],
}

/// The times of a store when it was stopped, in milliseconds since 1970. Ages continue from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The time of day.
    pub day: UnixMillis,
    /// The measured time, which decides when devices and revocations are forgotten.
    pub measured: UnixMillis,
    /// The running time, which `marks` refer to.
    pub running: UnixMillis,
}

/// The messages, in the order of their ids.
pub const MESSAGES: Table = Table {
    name: "messages",
    columns: &[
        "conv",
        "seq",
        "id",
        "mid",
        "kind",
        "ts",
        "counts",
        "recalled",
        "sender",
        "cid",
        "counted",
        "own",
        "member_sent",
        "data",
    ],
};

/// All tables, in the order in which they are copied. The messages come last.
pub const TABLES: [Table; 12] = [
    Table {
        name: "conversations",
        columns: &[
            "conv",
            "kind",
            "a",
            "b",
            "team",
            "head",
            "last_row",
            "ts",
            "counted",
            "sent_a",
            "sent_b",
            "unread_a",
            "unread_b",
            "recalls",
            "closed",
            "gone",
            "gone_counted",
            "gone_a",
            "gone_b",
        ],
    },
    Table {
        name: "participants",
        columns: &[
            "uid",
            "conv",
            "member",
            "floor",
            "joined",
            "sent",
            "read",
            "read_counted",
            "read_sent",
        ],
    },
    Table {
        name: "teams",
        columns: &["team", "name", "conv"],
    },
    Table {
        name: "recalls",
        columns: &["conv", "seq", "sender"],
    },
    Table {
        name: "departures",
        columns: &["uid", "conv", "seq", "message", "floor", "head"],
    },
    Table {
        name: "devices",
        columns: &["id", "uid", "device", "since", "had", "seen", "named"],
    },
    Table {
        name: "cursors",
        columns: &["device_id", "conv", "seq"],
    },
    Table {
        name: "push_jobs",
        columns: &[
            "id", "conv", "seq", "uid", "after", "team", "lane", "attempts", "made", "due", "expires", "dead",
        ],
    },
    Table {
        name: "revocations",
        columns: &["uid", "device", "token", "issued", "forget", "displaced"],
    },
    Table {
        name: "settings",
        columns: &["name", "version", "text"],
    },
    // For retention: rows, and the running time at which each was the newest.
    Table {
        name: "marks",
        columns: &["row", "at"],
    },
    MESSAGES,
];
