//! Repairs: messages for connections of this node that have not come are read from the record.
//!
//! The follower reads which conversations have new messages, of all nodes. Invariant: every message that is
//! committed while one of its recipients is connected here reaches that connection about a second later,
//! whatever is lost on the way. Packets only make it faster, so the follower gives them half a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::positions::Gap;
use super::work::{Door, Found, Read, Remote, Whose, lane};
use crate::clock;
use crate::directory::Registry;
use crate::ids::{ConvId, Seq, Uid};
use crate::kinds::Kind;
use crate::session::Link;
use crate::store::follow::{Follow, News, Point, RecordId};
use crate::store::{Members, Message, Page, Store, StoreError, Stretch};

/// How often the record is read. What is found is compared with what was delivered one reading later.
const EVERY: Duration = Duration::from_millis(500);
/// The maximum number of new messages in one reading.
const MOST_NEWS: u32 = 20_000;
/// The size of a reading of a conversation.
const PAGE: Page = Page {
    most: 500,
    bytes: 1 << 20,
};
/// The number of messages that are read first if it is not known how many are missing.
const FEW: u64 = 16;
/// The number of members that are read at once.
const MEMBERS: u32 = 5_000;

/// Reads the record.
pub(crate) struct Reader {
    record: Arc<dyn Follow>,
    store: Arc<dyn Store>,
    /// The last moment that was read, and when the reading began.
    point: Mutex<Option<(Instant, Arc<Point>)>>,
}

impl Reader {
    pub(super) fn new(record: Arc<dyn Follow>, store: Arc<dyn Store>) -> Self {
        Self {
            record,
            store,
            point: Mutex::default(),
        }
    }

    /// Returns a moment of the record that is not before the call. Callers who wait share a reading.
    pub(super) async fn point(&self) -> Result<Arc<Point>, StoreError> {
        let called = clock::now();
        let mut last = self.point.lock().await;
        if let Some((begun, point)) = &*last
            && *begun > called
        {
            return Ok(point.clone());
        }
        let begun = clock::now();
        let point = Arc::new(self.record.point().await?);
        *last = Some((begun, point.clone()));
        Ok(point)
    }

    /// Reads what is missing, at most a page, and the members at a message if they are wanted. If it is not
    /// known what is missing, it is what is later than `handled`.
    pub(super) async fn read(
        &self,
        gap: Gap,
        whose: &Whose,
        handled: &Point,
        members_at: Option<(Seq, u64)>,
    ) -> Result<Read, StoreError> {
        let messages = self.missing(gap, handled).await?;
        let is_full = PAGE.is_full(
            messages.len(),
            messages.iter().map(|(_, message)| message.data.get().len()).sum(),
        );
        let through = match messages.last() {
            Some((_, last)) if is_full => last.seq,
            _ => gap.through,
        };
        let messages = match whose {
            Whose::Users(users) => messages
                .into_iter()
                .map(|(number, message)| Found {
                    number,
                    message,
                    to: users.clone(),
                    also: None,
                })
                .collect(),
            Whose::Team => self.to_members(gap.conv, messages).await?,
        };
        let members = match members_at {
            Some((seq, version)) => Some((version, self.members(gap.conv, seq).await?)),
            None => None,
        };
        Ok(Read {
            messages,
            through,
            members,
        })
    }

    async fn missing(&self, gap: Gap, handled: &Point) -> Result<Vec<(RecordId, Message)>, StoreError> {
        let Gap { conv, after, through } = gap;
        let stretch = |after| Stretch { conv, after, through };
        if let Some(after) = after {
            return match after < through {
                true => self.record.messages(stretch(after), PAGE).await,
                false => Ok(Vec::new()),
            };
        }
        let mut back = FEW;
        loop {
            let after = Seq(through.0.saturating_sub(back));
            let mut messages = self.record.messages(stretch(after), PAGE).await?;
            // Within a conversation, what was committed before a moment comes before all else.
            let is_handled = |(number, _): &(RecordId, Message)| handled.includes(*number);
            if after.0 == 0 || back >= u64::from(PAGE.most) || messages.first().is_none_or(is_handled) {
                messages.retain(|message| !is_handled(message));
                return Ok(messages);
            }
            back *= 2;
        }
    }

    /// Adds who received each message. Notices about members are received by those who were members after the
    /// last of several.
    async fn to_members(
        &self,
        conv: ConvId,
        messages: Vec<(RecordId, Message)>,
    ) -> Result<Vec<Found>, StoreError> {
        let is_notice = |message: &Message| {
            [Kind::TeamMemberEnter, Kind::TeamMemberLeave]
                .iter()
                .any(|kind| kind.number() == message.kind)
        };
        let mut found: Vec<Found> = Vec::with_capacity(messages.len());
        // From the newest to the oldest: the members change only with a notice.
        let mut members: Option<(Members, bool)> = None;
        for (number, message) in messages.into_iter().rev() {
            let notice = is_notice(&message);
            let to = match &members {
                // After a notice come others' messages, whose members are the same.
                Some((to, was_notice)) if notice || !was_notice => to.clone(),
                _ => self.members(conv, message.seq).await?,
            };
            members = Some((to.clone(), notice));
            let left = message.kind == Kind::TeamMemberLeave.number();
            let also = left.then(|| about(&message)).flatten();
            found.push(Found {
                number,
                message,
                to,
                also,
            });
        }
        found.reverse();
        Ok(found)
    }

    /// The members of a team when this message was committed.
    async fn members(&self, conv: ConvId, seq: Seq) -> Result<Members, StoreError> {
        let mut members = Vec::new();
        loop {
            let last = members.last().cloned();
            let page = self.store.members_page(conv, seq, last, MEMBERS).await?;
            let is_last = page.len() < MEMBERS as usize;
            members.extend(page);
            if is_last {
                members.sort_unstable();
                return Ok(Arc::new(members));
            }
        }
    }
}

/// The user about whom a notice of a team is.
fn about(message: &Message) -> Option<Uid> {
    #[derive(Deserialize)]
    struct Data {
        uid: String,
    }
    let data: Data = serde_json::from_str(message.data.get()).ok()?;
    Uid::new(&data.uid).ok()
}

/// Follows the record from a moment on, until the lanes end.
pub(super) async fn follow(
    reader: Arc<Reader>,
    registry: Arc<Registry<Link>>,
    doors: Vec<Door>,
    begin: Arc<Point>,
) {
    let mut point = (*begin).clone();
    let mut waiting: Option<News> = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let news = match reader.record.news(point.clone(), MOST_NEWS).await {
            Ok(news) => news,
            Err(error) => {
                tracing::debug!(%error, "the record is followed later");
                continue;
            }
        };
        point = news.point.clone();
        if let Some(due) = waiting.replace(news)
            && !pass_on(due, &registry, &doors).await
        {
            return;
        }
    }
}

/// Gives the news to the lanes. Returns false if they have ended.
async fn pass_on(news: News, registry: &Registry<Link>, doors: &[Door]) -> bool {
    for (stretch, kind) in news.conversations {
        let whose = Whose::of_kind(kind);
        let is_wanted = match &whose {
            Whose::Users(users) => users.iter().any(|uid| registry.is_online(uid)),
            Whose::Team => true,
        };
        let door = &doors[lane(stretch.conv, doors.len())];
        if is_wanted && !door.send(Remote::News(stretch, whose)).await {
            return false;
        }
    }
    let point = Arc::new(news.point);
    for door in doors {
        if !door.send(Remote::Handled(point.clone())).await {
            return false;
        }
    }
    true
}
