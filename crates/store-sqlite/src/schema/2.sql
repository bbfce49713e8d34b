-- Retention deletes the oldest messages of a conversation up to `gone`. The running values at that message
-- are kept here.
ALTER TABLE conversations ADD COLUMN gone         INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN gone_counted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN gone_a       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN gone_b       INTEGER NOT NULL DEFAULT 0;

-- The head at joining, from which `sent` is counted. `floor` is lower for members who see earlier messages.
ALTER TABLE participants ADD COLUMN joined INTEGER NOT NULL DEFAULT 0;
UPDATE participants SET joined = floor;

-- Whether the client chose the deviceid itself, and will use it again. Other devices are forgotten first.
ALTER TABLE devices ADD COLUMN named INTEGER NOT NULL DEFAULT 1;

-- Dead push jobs are kept as long as their messages.
CREATE INDEX push_jobs_dead ON push_jobs (message) WHERE dead = 1;
