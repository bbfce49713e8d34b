-- Retention: row numbers, and the running time (age.rs) at which they were the newest. What lies up to a row is at least as old as this.
CREATE TABLE ages (
    row INTEGER PRIMARY KEY,                     -- messages.id
    at  INTEGER NOT NULL
) STRICT;
