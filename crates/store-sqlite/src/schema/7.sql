-- A push job waits in one of three lanes: 0 urgent, 1 others, 2 written to a connection whose end may still
-- show that the message was not received.
ALTER TABLE push_jobs ADD COLUMN lane INTEGER NOT NULL DEFAULT 1;
-- When the message of the job was committed, on the clock of `due`.
ALTER TABLE push_jobs ADD COLUMN made INTEGER NOT NULL DEFAULT 0;
-- The conversation of the team, for the jobs of a team message: the job of the team and those of its members.
ALTER TABLE push_jobs ADD COLUMN conv_id INTEGER;
UPDATE push_jobs SET
    made = (SELECT ts FROM messages WHERE id = message),
    conv_id = (SELECT c.id FROM messages m JOIN conversations c ON c.id = m.conv_id
        WHERE m.id = message AND c.team IS NOT NULL),
    lane = (SELECT kind <> 18 FROM messages WHERE id = message)
    WHERE EXISTS (SELECT 1 FROM messages WHERE id = message);

DROP INDEX push_jobs_due;
CREATE INDEX push_jobs_due ON push_jobs (lane, due) WHERE dead = 0;
CREATE INDEX push_jobs_of_user ON push_jobs (uid, lane, due) WHERE dead = 0;
CREATE INDEX push_jobs_of_team ON push_jobs (conv_id) WHERE dead = 0 AND uid IS NULL;
CREATE INDEX push_jobs_of_members ON push_jobs (conv_id)
    WHERE dead = 0 AND uid IS NOT NULL AND conv_id IS NOT NULL;
