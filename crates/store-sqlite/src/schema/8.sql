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
