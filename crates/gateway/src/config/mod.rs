//! The configuration: one file, one struct for each section, and each default in one place.

mod api_keys;
mod auth;
mod auth_webhook;
mod cluster;
mod engine;
mod env;
mod example;
mod file;
mod jwt;
mod kinds;
mod limits;
mod load;
mod log;
mod login;
mod messages;
mod outbound;
mod push;
mod scopes;
mod secret;
mod section;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod url;

pub use mynah_store::Durability;
use serde::{Deserialize, Serialize};

pub use api_keys::{ConfiguredKey, KEY_NAME, KeyDigest, is_key, is_key_name};
pub use auth::{Auth, Mode};
pub use auth_webhook::AuthWebhook;
pub use cluster::Cluster;
pub use engine::Engine;
pub use example::example;
pub use jwt::{Jwt, MIN_SECRET_BYTES, Names};
pub use kinds::{APPLICATION_KINDS, Conversation, KindRow};
pub use limits::Limits;
pub use load::{ConfigErrors, Sources};
pub use log::{Format, Log};
pub use login::{Displaced, Login, Policy};
pub use messages::{Send as SendConfig, Teams};
pub use outbound::Outbound;
pub use push::{Push, Webhook};
pub use scopes::{NoScopes, Scope, Scopes};
pub use secret::Secret;
pub use section::{KeyDescription, Section};
pub use server::{Server, Tls};
pub use store::StoreConfig;

/// The whole configuration. [`Default`] is what applies without a file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[auth]`
    pub auth: Auth,
    /// `[login]`
    pub login: Login,
    /// `[engine]`
    pub engine: Engine,
    /// `[store]`
    pub store: StoreConfig,
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[send]`
    pub send: SendConfig,
    /// `[teams]`
    pub teams: Teams,
    /// `[push]`
    pub push: Push,
    /// `[outbound]`
    pub outbound: Outbound,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
    /// `[[kinds]]`
    pub kinds: Vec<KindRow>,
}

/// A section of the configuration file.
struct Described {
    path: &'static str,
    about: &'static [&'static str],
    keys: &'static [KeyDescription],
}

const fn described<S: Section>(path: &'static str) -> Described {
    Described {
        path,
        about: S::ABOUT,
        keys: S::KEYS,
    }
}

/// Every section except `[[kinds]]`, in the order of the example file.
const SECTIONS: [Described; 16] = [
    described::<Server>("server"),
    described::<Tls>("server.tls"),
    described::<Auth>("auth"),
    described::<Jwt>("auth.jwt"),
    described::<AuthWebhook>("auth.webhook"),
    described::<Login>("login"),
    described::<Engine>("engine"),
    described::<StoreConfig>("store"),
    described::<Cluster>("cluster"),
    described::<SendConfig>("send"),
    described::<Teams>("teams"),
    described::<Push>("push"),
    described::<Webhook>("push.webhook"),
    described::<Outbound>("outbound"),
    described::<Limits>("limits"),
    described::<Log>("log"),
];

impl Config {
    /// Returns a warning for each setting that works but is dangerous.
    pub fn warnings(&self) -> Vec<String> {
        let auth = &self.auth;
        let called = [
            ("push.webhook.url", self.push.webhook.url.as_ref()),
            (
                "auth.webhook.url",
                auth.webhook.url.as_ref().filter(|_| auth.mode == Mode::Webhook),
            ),
            (
                "auth.jwt.jwks_url",
                auth.jwt.jwks_url.as_ref().filter(|_| auth.mode == Mode::Jwt),
            ),
        ];
        let called = called.into_iter().filter_map(|(key, url)| Some((key, url?)));
        called.filter_map(|(key, url)| url::warning(key, url)).collect()
    }

    /// Returns one sentence for each thing that is wrong with the values.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.server.check_ranges("server", &mut found);
        self.server.tls.check_ranges("server.tls", &mut found);
        self.auth.jwt.check_ranges("auth.jwt", &mut found);
        self.auth.webhook.check_ranges("auth.webhook", &mut found);
        self.login.check_ranges("login", &mut found);
        self.engine.check_ranges("engine", &mut found);
        self.store.check_ranges("store", &mut found);
        self.cluster.check_ranges("cluster", &mut found);
        self.push.check_ranges("push", &mut found);
        self.push.webhook.check_ranges("push.webhook", &mut found);
        self.limits.check_ranges("limits", &mut found);
        self.server.check(&mut found);
        self.auth.check(&mut found);
        self.engine.check(&mut found);
        self.store.check(&mut found);
        self.send.check(&mut found);
        self.push.check(&mut found);
        self.limits.check(&mut found);
        if self.limits.devices_per_user < self.login.max_devices {
            found.push(format!(
                "limits.devices_per_user ({}) must not be less than login.max_devices ({})",
                self.limits.devices_per_user, self.login.max_devices
            ));
        }
        self.log.check(&mut found);
        kinds::check(&self.kinds, &mut found);
        found
    }
}
