//! What the nodes of a cluster must have in common, and whether two of them do.
//!
//! Each node writes its [`Introduction`] where the others find it: into its row in PostgreSQL, which every
//! node needs to start. A node that starts compares its own with those of all nodes that live.
//!
//! Invariants: the text of an introduction reveals no setting, as some are secrets. Settings that only one of
//! two nodes knows are not compared, because in a rolling upgrade the other is of another version.

use std::collections::BTreeMap;

use anyhow::Context;
use mynah_cluster::{ClusterName, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Config, Policy};

/// The sections on which nodes must agree.
const SECTIONS: [&str; 2] = ["login", "teams"];
/// The lists of rows on which they must agree, and the key that identifies a row.
const LISTS: [(&str, &str); 2] = [("kinds", "number"), ("events", "name")];

/// What a node says about itself to the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Introduction {
    /// Where other nodes reach it: host and port.
    pub(crate) advertise: Box<str>,
    /// The name of its cluster.
    name: String,
    /// By this nodes recognise that they have the same secret.
    mark: String,
    /// The digests of the settings on which nodes must agree, by their keys.
    settings: BTreeMap<String, String>,
}

/// Why a node may not be in one cluster with another. Each text says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Disagreement {
    /// They have different secrets.
    #[error(
        "cluster.secret is not the one of the node at {0}, which uses the same database: set the same secret for \
         all nodes, or another database (store.url) for another cluster"
    )]
    Secret(Box<str>),
    /// They have the same address.
    #[error(
        "another node is running that other nodes reach at {0} too: set cluster.advertise to an address that \
         leads to this node only"
    )]
    Advertise(Box<str>),
    /// A setting has another value.
    #[error(
        "{key} differs from that of the node at {node}, and all nodes must agree on it: set the same value; to \
         change it for all of them, stop all nodes first"
    )]
    Setting {
        /// Its key.
        key: String,
        /// Where the other node is reached.
        node: Box<str>,
    },
}

impl Introduction {
    /// What the node says that others reach at `advertise`.
    pub(crate) fn new(
        config: &Config,
        advertise: &str,
        secret: &Secret,
        name: &ClusterName,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            advertise: advertise.into(),
            name: name.as_str().to_owned(),
            mark: secret.mark(name),
            settings: settings(config)?
                .into_iter()
                .map(|(key, value)| (key, secret.digest(name, &value.to_string())))
                .collect(),
        })
    }

    /// Its text, for the other nodes.
    pub(crate) fn to_text(&self) -> anyhow::Result<String> {
        serde_json::to_string(self).context("the settings cannot be written as JSON")
    }

    /// Reads the text of another node; `None` if it is of a version that writes it in another form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Checks whether this node may join another one.
    pub(crate) fn check(&self, other: &Self) -> Result<(), Disagreement> {
        let setting = |key: &str| Disagreement::Setting {
            key: key.to_owned(),
            node: other.advertise.clone(),
        };
        // Digests can be compared only if the name and the secret are the same.
        if self.name != other.name {
            return Err(setting("cluster.name"));
        }
        if self.mark != other.mark {
            return Err(Disagreement::Secret(other.advertise.clone()));
        }
        if self.advertise == other.advertise {
            return Err(Disagreement::Advertise(other.advertise.clone()));
        }
        for (key, value) in &self.settings {
            if other.settings.get(key).is_some_and(|its| its != value) {
                return Err(setting(key));
            }
        }
        Ok(())
    }
}

/// The settings on which nodes must agree.
fn settings(config: &Config) -> anyhow::Result<BTreeMap<String, Value>> {
    let config_as_json = serde_json::to_value(config).context("the settings cannot be written as JSON")?;
    let mut settings = BTreeMap::new();
    for section in SECTIONS {
        add_all(&mut settings, &format!("{section}."), &config_as_json[section]);
    }
    // It limits what this policy allows.
    if config.login.policy == Policy::PerPlatform {
        let most = config.limits.connections_per_user.into();
        settings.insert("limits.connections_per_user".to_owned(), most);
    }
    for (list, id) in LISTS {
        let rows = config_as_json[list].as_array();
        let rows: BTreeMap<_, _> = rows
            .into_iter()
            .flatten()
            .map(|row| (name_of(&row[id]), row))
            .collect();
        for (name, row) in &rows {
            add_all(&mut settings, &format!("{list}: {id} {name}: "), row);
        }
        // A row that only one node has.
        let names = rows.into_keys().collect::<Vec<_>>();
        settings.insert(format!("[[{list}]]"), names.into());
    }
    Ok(settings)
}

fn name_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Adds the values of a section or row.
fn add_all(settings: &mut BTreeMap<String, Value>, path: &str, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        settings.insert(format!("{path}{key}"), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Conversation, KindRow};

    fn introduce(config: &Config, advertise: &str) -> Introduction {
        introduce_with(config, advertise, "mynah", "a secret of some length")
    }

    fn introduce_with(config: &Config, advertise: &str, name: &str, secret: &str) -> Introduction {
        let name = ClusterName::new(name).unwrap();
        let introduction =
            Introduction::new(config, advertise, &Secret::new(secret).unwrap(), &name).unwrap();
        let text = introduction.to_text().unwrap();
        assert!(!text.contains(secret) && !text.contains("ORDER"), "{text}");
        assert_eq!(Introduction::parse(&text).as_ref(), Some(&introduction));
        introduction
    }

    fn kind(number: u16) -> KindRow {
        KindRow {
            number,
            name: "ORDER".to_owned(),
            conversation: Conversation::Pair,
            stored: true,
            unread: false,
            push: false,
            clients: false,
        }
    }

    /// The configuration of one node is the default one with the kinds 1000 and 1001; the other one's is
    /// changed.
    fn difference(change: impl FnOnce(&mut Config)) -> Option<String> {
        let mut config = Config {
            kinds: vec![kind(1000), kind(1001)],
            ..Config::default()
        };
        let one = introduce(&config, "one:1");
        change(&mut config);
        let other = introduce(&config, "other:1");
        let [found, back] = [one.check(&other), other.check(&one)].map(Result::err);
        assert_eq!(found.is_some(), back.is_some());
        found.map(|why| why.to_string())
    }

    #[test]
    fn nodes_must_agree_on_login_teams_and_kinds() {
        type Change = fn(&mut Config);
        let cases: [(Change, &str); 7] = [
            (|config| config.login.policy = Policy::Multi, "login.policy"),
            (|config| config.login.max_devices = 3, "login.max_devices"),
            (
                |config| config.teams.history_for_new_members = true,
                "teams.history_for_new_members",
            ),
            (|config| config.kinds[1].push = true, "kinds: number 1001: push"),
            (|config| config.kinds.truncate(1), "[[kinds]]"),
            (|config| config.kinds.push(kind(1002)), "[[kinds]]"),
            (|config| config.kinds.clear(), "[[kinds]]"),
        ];
        for (change, key) in cases {
            let found = difference(change).unwrap();
            assert!(found.starts_with(key) && found.contains("other:1"), "{found}");
        }
    }

    #[test]
    fn nodes_may_differ_in_everything_else() {
        let alike = difference(|config| {
            config.kinds.reverse();
            config.server.listen = "127.0.0.1:1".into();
            config.limits.connections_per_user += 1;
            config.engine.ping_interval_ms += 1;
        });
        assert_eq!(alike, None);
        let per_platform = |most| Config {
            login: crate::config::Login {
                policy: Policy::PerPlatform,
                ..Default::default()
            },
            limits: crate::config::Limits {
                connections_per_user: most,
                ..Default::default()
            },
            ..Config::default()
        };
        let [one, other] = [7, 8].map(|most| introduce(&per_platform(most), &format!("node:{most}")));
        let found = one.check(&other).unwrap_err().to_string();
        assert!(found.starts_with("limits.connections_per_user"), "{found}");
    }

    #[test]
    fn another_name_or_secret_and_the_same_address_are_refused() {
        let config = Config::default();
        let own = introduce(&config, "one:1");
        let stranger = introduce_with(&config, "other:1", "mynah", "another one of some length");
        let found = own.check(&stranger).unwrap_err();
        assert_eq!(found, Disagreement::Secret("other:1".into()));
        let renamed = introduce_with(&config, "other:1", "finch", "a secret of some length");
        let found = own.check(&renamed).unwrap_err().to_string();
        assert!(found.starts_with("cluster.name"), "{found}");
        assert_eq!(own.check(&own), Err(Disagreement::Advertise("one:1".into())));
        assert_eq!(own.check(&introduce(&config, "other:1")), Ok(()));
    }

    /// Another version knows other settings, and more about itself.
    #[test]
    fn settings_that_only_one_version_knows_are_not_compared() {
        let own = introduce(&Config::default(), "one:1");
        let mut newer: Value = serde_json::from_str(&own.to_text().unwrap()).unwrap();
        newer["advertise"] = "other:1".into();
        newer["colour"] = "green".into();
        newer["settings"]["teams.colour"] = "green".into();
        newer["settings"]
            .as_object_mut()
            .unwrap()
            .remove("login.max_devices");
        let newer = Introduction::parse(&newer.to_string()).unwrap();
        assert_eq!((own.check(&newer), newer.check(&own)), (Ok(()), Ok(())));
        assert_eq!(Introduction::parse("{}"), None);
    }
}
