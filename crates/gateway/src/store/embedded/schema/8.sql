-- Teams that a user has left, or that were deleted: which messages devices of the user that were offline may
-- still get.
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
-- Contains `message` as well, which is the row's number.
CREATE INDEX departures_of_user ON departures (uid);
