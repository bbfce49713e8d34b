-- Small texts that belong to the data directory and not to the history, such as the API keys.
CREATE TABLE settings (
    name    TEXT    PRIMARY KEY,
    value   TEXT    NOT NULL,
    version INTEGER NOT NULL,
    seen    INTEGER NOT NULL                     -- the version that the running server knows
) STRICT, WITHOUT ROWID;
-- Whether a call has ended: a later message of its conversation says so.
CREATE INDEX messages_of_ended_calls ON messages (conv_id, seq) WHERE kind = 19;
