-- The number of unread messages of each user in pairs and notices. The writer keeps it up to date, so that
-- neither a register nor a list has to count. Teams have too many members for that: for them it is still the
-- difference of running values.
ALTER TABLE conversations ADD COLUMN unread_a INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN unread_b INTEGER NOT NULL DEFAULT 0;
UPDATE conversations SET
    unread_a = coalesce((
        SELECT max(0, counted - CASE WHEN p.read >= gone THEN p.read_counted ELSE gone_counted END
            - (sent_a - CASE WHEN p.read >= gone THEN p.read_sent ELSE gone_a END)
            - (SELECT count(*) FROM recalls r
                WHERE r.conv_id = conversations.id AND r.seq > p.read AND r.sender IS NOT p.uid))
        FROM participants p WHERE p.uid = a AND p.conv_id = conversations.id), 0),
    unread_b = coalesce((
        SELECT max(0, counted - CASE WHEN p.read >= gone THEN p.read_counted ELSE gone_counted END
            - (sent_b - CASE WHEN p.read >= gone THEN p.read_sent ELSE gone_b END)
            - (SELECT count(*) FROM recalls r
                WHERE r.conv_id = conversations.id AND r.seq > p.read AND r.sender IS NOT p.uid))
        FROM participants p WHERE p.uid = b AND b <> a AND p.conv_id = conversations.id), 0)
WHERE a IS NOT NULL;

CREATE TABLE users (
    uid    TEXT    PRIMARY KEY,
    unread INTEGER NOT NULL                      -- the sum of unread_a and unread_b where they are this user's
) STRICT, WITHOUT ROWID;
INSERT INTO users (uid, unread)
    SELECT uid, sum(unread) FROM (
        SELECT a AS uid, unread_a AS unread FROM conversations WHERE unread_a > 0
        UNION ALL SELECT b, unread_b FROM conversations WHERE unread_b > 0)
    GROUP BY uid;

-- The conversations of a user, newest first: those with unread messages, and the others.
CREATE INDEX conversations_by_a ON conversations (a, unread_a > 0, last_row) WHERE a IS NOT NULL;
CREATE INDEX conversations_by_b ON conversations (b, unread_b > 0, last_row) WHERE b IS NOT NULL AND b <> a;
CREATE INDEX participants_of_teams ON participants (uid, conv_id) WHERE member = 1;

-- In pairs and notices, the device has received everything up to this messages.id, so that resuming can skip
-- it.
ALTER TABLE devices ADD COLUMN had_row INTEGER NOT NULL DEFAULT 0;
UPDATE devices SET had_row = since_row;
