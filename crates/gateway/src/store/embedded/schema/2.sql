-- Retention: the oldest messages of a conversation are deleted up to `gone`; the running values at that message stay here.
ALTER TABLE conversations ADD COLUMN gone         INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN gone_counted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN gone_a       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN gone_b       INTEGER NOT NULL DEFAULT 0;

-- Head at joining, from which `sent` is counted; `floor` may be lower, for those who see what came before.
ALTER TABLE participants ADD COLUMN joined INTEGER NOT NULL DEFAULT 0;
UPDATE participants SET joined = floor;

-- The client named the device itself, and will come back under this name; others are forgotten first.
ALTER TABLE devices ADD COLUMN named INTEGER NOT NULL DEFAULT 1;

-- Push jobs that were given up stay as long as their messages.
CREATE INDEX push_jobs_dead ON push_jobs (message) WHERE dead = 1;
