-- A store of format 8, as the program wrote it before its schema was merged into one file.
PRAGMA application_id = 1299803752;
PRAGMA user_version = 8;
BEGIN TRANSACTION;
CREATE TABLE ages (
    row INTEGER PRIMARY KEY,                     -- messages.id
    at  INTEGER NOT NULL
) STRICT;
CREATE TABLE cids (
    conv_id INTEGER NOT NULL,
    hash    INTEGER NOT NULL,                    -- of sender and cid
    message INTEGER NOT NULL,                    -- messages.id
    PRIMARY KEY (conv_id, hash)
) STRICT, WITHOUT ROWID;
INSERT INTO "cids" VALUES(3,-7516395033880740417,2);
INSERT INTO "cids" VALUES(3,-4846183606447344563,3);
INSERT INTO "cids" VALUES(3,-2788617519096728295,4);
INSERT INTO "cids" VALUES(3,4177742498102868870,1);
INSERT INTO "cids" VALUES(3,6913594742807653852,5);
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
, gone         INTEGER NOT NULL DEFAULT 0, gone_counted INTEGER NOT NULL DEFAULT 0, gone_a       INTEGER NOT NULL DEFAULT 0, gone_b       INTEGER NOT NULL DEFAULT 0, unread_a INTEGER NOT NULL DEFAULT 0, unread_b INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "conversations" VALUES(1,X'7421063CF370E40D7B2019F2358431A2',5,NULL,NULL,'t',2,14,1790000000000,1,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "conversations" VALUES(2,X'CE0BA1F25138011256E6BAB388B88B85',5,NULL,NULL,'gone',3,16,1790000000000,1,0,0,0,1,0,0,0,0,0,0);
INSERT INTO "conversations" VALUES(3,X'25542E0262DF1FAFB5757B6887D82BCF',0,'a','b',NULL,10,10,1790000000000,9,8,1,1,0,0,0,0,0,0,4);
INSERT INTO "conversations" VALUES(4,X'A2D0C3C425755E5258F4F83C33D62A08',4,'a',NULL,NULL,1,11,1790000000000,1,0,0,0,0,0,0,0,0,1,0);
CREATE TABLE cursors (
    device_id INTEGER NOT NULL,
    conv_id   INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    PRIMARY KEY (device_id, conv_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "cursors" VALUES(1,3,9);
INSERT INTO "cursors" VALUES(2,3,4);
CREATE TABLE departures (
    message INTEGER PRIMARY KEY,                 -- messages.id of the user's own kind 17
    uid     TEXT    NOT NULL,
    conv_id INTEGER NOT NULL,
    seq     INTEGER NOT NULL,                    -- of the kind 17
    floor   INTEGER NOT NULL,                    -- the member's
    head    INTEGER NOT NULL                     -- the newest message before the user left; the kinds 17 of users
                                                 -- who left at the same time come after it
) STRICT;
INSERT INTO "departures" VALUES(14,'b',1,2,0,1);
INSERT INTO "departures" VALUES(15,'a',2,2,0,1);
INSERT INTO "departures" VALUES(16,'b',2,3,0,1);
CREATE TABLE devices (
    id        INTEGER PRIMARY KEY,
    uid       TEXT    NOT NULL,
    device    TEXT    NOT NULL,
    since_row INTEGER NOT NULL,                  -- the newest messages.id of that moment
    seen      INTEGER NOT NULL, named INTEGER NOT NULL DEFAULT 1, had_row INTEGER NOT NULL DEFAULT 0,
    UNIQUE (uid, device)
) STRICT;
INSERT INTO "devices" VALUES(1,'a','phone',0,1790000000000,1,0);
INSERT INTO "devices" VALUES(2,'b','phone',0,1790000000000,1,0);
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
INSERT INTO "messages" VALUES(1,3,1,X'01A0C4506C0071358487F58DDB5F51C0',3,1790000000000,1,0,'a','1',1,1,NULL,'{"text":"你好 👋"}');
INSERT INTO "messages" VALUES(2,3,2,X'01A0C4506C0071358487F58EABBD2766',3,1790000000000,1,0,'a','2',2,2,NULL,'{"text":"你好 👋"}');
INSERT INTO "messages" VALUES(3,3,3,X'01A0C4506C0071358487F58F018BF649',3,1790000000000,1,0,'a','3',3,3,NULL,'{"text":"你好 👋"}');
INSERT INTO "messages" VALUES(4,3,4,X'01A0C4506C0071358487F58FAC53AFF6',3,1790000000000,1,0,'a','4',4,4,NULL,'{"text":"你好 👋"}');
INSERT INTO "messages" VALUES(5,3,5,X'01A0C4506C0071358487F58FDC1C5655',3,1790000000000,1,0,'a','5',5,5,NULL,'{"text":"你好 👋"}');
INSERT INTO "messages" VALUES(6,3,6,X'01A0C4506C0071358487F590931708B6',3,1790000000000,1,0,'a','6',6,6,NULL,'{"text":"你好 👋"}');
INSERT INTO "messages" VALUES(7,3,7,X'01A0C4506C0071358487F59147891518',3,1790000000000,1,0,'a','7',7,7,NULL,'{"text":"你好 👋"}');
INSERT INTO "messages" VALUES(8,3,8,X'01A0C4506C0071358487F591514D7532',3,1790000000000,1,0,'a','8',8,8,NULL,'{"text":"你好 👋"}');
INSERT INTO "messages" VALUES(9,3,9,X'01A0C4506C0071358487F5924631F0A8',3,1790000000000,1,1,'b',NULL,9,1,NULL,'null');
INSERT INTO "messages" VALUES(10,3,10,X'01A0C4506C0071358487F592EDC604B9',109,1790000000000,0,0,'b',NULL,9,1,NULL,'{"mid":"it"}');
INSERT INTO "messages" VALUES(11,4,1,X'01A0C4506C0071358487F593CBE9C0D0',5,1790000000000,1,0,NULL,NULL,1,0,NULL,'{"text":"你好 👋"}');
INSERT INTO "messages" VALUES(12,1,1,X'01A0C4506C0071358487F594A042D2BA',15,1790000000000,1,0,'a',NULL,1,NULL,1,'{"text":"你好 👋"}');
INSERT INTO "messages" VALUES(14,1,2,X'01A0C4506C0071358487F59589B2EEA7',17,1790000000000,0,0,NULL,NULL,1,NULL,NULL,'{"team":"t","uid":"b"}');
INSERT INTO "messages" VALUES(15,2,2,X'01A0C4506C0071358487F595CB2B971C',17,1790000000000,0,0,NULL,NULL,1,NULL,NULL,'{"team":"gone","uid":"a"}');
INSERT INTO "messages" VALUES(16,2,3,X'01A0C4506C0071358487F5964821A931',17,1790000000000,0,0,NULL,NULL,1,NULL,NULL,'{"team":"gone","uid":"b"}');
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('age','1790000000000,1790000000000,0,1790000000000');
INSERT INTO "meta" VALUES('changes','9');
INSERT INTO "meta" VALUES('cids_through','5');
INSERT INTO "meta" VALUES('epoch','01a22dc18bb9758db519f2057df920b9');
CREATE TABLE participants (
    uid          TEXT    NOT NULL,
    conv_id      INTEGER NOT NULL,
    member       INTEGER NOT NULL DEFAULT 0,     -- of a team
    floor        INTEGER NOT NULL DEFAULT 0,     -- head at joining: sees what comes after
    sent         INTEGER NOT NULL DEFAULT 0,     -- teams, running since joining: counting messages by this uid
    read         INTEGER NOT NULL DEFAULT 0,     -- read up to here; never below floor
    read_counted INTEGER NOT NULL DEFAULT 0,     -- the running value of counted at read
    read_sent    INTEGER NOT NULL DEFAULT 0, joined INTEGER NOT NULL DEFAULT 0,     -- this uid's own running value at read
    PRIMARY KEY (uid, conv_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "participants" VALUES('a',1,1,0,1,0,0,0,0);
INSERT INTO "participants" VALUES('a',3,0,0,0,0,0,0,0);
INSERT INTO "participants" VALUES('a',4,0,0,0,0,0,0,0);
INSERT INTO "participants" VALUES('b',3,0,0,0,4,4,0,0);
INSERT INTO "participants" VALUES('c',1,1,0,0,0,0,0,0);
CREATE TABLE push_jobs (
    id       INTEGER PRIMARY KEY,
    message  INTEGER NOT NULL,                   -- messages.id
    uid      TEXT,                               -- the one recipient; null: the team's members without the sender
    after    TEXT,                               -- team: the last member worked off
    attempts INTEGER NOT NULL DEFAULT 0,
    due      INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    dead     INTEGER NOT NULL DEFAULT 0
, lane INTEGER NOT NULL DEFAULT 1, made INTEGER NOT NULL DEFAULT 0, conv_id INTEGER) STRICT;
INSERT INTO "push_jobs" VALUES(2,2,'b',NULL,0,1790000000000,1790086400000,1,1,1790000000000,NULL);
INSERT INTO "push_jobs" VALUES(3,3,'b',NULL,0,1790000000000,1790086400000,0,1,1790000000000,NULL);
INSERT INTO "push_jobs" VALUES(4,4,'b',NULL,0,1790000000000,1790086400000,0,1,1790000000000,NULL);
INSERT INTO "push_jobs" VALUES(5,5,'b',NULL,0,1790000000000,1790086400000,0,1,1790000000000,NULL);
INSERT INTO "push_jobs" VALUES(6,6,'b',NULL,0,1790000000000,1790086400000,0,1,1790000000000,NULL);
INSERT INTO "push_jobs" VALUES(7,7,'b',NULL,0,1790000000000,1790086400000,0,1,1790000000000,NULL);
INSERT INTO "push_jobs" VALUES(8,8,'b',NULL,0,1790000000000,1790086400000,0,1,1790000000000,NULL);
INSERT INTO "push_jobs" VALUES(9,9,'a',NULL,0,1790000000000,1790086400000,0,1,1790000000000,NULL);
INSERT INTO "push_jobs" VALUES(10,11,'a',NULL,0,1790000000000,1790086400000,0,1,1790000000000,NULL);
INSERT INTO "push_jobs" VALUES(11,12,NULL,NULL,0,1790000000000,1790086400000,0,1,1790000000000,1);
CREATE TABLE recalls (
    conv_id INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    sender  TEXT,
    PRIMARY KEY (conv_id, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "recalls" VALUES(3,9,'b');
CREATE TABLE revocations (
    uid    TEXT    NOT NULL,
    device TEXT    NOT NULL,
    token  TEXT    NOT NULL,
    issued INTEGER NOT NULL,
    forget INTEGER NOT NULL, displaced TEXT NOT NULL DEFAULT '',                     -- from then on no such token is valid anyway
    PRIMARY KEY (uid, device, token)
) STRICT, WITHOUT ROWID;
INSERT INTO "revocations" VALUES('c','','',1790000000000,1791000000000,'');
CREATE TABLE teams (
    team    TEXT    PRIMARY KEY,
    name    TEXT    NOT NULL,
    conv_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "teams" VALUES('t','T',1);
CREATE TABLE users (
    uid    TEXT    PRIMARY KEY,
    unread INTEGER NOT NULL                      -- the sum of unread_a and unread_b where they are this user's
) STRICT, WITHOUT ROWID;
INSERT INTO "users" VALUES('a',1);
INSERT INTO "users" VALUES('b',4);
CREATE UNIQUE INDEX messages_by_seq ON messages (conv_id, seq);
CREATE UNIQUE INDEX messages_by_mid ON messages (mid);
CREATE INDEX messages_by_member ON messages (conv_id, sender, seq) WHERE member_sent IS NOT NULL;
CREATE INDEX participants_by_team ON participants (conv_id, uid) WHERE member = 1;
CREATE INDEX push_jobs_dead ON push_jobs (message) WHERE dead = 1;
CREATE INDEX revocations_forget ON revocations (forget);
CREATE INDEX conversations_by_a ON conversations (a, unread_a > 0, last_row) WHERE a IS NOT NULL;
CREATE INDEX conversations_by_b ON conversations (b, unread_b > 0, last_row) WHERE b IS NOT NULL AND b <> a;
CREATE INDEX participants_of_teams ON participants (uid, conv_id) WHERE member = 1;
CREATE INDEX revocations_displaced ON revocations (displaced, forget);
CREATE INDEX push_jobs_due ON push_jobs (lane, due) WHERE dead = 0;
CREATE INDEX push_jobs_of_user ON push_jobs (uid, lane, due) WHERE dead = 0;
CREATE INDEX push_jobs_of_team ON push_jobs (conv_id) WHERE dead = 0 AND uid IS NULL;
CREATE INDEX push_jobs_of_members ON push_jobs (conv_id)
    WHERE dead = 0 AND uid IS NOT NULL AND conv_id IS NOT NULL;
CREATE UNIQUE INDEX departures_by_conversation ON departures (uid, conv_id);
CREATE INDEX departures_of_user ON departures (uid);
COMMIT;
