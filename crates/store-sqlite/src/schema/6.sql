-- The user whose displaced device a revocation concerns; empty if an operator has requested it. The number of
-- the former is limited per user.
ALTER TABLE revocations ADD COLUMN displaced TEXT NOT NULL DEFAULT '';
CREATE INDEX revocations_displaced ON revocations (displaced, forget);
