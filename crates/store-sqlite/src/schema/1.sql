-- The chat history. Times are milliseconds since 1970, identifiers are the application's own texts.
-- A "running" value counts from the first message of the conversation up to and including its own row. Unread
-- counts are differences of two running values, so that a message writes nothing per recipient.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations (
    id       INTEGER PRIMARY KEY,
    conv     BLOB    NOT NULL UNIQUE,            -- what clients see
    kind     INTEGER NOT NULL,                   -- 0 to 3: pair and its class; 4: notices; 5: team
    a        TEXT,                               -- pair: the smaller uid; notices: the owner
    b        TEXT,                               -- pair: the greater uid
    team     TEXT,
    head     INTEGER NOT NULL DEFAULT 0,         -- seq of the newest message
    last_row INTEGER NOT NULL DEFAULT 0,         -- messages.id of the newest message
    ts       INTEGER NOT NULL DEFAULT 0,         -- never decreases
    counted  INTEGER NOT NULL DEFAULT 0,         -- running: messages that count as unread
    sent_a   INTEGER NOT NULL DEFAULT 0,         -- of these, sent by a
    sent_b   INTEGER NOT NULL DEFAULT 0,         -- of these, sent by b
    recalls  INTEGER NOT NULL DEFAULT 0,         -- rows in recalls
    closed   INTEGER NOT NULL DEFAULT 0          -- a deleted team's
) STRICT;

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
    floor        INTEGER NOT NULL DEFAULT 0,     -- head at joining: sees what comes after
    sent         INTEGER NOT NULL DEFAULT 0,     -- teams, running since joining: counting messages by this uid
    read         INTEGER NOT NULL DEFAULT 0,     -- read up to here; never below floor
    read_counted INTEGER NOT NULL DEFAULT 0,     -- the running value of counted at read
    read_sent    INTEGER NOT NULL DEFAULT 0,     -- this uid's own running value at read
    PRIMARY KEY (uid, conv_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX participants_by_team ON participants (conv_id, uid) WHERE member = 1;

CREATE TABLE teams (
    team    TEXT    PRIMARY KEY,
    name    TEXT    NOT NULL,
    conv_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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
    UNIQUE (uid, device)
) STRICT;
CREATE TABLE cursors (
    device_id INTEGER NOT NULL,
    conv_id   INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    PRIMARY KEY (device_id, conv_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE push_jobs (
    id       INTEGER PRIMARY KEY,
    message  INTEGER NOT NULL,                   -- messages.id
    uid      TEXT,                               -- the one recipient; null: the team's members without the sender
    after    TEXT,                               -- team: the last member worked off
    attempts INTEGER NOT NULL DEFAULT 0,
    due      INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    dead     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX push_jobs_due ON push_jobs (due) WHERE dead = 0;
