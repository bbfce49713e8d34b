-- The chat record. Times are milliseconds since 1970, by PostgreSQL's clock. Texts that are compared or sorted
-- have the collation "C": the order of bytes, as in the program.
-- A "running" value counts from the first message of the conversation up to and including its own row. Unread
-- counts are differences of two running values, so that a message writes nothing per recipient.

CREATE TABLE conversations (
    conv         uuid PRIMARY KEY,                 -- what clients see
    made         bigint GENERATED ALWAYS AS IDENTITY,
    kind         smallint NOT NULL,                -- 0 to 3: pair and its class; 4: notices; 5: team
    a            text COLLATE "C",                 -- pair: the smaller uid; notices: the owner
    b            text COLLATE "C",                 -- pair: the greater uid
    team         text COLLATE "C",
    head         bigint NOT NULL DEFAULT 0,        -- seq of the newest message
    last_row     bigint NOT NULL DEFAULT 0,        -- the greatest messages.id of the conversation
    last_mid     uuid,                             -- the greatest messages.mid of the conversation
    ts           bigint NOT NULL DEFAULT 0,
    counted      bigint NOT NULL DEFAULT 0,        -- running: messages that count as unread
    sent_a       bigint NOT NULL DEFAULT 0,        -- of these, sent by a
    sent_b       bigint NOT NULL DEFAULT 0,        -- of these, sent by b
    unread_a     bigint NOT NULL DEFAULT 0,        -- unread by a (pairs, notices)
    unread_b     bigint NOT NULL DEFAULT 0,        -- unread by b (pairs)
    recalls      bigint NOT NULL DEFAULT 0,        -- rows in recalls
    closed       boolean NOT NULL DEFAULT false,   -- a deleted team's
    version      bigint NOT NULL DEFAULT 0,        -- grows with each change of the team's members
    gone         bigint NOT NULL DEFAULT 0,        -- retention has deleted the messages up to here
    gone_counted bigint NOT NULL DEFAULT 0,        -- the running values at that message
    gone_a       bigint NOT NULL DEFAULT 0,
    gone_b       bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX conversations_by_a ON conversations (a, ((unread_a > 0)::int), last_row, made) WHERE a IS NOT NULL;
CREATE INDEX conversations_by_b ON conversations (b, ((unread_b > 0)::int), last_row, made)
    WHERE b IS NOT NULL AND b <> a;
CREATE INDEX conversations_closed ON conversations (conv) WHERE closed;

-- The messages. Rows are only added, and retention deletes the oldest: both ends of the table are contiguous.
CREATE TABLE messages (
    conv        uuid NOT NULL,
    seq         bigint NOT NULL,
    id          bigint NOT NULL,                   -- the transaction and the place in it (rows.rs)
    mid         uuid NOT NULL,
    kind        integer NOT NULL,
    ts          bigint NOT NULL,
    counts      boolean NOT NULL,                  -- counts as unread
    recalled    boolean NOT NULL DEFAULT false,
    sender      text COLLATE "C",
    cid         text COLLATE "C",
    cid_hash    bigint,                            -- of sender and cid
    counted     bigint NOT NULL,                   -- running: messages that count
    own         bigint,                            -- running: of these, by the sender (pairs), by the owner (notices)
    member_sent bigint,                            -- running: of these, by the sender since joining (teams)
    data        text NOT NULL,                     -- JSON
    PRIMARY KEY (conv, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);
CREATE UNIQUE INDEX messages_by_id ON messages (id);
CREATE UNIQUE INDEX messages_by_mid ON messages (mid);
CREATE INDEX messages_by_cid ON messages (conv, cid_hash) WHERE cid_hash IS NOT NULL;
CREATE INDEX messages_by_member ON messages (conv, sender, seq) WHERE member_sent IS NOT NULL;

-- The participants of each conversation. The row of a team member is deleted when the member leaves.
CREATE TABLE participants (
    uid          text COLLATE "C" NOT NULL,
    conv         uuid NOT NULL,
    member       boolean NOT NULL DEFAULT false,   -- of a team
    floor        bigint NOT NULL DEFAULT 0,        -- sees what comes after
    joined       bigint NOT NULL DEFAULT 0,        -- the head at joining, from which `sent` is counted
    sent         bigint NOT NULL DEFAULT 0,        -- teams, running since joining: counting messages by this uid
    read         bigint NOT NULL DEFAULT 0,        -- read up to here; never below joined
    read_counted bigint NOT NULL DEFAULT 0,        -- the running value of counted at read
    read_sent    bigint NOT NULL DEFAULT 0,        -- this uid's own running value at read
    PRIMARY KEY (uid, conv)
) WITH (fillfactor = 80);
CREATE INDEX participants_by_team ON participants (conv, uid) WHERE member;
CREATE INDEX participants_of_teams ON participants (uid) INCLUDE (conv) WHERE member;

CREATE TABLE teams (
    team text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    conv uuid NOT NULL
);

-- Recalled messages of kinds that count as unread. They are not included in unread counts any more.
CREATE TABLE recalls (
    conv   uuid NOT NULL,
    seq    bigint NOT NULL,
    sender text COLLATE "C",
    PRIMARY KEY (conv, seq)
);

-- Pair conversations that users with a limit have begun within the last hour.
CREATE TABLE begun (
    uid text COLLATE "C" NOT NULL,
    at  bigint NOT NULL
);
CREATE INDEX begun_by_uid ON begun (uid, at);

-- The devices. A device starts at the heads of the moment of its first register. Afterwards it has a cursor
-- for each conversation.
CREATE TABLE devices (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid    text COLLATE "C" NOT NULL,
    device text COLLATE "C" NOT NULL,
    since  bigint NOT NULL,                        -- it had every message with an id up to this, unless a cursor says more
    had    bigint NOT NULL,                        -- in pairs and notices it has everything up to this id
    seen   bigint NOT NULL,
    named  boolean NOT NULL,                       -- the client chose the id itself; other devices are forgotten first
    UNIQUE (uid, device)
) WITH (fillfactor = 80);
CREATE TABLE cursors (
    device_id bigint NOT NULL,
    conv      uuid NOT NULL,
    seq       bigint NOT NULL,
    acked     boolean NOT NULL DEFAULT true,       -- false: where the device began
    PRIMARY KEY (device_id, conv)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

-- A push job waits in one of three lanes: 0 urgent, 1 others, 2 written to a connection whose end may still
-- show that the message was not received.
CREATE TABLE push_jobs (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conv     uuid NOT NULL,
    seq      bigint NOT NULL,
    uid      text COLLATE "C",                     -- the one recipient; null: the team's members without the sender
    after    text COLLATE "C",                     -- team: the last member that was handled
    team     boolean NOT NULL,                     -- the message is a team's
    lane     smallint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    made     bigint NOT NULL,
    due      bigint NOT NULL,
    expires  bigint NOT NULL,
    dead     boolean NOT NULL DEFAULT false,
    leased_until bigint,                           -- until then a node works on it
    leased_by    bigint                            -- the number of that node
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX push_jobs_due ON push_jobs (lane, due, id) WHERE NOT dead;
CREATE INDEX push_jobs_of_user ON push_jobs (uid, lane, due) WHERE NOT dead AND uid IS NOT NULL;
CREATE INDEX push_jobs_of_message ON push_jobs (conv, seq);
CREATE INDEX push_jobs_dead ON push_jobs (id) WHERE dead;
CREATE INDEX push_jobs_leased ON push_jobs (leased_by) WHERE leased_until IS NOT NULL;

-- Teams that a user has left, or that were deleted: the messages that those devices of the user may still
-- receive which were offline at that time.
CREATE TABLE departures (
    uid     text COLLATE "C" NOT NULL,
    conv    uuid NOT NULL,
    seq     bigint NOT NULL,                       -- of the user's own kind 17
    message bigint NOT NULL,                       -- messages.id of it
    floor   bigint NOT NULL,                       -- the member's
    head    bigint NOT NULL,                       -- the newest message before the user left
    PRIMARY KEY (uid, conv)
);
CREATE INDEX departures_of_conversation ON departures (conv, seq);

-- Revoked tokens: those that were issued up to `issued`, of a user (`device` and `token` are empty), of one
-- device of a user (`token` is empty), or one token by its id (`uid` and `device` are empty).
CREATE TABLE revocations (
    uid       text COLLATE "C" NOT NULL,
    device    text COLLATE "C" NOT NULL,
    token     text COLLATE "C" NOT NULL,
    issued    bigint NOT NULL,
    forget    bigint NOT NULL,                     -- from then on no such token is valid anyway
    displaced text COLLATE "C" NOT NULL,           -- the user whose displaced device it concerns, or empty
    stamp     bigint NOT NULL DEFAULT 0,           -- the first id of the transaction that has changed it
    PRIMARY KEY (uid, device, token)
);
CREATE INDEX revocations_stamp ON revocations (stamp);
CREATE INDEX revocations_forget ON revocations (forget);
CREATE INDEX revocations_displaced ON revocations (displaced, forget) WHERE displaced <> '';

-- Small texts that all nodes share, such as the API keys. Version 0 was never set.
CREATE TABLE settings (
    name    text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    text    text NOT NULL
);

-- The nodes that use the tables, with their heartbeats (nodes.rs).
CREATE TABLE nodes (
    id    bigint PRIMARY KEY,                      -- a random number, a different one after each start
    name  text NOT NULL,                           -- host and process, for people
    alone boolean NOT NULL,                        -- no other node may be there
    since bigint NOT NULL,
    beat  bigint NOT NULL,                         -- when the node has written last that it is running
    run   uuid,                                    -- what the other nodes call it, if there may be others
    introduction text NOT NULL DEFAULT ''          -- what it says to them about itself
) WITH (fillfactor = 50);

-- Nodes that have ended a moment ago, whose users are expected back on another node.
CREATE TABLE ended_nodes (
    run uuid PRIMARY KEY,
    at  bigint NOT NULL
);

-- For each node, how many transactions of its writer were committed. Every transaction that writes locks the
-- row of its node, so that a node without a row writes nothing.
CREATE TABLE writers (
    node      bigint PRIMARY KEY,                  -- nodes.id
    committed bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);

-- For retention: rows, and the running time (marks.rs) at which they were the newest.
CREATE TABLE marks (
    row bigint PRIMARY KEY,                        -- messages.id
    at  bigint NOT NULL
);

-- The head of a conversation when `since` was the newest row of all: a binary search, as ids that are up to
-- `since` come before the others in every conversation without a cursor (rows.rs). What was deleted is old.
CREATE FUNCTION head_then(of_conv uuid, of_head bigint, since bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint := 0;
    high bigint := of_head + 1;
    middle bigint;
    found_id bigint;
BEGIN
    WHILE high - low > 1 LOOP
        middle := low + (high - low) / 2;
        SELECT m.id INTO found_id FROM messages m WHERE m.conv = of_conv AND m.seq = middle;
        IF found_id IS NULL OR found_id <= since THEN low := middle; ELSE high := middle; END IF;
    END LOOP;
    RETURN low;
END $$;
