-- Revoked tokens: those that were issued up to `issued`, of a user (`device` and `token` are empty) or of one
-- device of a user (`token` is empty), or one token by its id (`uid` and `device` are empty).
CREATE TABLE revocations (
    uid    TEXT    NOT NULL,
    device TEXT    NOT NULL,
    token  TEXT    NOT NULL,
    issued INTEGER NOT NULL,
    forget INTEGER NOT NULL,                     -- from then on no such token is valid anyway
    PRIMARY KEY (uid, device, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_forget ON revocations (forget);
