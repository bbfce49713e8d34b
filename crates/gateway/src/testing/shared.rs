//! A store that several gateways of a test write, and follow.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ids::{ConvId, Seq, TeamId};
use crate::store::follow::{Follow, News, Numbers, Point, RecordId};
use crate::store::testing::Wrapper;
use crate::store::{
    Append, Appended, ConvKind, Done, Message, Page, Place, Recall, Recalled, Span, Store, StoreFuture,
    Stretch, TeamChange, TeamChanged, forward,
};

/// See the module. Messages have numbers in the order of their commits.
pub(crate) struct Shared {
    store: Arc<dyn Store>,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    /// The messages, from number 1 on.
    rows: Vec<(ConvId, Seq, ConvKind)>,
    numbers: HashMap<(ConvId, Seq), RecordId>,
    last: HashMap<ConvId, RecordId>,
}

impl Log {
    fn add(&mut self, conv: ConvId, seq: Seq, kind: ConvKind) -> Option<Numbers> {
        self.rows.push((conv, seq, kind));
        let own = RecordId(self.rows.len() as i64);
        self.numbers.insert((conv, seq), own);
        let before = self.last.insert(conv, own).unwrap_or(RecordId(0));
        Some(Numbers { own, before })
    }

    fn point(&self) -> Point {
        Point::new(RecordId(self.rows.len() as i64), [])
    }
}

impl Shared {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            log: Arc::default(),
        }
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Point {
        self.log.lock().point()
    }
}

fn kind(append: &Append) -> ConvKind {
    match (&append.place, &append.from) {
        (Place::Pair { class, to }, Some(from)) => ConvKind::Pair(*class, from.clone(), to.clone()),
        (Place::Pair { to, .. } | Place::Notices(to), _) => ConvKind::Notices(to.clone()),
        (Place::Team(team), _) => ConvKind::Team(team.clone()),
    }
}

impl Wrapper for Shared {
    fn inner(&self) -> &dyn Store {
        &*self.store
    }
}

impl Store for Shared {
    forward! {
        register_device ack read team history conversations unread missed replay claim_jobs release_jobs
        extend_leases job_counts to_tell revive_jobs finish_jobs members_page revoke change_setting watch
        certain_time epoch healthy close
    }

    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>) {
        let numbered = messages.map(|(append, done)| {
            let (log, kind) = (self.log.clone(), kind(&append));
            let done: Done<Appended> = Box::new(move |result| {
                done(result.map(|mut appended| {
                    if !appended.duplicate {
                        appended.numbers = log.lock().add(appended.conv, appended.seq, kind);
                    }
                    appended
                }));
            });
            (append, done)
        });
        let numbered: Vec<_> = numbered.collect();
        self.store.append(&mut numbered.into_iter());
    }

    fn recall(&self, recall: Recall, done: Done<Recalled>) {
        let log = self.log.clone();
        let done: Done<Recalled> = Box::new(move |result| {
            done(result.map(|mut recalled| {
                let (conv, seq) = (recalled.appended.conv, recalled.appended.seq);
                recalled.appended.numbers = log.lock().add(conv, seq, recalled.kind.clone());
                recalled
            }));
        });
        self.store.recall(recall, done);
    }

    fn change_team(&self, team: TeamId, change: TeamChange, done: Done<TeamChanged>) {
        let log = self.log.clone();
        let done: Done<TeamChanged> = Box::new(move |result| {
            done(result.map(|mut changed| {
                let mut log = log.lock();
                for notice in &mut changed.notices {
                    let kind = ConvKind::Team(changed.team.team.clone());
                    notice.numbers = log.add(changed.team.conv, notice.seq, kind);
                }
                drop(log);
                changed
            }));
        });
        self.store.change_team(team, change, done);
    }
}

impl Follow for Shared {
    fn point(&self) -> StoreFuture<'_, Point> {
        let point = self.now();
        Box::pin(async { Ok(point) })
    }

    fn news(&self, since: Point, _limit: u32) -> StoreFuture<'_, News> {
        let log = self.log.lock();
        let mut conversations: Vec<(Stretch, ConvKind)> = Vec::new();
        for (conv, seq, kind) in &log.rows[since.last().0 as usize..] {
            match conversations
                .iter_mut()
                .find(|(stretch, _)| stretch.conv == *conv)
            {
                Some((stretch, _)) => stretch.through = *seq,
                None => {
                    let stretch = Stretch {
                        conv: *conv,
                        after: Seq(seq.0 - 1),
                        through: *seq,
                    };
                    conversations.push((stretch, kind.clone()));
                }
            }
        }
        let news = News {
            conversations,
            point: log.point(),
            more: false,
        };
        Box::pin(async { Ok(news) })
    }

    fn messages(&self, stretch: Stretch, page: Page) -> StoreFuture<'_, Vec<(RecordId, Message)>> {
        Box::pin(async move {
            let span = Span::After(stretch.after);
            let history = self.store.history(stretch.conv, None, span, page).await?;
            let log = self.log.lock();
            let numbered = history
                .messages
                .into_iter()
                .take_while(|message| message.seq <= stretch.through)
                .map_while(|message| Some((*log.numbers.get(&(message.conv, message.seq))?, message)));
            Ok(numbered.collect())
        })
    }
}
