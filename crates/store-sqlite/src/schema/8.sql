-- The chat history. Times are milliseconds since 1970, identifiers are the application's own texts.
-- A "running" value counts from the first message of the conversation up to and including its own row. Unread
-- counts are differences of two running values, so that a message writes nothing per recipient.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Retention deletes the oldest messages of a conversation up to `gone`. The running values at that message are
-- kept in gone_counted, gone_a and gone_b. The writer keeps unread_a and unread_b up to date, so that neither a
-- register nor a list has to count. Teams have too many members for that: for them the number of unread
-- messages is the difference of running values.
CREATE TABLE conversations (
    id           INTEGER PRIMARY KEY,
    conv         BLOB    NOT NULL UNIQUE,        -- what clients see
    kind         INTEGER NOT NULL,               -- 0 to 3: pair and its class; 4: notices; 5: team
    a            TEXT,                           -- pair: the smaller uid; notices: the owner
    b            TEXT,                           -- pair: the greater uid
    team         TEXT,
    head         INTEGER NOT NULL DEFAULT 0,     -- seq of the newest message
    last_row     INTEGER NOT NULL DEFAULT 0,     -- messages.id of the newest message
    ts           INTEGER NOT NULL DEFAULT 0,     -- of the newest message
    counted      INTEGER NOT NULL DEFAULT 0,     -- running: messages that count as unread
    sent_a       INTEGER NOT NULL DEFAULT 0,     -- of these, sent by a
    sent_b       INTEGER NOT NULL DEFAULT 0,     -- of these, sent by b
    recalls      INTEGER NOT NULL DEFAULT 0,     -- rows in recalls
    closed       INTEGER NOT NULL DEFAULT 0,     -- a deleted team's
    gone         INTEGER NOT NULL DEFAULT 0,
    gone_counted INTEGER NOT NULL DEFAULT 0,
    gone_a       INTEGER NOT NULL DEFAULT 0,
    gone_b       INTEGER NOT NULL DEFAULT 0,
    unread_a     INTEGER NOT NULL DEFAULT 0,     -- pairs and notices: messages that a has not read
    unread_b     INTEGER NOT NULL DEFAULT 0      -- pairs: messages that b has not read
) STRICT;
-- The conversations of a user, newest first: those with unread messages, and the others.
CREATE INDEX conversations_by_a ON conversations (a, unread_a > 0, last_row) WHERE a IS NOT NULL;
CREATE INDEX conversations_by_b ON conversations (b, unread_b > 0, last_row) WHERE b IS NOT NULL AND b <> a;

-- The number of unread messages of each user in pairs and notices.
CREATE TABLE users (
    uid    TEXT    PRIMARY KEY,
    unread INTEGER NOT NULL                      -- the sum of unread_a and unread_b where they are this user's
) STRICT, WITHOUT ROWID;

-- The messages, in commit order. Frequent lookups use indexes that are narrow or grow at their right edge.
CREATE TABLE messages (
    id          INTEGER PRIMARY KEY,
    conv_id     INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    mid         BLOB    NOT NULL,
    kind        INTEGER NOT NULL,
    ts          INTEGER NOT NULL,
    counts      INTEGER NOT NULL,                -- counts as unread
    recalled    INTEGER NOT NULL DEFAULT 0,
    sender      TEXT,
    cid         TEXT,
    counted     INTEGER NOT NULL,                -- running: messages that count
    own         INTEGER,                         -- running: of these, by the sender (pairs), by the owner (notices)
    member_sent INTEGER,                         -- running: of these, by the sender since joining (teams)
    data        TEXT    NOT NULL                 -- JSON
) STRICT;
CREATE UNIQUE INDEX messages_by_seq ON messages (conv_id, seq);
CREATE UNIQUE INDEX messages_by_mid ON messages (mid);
CREATE INDEX messages_by_member ON messages (conv_id, sender, seq) WHERE member_sent IS NOT NULL;

-- For retention: row numbers, and the running time (age.rs) at which they were the newest. The messages up to
-- such a row are at least as old as this.
CREATE TABLE ages (
    row INTEGER PRIMARY KEY,                     -- messages.id
    at  INTEGER NOT NULL
) STRICT;

-- The newest message for each cid of each sender. The table is complete up to the messages.id in meta's
-- cids_through.
CREATE TABLE cids (
    conv_id INTEGER NOT NULL,
    hash    INTEGER NOT NULL,                    -- of sender and cid
    message INTEGER NOT NULL,                    -- messages.id
    PRIMARY KEY (conv_id, hash)
) STRICT, WITHOUT ROWID;

-- The participants of each conversation. The row of a team member is deleted when the member leaves.
CREATE TABLE participants (
    uid          TEXT    NOT NULL,
    conv_id      INTEGER NOT NULL,
    member       INTEGER NOT NULL DEFAULT 0,     -- of a team
    floor        INTEGER NOT NULL DEFAULT 0,     -- sees what comes after: the head at joining, or an earlier one
    sent         INTEGER NOT NULL DEFAULT 0,     -- teams, running since joining: counting messages by this uid
    read         INTEGER NOT NULL DEFAULT 0,     -- read up to here; never below floor
    read_counted INTEGER NOT NULL DEFAULT 0,     -- the running value of counted at read
    read_sent    INTEGER NOT NULL DEFAULT 0,     -- this uid's own running value at read
    joined       INTEGER NOT NULL DEFAULT 0,     -- the head at joining, from which sent is counted
    PRIMARY KEY (uid, conv_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX participants_by_team ON participants (conv_id, uid) WHERE member = 1;
CREATE INDEX participants_of_teams ON participants (uid, conv_id) WHERE member = 1;

CREATE TABLE teams (
    team    TEXT    PRIMARY KEY,
    name    TEXT    NOT NULL,
    conv_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Teams that a user has left, or that were deleted: the messages that those devices of the user may still
-- receive which were offline at that time.
CREATE TABLE departures (
    message INTEGER PRIMARY KEY,                 -- messages.id of the user's own kind 17
    uid     TEXT    NOT NULL,
    conv_id INTEGER NOT NULL,
    seq     INTEGER NOT NULL,                    -- of the kind 17
    floor   INTEGER NOT NULL,                    -- the member's
    head    INTEGER NOT NULL                     -- the newest message before the user left; the kinds 17 of users
                                                 -- who left at the same time come after it
) STRICT;
CREATE UNIQUE INDEX departures_by_conversation ON departures (uid, conv_id);
-- The index also contains `message`, which is the number of the row.
CREATE INDEX departures_of_user ON departures (uid);

-- Recalled messages of kinds that count as unread. They are not included in unread counts any more.
CREATE TABLE recalls (
    conv_id INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    sender  TEXT,
    PRIMARY KEY (conv_id, seq)
) STRICT, WITHOUT ROWID;

-- The devices. A device starts at the heads of the moment of its first register. Afterwards it has a cursor
-- for each conversation.
CREATE TABLE devices (
    id        INTEGER PRIMARY KEY,
    uid       TEXT    NOT NULL,
    device    TEXT    NOT NULL,
    since_row INTEGER NOT NULL,                  -- the newest messages.id of that moment
    seen      INTEGER NOT NULL,
    named     INTEGER NOT NULL DEFAULT 1,        -- the client chose the deviceid and will use it again; other
                                                 -- devices are forgotten first
    had_row   INTEGER NOT NULL DEFAULT 0,        -- in pairs and notices it has everything up to this messages.id,
                                                 -- so that resuming can skip it
    UNIQUE (uid, device)
) STRICT;
CREATE TABLE cursors (
    device_id INTEGER NOT NULL,
    conv_id   INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    PRIMARY KEY (device_id, conv_id)
) STRICT, WITHOUT ROWID;

-- Dead push jobs are kept as long as their messages.
CREATE TABLE push_jobs (
    id       INTEGER PRIMARY KEY,
    message  INTEGER NOT NULL,                   -- messages.id
    uid      TEXT,                               -- the one recipient; null: the team's members without the sender
    after    TEXT,                               -- team: the last member worked off
    attempts INTEGER NOT NULL DEFAULT 0,
    due      INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    dead     INTEGER NOT NULL DEFAULT 0,
    lane     INTEGER NOT NULL DEFAULT 1,         -- 0 urgent, 1 others, 2 written to a connection whose end may
                                                 -- still show that the message was not received
    made     INTEGER NOT NULL DEFAULT 0,         -- when the message was committed, on the clock of due
    conv_id  INTEGER                             -- team messages: the job of the team and those of its members
) STRICT;
CREATE INDEX push_jobs_due ON push_jobs (lane, due) WHERE dead = 0;
CREATE INDEX push_jobs_of_user ON push_jobs (uid, lane, due) WHERE dead = 0;
CREATE INDEX push_jobs_of_team ON push_jobs (conv_id) WHERE dead = 0 AND uid IS NULL;
CREATE INDEX push_jobs_of_members ON push_jobs (conv_id)
    WHERE dead = 0 AND uid IS NOT NULL AND conv_id IS NOT NULL;
CREATE INDEX push_jobs_dead ON push_jobs (message) WHERE dead = 1;

-- Revoked tokens: those that were issued up to `issued`, of a user (`device` and `token` are empty) or of one
-- device of a user (`token` is empty), or one token by its id (`uid` and `device` are empty).
CREATE TABLE revocations (
    uid       TEXT    NOT NULL,
    device    TEXT    NOT NULL,
    token     TEXT    NOT NULL,
    issued    INTEGER NOT NULL,
    forget    INTEGER NOT NULL,                  -- from then on no such token is valid anyway
    displaced TEXT    NOT NULL DEFAULT '',       -- the user whose displaced device it concerns; empty if an operator
                                                 -- has requested it. The number of the former is limited per user.
    PRIMARY KEY (uid, device, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_forget ON revocations (forget);
CREATE INDEX revocations_displaced ON revocations (displaced, forget);
