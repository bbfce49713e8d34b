-- Whether a call has ended: a later message of its conversation says so.
CREATE INDEX messages_of_ended_calls ON messages (conv_id, seq) WHERE kind = 19;
