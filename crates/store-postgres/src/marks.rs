//! Determines how old rows are, whatever PostgreSQL's clock says: each mark names a row and the running time
//! at which it was the newest.
//!
//! The running time advances with the steady clocks of the nodes: each node that looks adds what it has
//! measured since its own last look, as far as others have not added it. The time without any node is taken
//! from PostgreSQL's clock, but gradually: the marks of earlier rows are moved back by one more second for
//! each second that has really passed. Invariant: if a clock is set ahead, nothing is deleted early that was
//! written while a node was running, and earlier messages age at most twice as fast as normal.

use mynah_store::UnixMillis;
use mynah_store::transfer::Times;
use tokio_postgres::GenericClient;

use super::failure::Failure;
use super::values::stored;

/// Longest time between two marks, in milliseconds: a message may be deleted this much later than necessary.
const MOST_BETWEEN_MARKS_MS: u64 = 3_600_000;
/// The minimum number of marks within the time that messages are kept.
const LEAST_MARKS: u64 = 64;

const LOAD: &str = "SELECT value FROM meta WHERE key = 'age'";
const SAVE: &str = "INSERT INTO meta (key, value) VALUES ('age', $1)
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";
/// Whether there are nodes besides `$1`. They may have measured what this one has not.
const OTHERS: &str = "SELECT EXISTS (SELECT FROM nodes WHERE id <> $1)";
const NEWEST: &str = "SELECT id, ts FROM messages ORDER BY id DESC LIMIT 1";
const LAST: &str = "SELECT row, at FROM marks ORDER BY row DESC LIMIT 1";
const MARK: &str = "INSERT INTO marks (row, at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
const MOVE: &str = "UPDATE marks SET at = greatest(at - $1, 0) WHERE row <= $2";
const OLD: &str = "SELECT row FROM marks WHERE at <= $1 ORDER BY row DESC LIMIT 1";
const FORGET: &str = "DELETE FROM marks WHERE row < $1";

/// The state that is kept between two searches, also if another node makes the second one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kept {
    /// The running time.
    ran: i64,
    /// The time of PostgreSQL's clock then.
    day: i64,
    /// The time of the last search before there was no node, and the running time since then.
    since: i64,
    ran_since: i64,
    /// The part of the time without a node that was accepted so far.
    believed: i64,
    /// Rows up to this one existed when there was a node again.
    start: i64,
}

impl Kept {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',').map(str::parse::<i64>);
        let mut next = || parts.next()?.ok();
        Some(Self {
            ran: next()?,
            day: next()?,
            since: next()?,
            ran_since: next()?,
            believed: next()?,
            start: next()?,
        })
    }

    fn text(&self) -> String {
        let Self {
            ran,
            day,
            since,
            ran_since,
            believed,
            start,
        } = self;
        format!("{ran},{day},{since},{ran_since},{believed},{start}")
    }
}

/// The state after that of a store that was copied: the time since it was stopped is taken from PostgreSQL's
/// clock, like a time without a node that deletes.
pub(super) fn continued(times: Times) -> String {
    let (ran, day) = (stored(times.running), stored(times.day));
    let kept = Kept {
        ran,
        day,
        ..Kept::default()
    };
    kept.text()
}

/// What a node has measured.
#[derive(Debug, Default)]
pub(super) struct Marks {
    node: i64,
    /// The time of the steady clock when this node searched last, and the running time then.
    last: Option<(UnixMillis, i64)>,
}

/// The result of a search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Searched {
    /// The newest row that is old enough to be deleted. A transaction that was in progress may have written
    /// smaller rows a few seconds later.
    pub(super) old: Option<i64>,
    last: (UnixMillis, i64),
}

impl Marks {
    /// `node` is the number of this node.
    pub(super) fn new(node: i64) -> Self {
        Self { node, last: None }
    }

    /// Makes a mark if it is time for one, and searches for rows that are older than `keep_ms`. Call
    /// [`Marks::looked`] after the commit.
    pub(super) async fn look(
        &self,
        client: &impl GenericClient,
        (day, steady): (UnixMillis, UnixMillis),
        keep_ms: u64,
    ) -> Result<Searched, Failure> {
        let rows = client.query(LOAD, &[]).await?;
        let kept: Option<&str> = rows.first().map(|row| row.try_get(0)).transpose()?;
        let newest = client.query(NEWEST, &[]).await?;
        let newest: Option<(i64, i64)> = match newest.first() {
            Some(row) => Some((row.try_get(0)?, row.try_get(1)?)),
            None => None,
        };
        let day = stored(day);
        let has_others: bool = client.query_one(OTHERS, &[&self.node]).await?.try_get(0)?;
        let (mut kept, passed) = match (kept.and_then(Kept::parse), self.last) {
            (Some(kept), Some((last, ran))) => {
                let measured = ran + stored(steady.saturating_sub(last));
                (kept, (measured - kept.ran).max(0))
            }
            (Some(kept), None) if has_others => (kept, 0),
            (kept, _) => (begin(kept, day, newest), 0),
        };
        kept.ran += passed;
        kept.ran_since += passed;
        kept.day = day;
        let claimed = (day - kept.since - kept.ran_since).max(0);
        let believed = claimed.min(kept.believed + passed).max(kept.believed);
        if believed > kept.believed {
            client
                .execute(MOVE, &[&(believed - kept.believed), &kept.start])
                .await?;
            kept.believed = believed;
        }
        if let Some((row, ts)) = newest {
            mark(
                client,
                (row, kept.ran - passed.min((day - ts).max(0))),
                kept.ran,
                keep_ms,
            )
            .await?;
        }
        client.execute(SAVE, &[&kept.text()]).await?;
        let old = client.query(OLD, &[&(kept.ran - stored(keep_ms))]).await?;
        let old: Option<i64> = old.first().map(|row| row.try_get(0)).transpose()?;
        if let Some(row) = old {
            client.execute(FORGET, &[&row]).await?;
        }
        Ok(Searched {
            old,
            last: (steady, kept.ran),
        })
    }

    /// The search was committed.
    pub(super) fn looked(&mut self, searched: Searched) {
        self.last = Some(searched.last);
    }
}

/// There is a node again.
fn begin(before: Option<Kept>, day: i64, newest: Option<(i64, i64)>) -> Kept {
    let before = before.unwrap_or(Kept {
        ran: day,
        day,
        ..Kept::default()
    });
    Kept {
        ran: before.ran,
        day,
        since: before.day,
        ran_since: 0,
        believed: 0,
        start: newest.map_or(0, |(row, _)| row),
    }
}

/// Marks a row that was the newest at `at`, unless the last mark is too young for another one.
async fn mark(
    client: &impl GenericClient,
    (row, at): (i64, i64),
    now: i64,
    keep_ms: u64,
) -> Result<(), Failure> {
    let interval = stored((keep_ms / LEAST_MARKS).min(MOST_BETWEEN_MARKS_MS));
    let last = client.query(LAST, &[]).await?;
    let is_due = match last.first() {
        Some(last) => row > last.try_get(0)? && now - last.try_get::<_, i64>(1)? >= interval,
        None => true,
    };
    if is_due {
        client.execute(MARK, &[&row, &at]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let kept = Kept {
            ran: -5,
            day: 2,
            since: 3,
            ran_since: 4,
            believed: 5,
            start: 6,
        };
        assert_eq!(Kept::parse(&kept.text()), Some(kept));
        assert_eq!(Kept::parse("1,2"), None);
    }
}
