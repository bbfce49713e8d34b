-- Whose displaced device a revocation is about; empty where an operator asked for it. Of one user only so many of the former are kept.
ALTER TABLE revocations ADD COLUMN displaced TEXT NOT NULL DEFAULT '';
CREATE INDEX revocations_displaced ON revocations (displaced, forget);
