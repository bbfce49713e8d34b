-- For retention: row numbers, and the running time (age.rs) at which they were the newest. The messages up to
-- such a row are at least as old as this.
CREATE TABLE ages (
    row INTEGER PRIMARY KEY,                     -- messages.id
    at  INTEGER NOT NULL
) STRICT;
