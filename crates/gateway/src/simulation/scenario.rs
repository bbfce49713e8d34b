//! What a seed decides before a run begins: the configuration, the users and clients, and the frequency of
//! faults.

use super::app::{App, Behaviour, Kept};
use super::dice::Dice;
use crate::config::{Config, Conversation, Displaced, KindRow, Policy};
use crate::ids::{TeamId, Uid};

/// A kind that is not stored.
pub(super) const TYPING: u16 = 1_000;

/// The parameters of a run.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) config: Config,
    pub(super) users: Vec<Uid>,
    pub(super) teams: Vec<TeamId>,
    /// How long faults happen, in milliseconds.
    pub(super) chaos: u64,
    /// Time between two faults, in milliseconds.
    pub(super) fault_gap: (u64, u64),
    /// Time between two steps of a client, and between two calls of the backend, in milliseconds.
    pub(super) app_gap: (u64, u64),
    pub(super) backend_gap: (u64, u64),
    /// Shortest and longest duration of a commit and of a read, in milliseconds.
    pub(super) disk: (u64, u64),
}

impl Scenario {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let mut config = Config::default();
        config.login.policy =
            *dice.pick(&[Policy::Single, Policy::PerPlatform, Policy::Multi, Policy::Multi]);
        config.login.max_devices = *dice.pick(&[1, 2, 10]);
        if dice.percent(15) {
            config.login.displaced = Displaced::Notify;
        }
        config.limits.queue_bytes = *dice.pick(&[8_192, 65_536, 1_048_576]);
        config.limits.appends_in_flight = *dice.pick(&[4, 64, 16_384]);
        config.limits.appends_in_flight_per_connection = *dice.pick(&[1, 4, 256]);
        config.limits.resume_messages = *dice.pick(&[0, 3, 20, 500]);
        config.limits.recall_window_ms = *dice.pick(&[2_000, 120_000]);
        config.limits.read_receipt_members = *dice.pick(&[1, 500]);
        config.teams.history_for_new_members = dice.percent(25);
        config.push.webhook.url = Some("http://127.0.0.1:9/".to_owned());
        config.push.concurrency = *dice.pick(&[1, 3, 64]);
        config.kinds.push(KindRow {
            number: TYPING,
            name: "TYPING".to_owned(),
            conversation: Conversation::None,
            stored: false,
            unread: false,
            push: false,
            clients: true,
        });
        let users = (0..dice.range((2, 5))).map(|number| Uid::new(&format!("u{number}")).expect("a uid"));
        let teams = (0..dice.range((1, 2))).map(|number| TeamId::new(&format!("t{number}")).expect("a team"));
        let busy = dice.range((100, 1_500));
        Self {
            config,
            users: users.collect(),
            teams: teams.collect(),
            chaos: dice.range((5_000, 40_000)),
            fault_gap: *dice.pick(&[(100, 1_000), (500, 5_000), (2_000, 15_000)]),
            app_gap: (20, busy),
            backend_gap: (50, busy * 2),
            disk: *dice.pick(&[(0, 2), (0, 10), (1, 100)]),
        }
    }

    pub(super) fn apps(&self, dice: &mut Dice) -> Vec<App> {
        let mut apps = Vec::new();
        for user in &self.users {
            for number in 0..dice.range((1, 3)) {
                let behaviour = dice.weighted(&[
                    (82, Behaviour::Correct),
                    (9, Behaviour::Legacy),
                    (9, Behaviour::Malicious),
                ]);
                let platform = *dice.pick(&[None, Some("ios"), Some("web")]);
                apps.push(App {
                    index: apps.len(),
                    uid: user.clone(),
                    device: format!("{user}d{number}"),
                    platform,
                    behaviour,
                    objects: dice.percent(30),
                    mem: Kept::default(),
                    disk: Kept::default(),
                    line: None,
                    connecting: false,
                    disconnected_for_good: false,
                    resting: false,
                    next_number: 0,
                    lost: Default::default(),
                    notified: self.config.login.displaced == Displaced::Notify,
                });
            }
        }
        apps
    }
}
