-- Tokens that are not accepted any more, although their signature is right: those issued up to `issued`. Either of a user (`device` and
-- `token` are empty), or of one of its devices (`token` is empty), or one token by its id (`uid` and `device` are empty).
CREATE TABLE revocations (
    uid    TEXT    NOT NULL,
    device TEXT    NOT NULL,
    token  TEXT    NOT NULL,
    issued INTEGER NOT NULL,
    forget INTEGER NOT NULL,                     -- from then on no such token is valid anyway
    PRIMARY KEY (uid, device, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_forget ON revocations (forget);
