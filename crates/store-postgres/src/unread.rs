//! Expressions that count unread messages, as differences of running values.
//!
//! For pairs and notices, the number of each side is stored in the conversation, which the writer has locked.
//! Unread messages of teams are counted when they are read, so that a message writes nothing for each member.

/// The running value, at message `$seq`, of messages by `p.uid` that count as unread. It is the value before
/// the user's next own message, because retention may have deleted the one before.
macro_rules! own_before {
    ($after:literal) => {
        concat!(
            "coalesce((SELECT s.member_sent - 1 FROM messages s
                WHERE s.conv = c.conv AND s.sender = p.uid AND s.seq > greatest(",
            $after,
            ", p.joined) AND s.member_sent IS NOT NULL ORDER BY s.seq LIMIT 1), p.sent)"
        )
    };
}

/// SQL for the number of unread messages of participant `p` in conversation `c`: those that count as unread,
/// after its read position or, if later, after the last message that retention has deleted, without the
/// user's own and without recalled ones.
macro_rules! count_unread {
    () => {
        concat!(
            "greatest(0, c.counted - CASE WHEN p.read >= c.gone THEN p.read_counted ELSE c.gone_counted END
             - (CASE WHEN p.member THEN p.sent WHEN c.a = p.uid THEN c.sent_a ELSE c.sent_b END
                - CASE WHEN p.read >= c.gone THEN p.read_sent WHEN p.member THEN ",
            own_before!("c.gone"),
            " WHEN c.a = p.uid THEN c.gone_a ELSE c.gone_b END)
             - CASE WHEN c.recalls = 0 THEN 0 ELSE (SELECT count(*) FROM recalls r
                WHERE r.conv = c.conv AND r.seq > p.read AND r.sender IS DISTINCT FROM p.uid) END)"
        )
    };
}

/// The same, but for pairs and notices the number is read from the row.
macro_rules! unread {
    () => {
        concat!(
            "CASE WHEN p.member THEN ",
            count_unread!(),
            " WHEN c.a = p.uid THEN c.unread_a ELSE c.unread_b END"
        )
    };
}

/// The running value, at message `m` of conversation `c`, of messages by `p.uid` that count as unread. In a
/// pair, messages that the sender of `m` has not sent are the other user's; in notices the value is that of
/// their owner.
macro_rules! own_at {
    () => {
        concat!(
            "CASE WHEN p.member THEN ",
            own_before!("m.seq"),
            " WHEN c.b IS NULL OR m.sender = p.uid THEN coalesce(m.own, 0) ELSE m.counted - m.own END"
        )
    };
}

pub(super) use {count_unread, own_at, own_before, unread};
