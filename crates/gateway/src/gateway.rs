//! The handle of a running gateway: what the HTTP API and embedding programs call.

use std::sync::Arc;

use mynah_cluster::Shown;
use mynah_socketio::Namespaces;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::auth::Auth;
use crate::caller::Caller;
use crate::cluster::Cluster;
use crate::directory::Registry;
use crate::dispatch::{self, Core};
use crate::embed::{Call, NotYours, Program, Reply};
use crate::entrance::{Entrance, Handshakes};
use crate::ids::{ConvId, TeamId, Uid};
use crate::order::{By, SendOrder, Sent, To};
use crate::push::Settle;
use crate::rate::UserBuckets;
use crate::reject::Reject;
use crate::session::Link;
use crate::store::{Conversations, History, Page, Revoked, Span, Store, Team, TeamChange};
use crate::time::UnixMillis;

/// A running gateway. Cloning it is cheap.
#[derive(Clone)]
pub struct Gateway {
    running: Arc<Running>,
    caller: Caller,
}

/// The parts of a running gateway that its handle uses.
pub(crate) struct Running {
    pub(crate) core: Arc<Core>,
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<Registry<Link>>,
    pub(crate) auth: Arc<Auth>,
    /// The other nodes; `None` if there is one node.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) program: Arc<Program>,
    /// Stops the push worker. It exists only if there is a push webhook.
    pub(crate) settle: Option<Arc<Settle>>,
}

/// A user and its connections.
#[derive(Debug, Clone)]
pub struct UserView {
    /// The user.
    pub uid: Uid,
    /// Whether the user is connected, or was connected to a node that has just ended and is expected back.
    pub online: bool,
    /// The user's connections, oldest first.
    pub connections: Vec<ConnectionView>,
    /// Unread messages in all conversations.
    pub unread: u64,
}

/// A live connection.
// The documentation of the fields is also that of the API.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Connection)]
pub struct ConnectionView {
    /// The connection's id.
    pub sid: String,
    /// The device that it registered as.
    pub deviceid: String,
    /// The platform that it registered with; null if it named none.
    #[schema(required)]
    pub platform: Option<String>,
    /// The identity class that it registered with.
    #[serde(rename = "type")]
    pub class: String,
    /// The time of its register, in milliseconds since 1970.
    #[schema(value_type = u64)]
    pub since: UnixMillis,
    /// `websocket` or `polling`.
    pub transport: &'static str,
    /// The address of the peer.
    pub address: String,
}

impl From<Shown> for ConnectionView {
    fn from(shown: Shown) -> Self {
        Self {
            sid: shown.sid.into(),
            deviceid: shown.device.as_str().into(),
            platform: shown.platform.map(Into::into),
            class: shown.class.as_deref().unwrap_or("user").into(),
            since: shown.since,
            transport: match shown.is_websocket {
                true => "websocket",
                false => "polling",
            },
            address: shown.address.into(),
        }
    }
}

/// Why the gateway should not receive traffic now.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(pub String);

impl Gateway {
    pub(crate) fn new(running: Arc<Running>) -> Self {
        Self {
            running,
            caller: Caller::new("the embedding program".into()),
        }
    }

    /// Returns the same gateway for calls by `caller`, which has its own share of the limits in flight.
    pub(crate) fn for_caller(&self, caller: Caller) -> Self {
        Self {
            running: self.running.clone(),
            caller,
        }
    }

    /// The other nodes; `None` if there is one node.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.running.cluster.as_deref()
    }

    /// Refuses a call that names too many users.
    pub(crate) fn check_uids(&self, named: usize) -> Result<(), Reject> {
        self.running.core.rules.check_uids(named)
    }

    /// See [`push::Settle::settle`](crate::push::Settle::settle).
    pub(crate) async fn settle_push(&self) {
        if let Some(settle) = &self.running.settle {
            settle.settle().await;
        }
    }

    /// Returns the handler of handshakes, for a Socket.IO server.
    pub fn namespaces(&self) -> Arc<dyn Namespaces> {
        Arc::new(Handshakes(self.running.entrance.clone()))
    }

    /// Sends a message. Messages of stored kinds are durable when this returns.
    pub async fn send(&self, order: SendOrder) -> Result<Sent, Reject> {
        let sent = self.send_batch(vec![Ok(order)]).await.pop();
        sent.unwrap_or_else(|| Err(Reject::internal("The message was not sent.")))
    }

    /// Sends many messages in order, and returns a result for each. Messages that are refused already stay
    /// refused.
    pub async fn send_batch(&self, orders: Vec<Result<SendOrder, Reject>>) -> Vec<Result<Sent, Reject>> {
        let core = &self.running.core;
        dispatch::orders(&core.rules, &core.record, &self.caller, orders).await
    }

    /// Sends a frame of the backend to a user, and returns whether it reached a live connection. It replaces
    /// `sendTo(uid, json, callback)` of the replaced Node module. `data` can be any value that serializes to
    /// JSON: an object, an array, a string, a number, a boolean or null.
    pub async fn send_to(&self, uid: &Uid, kind: u16, data: &impl Serialize) -> Result<bool, Reject> {
        let data = serde_json::value::to_raw_value(data)
            .map_err(|error| Reject::malformed(format!("\"data\" cannot be written as JSON: {error}.")))?;
        let order = SendOrder {
            kind,
            to: To::User(uid.clone()),
            from: None,
            data: Arc::<RawValue>::from(data),
            cid: None,
            push: None,
            ttl_ms: None,
            by: By::Api,
        };
        match self.send(order).await? {
            Sent::Users { online, .. } | Sent::Team { online, .. } | Sent::Everyone { online } => {
                Ok(online > 0)
            }
        }
    }

    /// Returns a user, its connections and its unread messages. An unknown user is offline.
    pub async fn user(&self, uid: &Uid) -> Result<UserView, Reject> {
        let unread = self.running.store.unread(uid.clone()).await;
        let unread = unread.map_err(|error| self.running.core.record.trouble(error))?;
        let present = dispatch::connections(&self.running.core.login, uid).await;
        Ok(UserView {
            uid: uid.clone(),
            online: present.is_online,
            connections: present.connections.into_iter().map(Into::into).collect(),
            unread,
        })
    }

    /// Returns the users among `uids` who are connected to any node, in the same order.
    pub async fn online(&self, uids: &[Uid]) -> Vec<Uid> {
        dispatch::online(&self.running.core.login, uids).await
    }

    /// Returns up to `most` of the users who are connected to any node, in no particular order.
    pub async fn who_is_online(&self, most: usize) -> Vec<Uid> {
        dispatch::names(&self.running.core.login, most).await
    }

    /// Returns the number of users who are connected to this node.
    pub fn users_online(&self) -> usize {
        self.running.registry.users()
    }

    /// Disconnects all connections of a user for good, and returns their number.
    pub async fn sign_out(&self, uid: &Uid) -> usize {
        dispatch::sign_out(&self.running.core.login, uid).await
    }

    /// Returns the buckets of the API keys, by name, if there are several nodes.
    pub(crate) fn shared_calls(&self) -> Option<Arc<UserBuckets<1>>> {
        self.running.core.login.shared_calls()
    }

    /// Prepares the stop of this node: the users of connections that end count as connected for
    /// `cluster.return_ms`, because they reconnect to other nodes.
    pub(crate) fn users_return(&self) {
        dispatch::users_return(&self.running.core.login);
    }

    /// Calls [`Gateway::sign_out`] for the user to whom this token belongs.
    pub async fn sign_out_by_token(&self, token: &str) -> Result<usize, Reject> {
        match &*self.running.auth {
            Auth::Jwt(tokens) => {
                let claims = tokens.verify_patiently(token).await?;
                dispatch::refuse_revoked(&self.running.core.login, &claims, claims.device.as_ref())?;
                Ok(self.sign_out(&claims.sub).await)
            }
            Auth::Open | Auth::Webhook(_) => Err(Reject::forbidden(
                "Tokens are not checked here; the backend signs users out with POST /v1/users/{uid}/signout.",
            )),
        }
    }

    /// Returns the accepted algorithms of tokens; `None` if clients need no token.
    pub(crate) fn accepted_tokens(&self) -> Option<String> {
        match &*self.running.auth {
            Auth::Jwt(tokens) => Some(tokens.accepted()),
            Auth::Open | Auth::Webhook(_) => None,
        }
    }

    /// Fetches the issuer's key set again. Returns false if no key set is configured.
    pub(crate) fn fetch_token_keys(&self) -> bool {
        let issuer = self.running.auth.issuer();
        issuer.inspect(|issuer| issuer.fetch()).is_some()
    }

    /// Revokes tokens, disconnects the connections that have registered with them for good, and returns their
    /// number. A revocation of a user or a device covers the tokens that were issued up to `issued_until`,
    /// which is the present time if it is absent. It is kept until `until`, or without limit.
    pub async fn revoke(
        &self,
        what: Revoked,
        issued_until: Option<UnixMillis>,
        until: Option<UnixMillis>,
    ) -> Result<usize, Reject> {
        dispatch::revoke(&self.running.core.login, what, issued_until, until).await
    }

    /// Creates a team, or replaces its name and members.
    pub async fn put_team(&self, team: TeamId, name: String, members: Vec<Uid>) -> Result<Team, Reject> {
        self.change_team(team, TeamChange::Put { name, members }).await
    }

    /// Returns a team with its members.
    pub async fn team(&self, team: &TeamId) -> Result<Team, Reject> {
        let found = self.running.store.team(team.clone()).await;
        found
            .map_err(|error| self.running.core.record.trouble(error))?
            .ok_or_else(|| Reject::not_found("There is no such team."))
    }

    /// Deletes a team. Nobody can read its conversation any more.
    pub async fn delete_team(&self, team: TeamId) -> Result<(), Reject> {
        self.change_team(team, TeamChange::Delete).await.map(drop)
    }

    /// Adds members. All members are told of each new one.
    pub async fn add_members(&self, team: TeamId, uids: Vec<Uid>) -> Result<Team, Reject> {
        self.change_team(team, TeamChange::Add(uids)).await
    }

    /// Removes members. Each removal is told to the remaining members and to the removed one.
    pub async fn remove_members(&self, team: TeamId, uids: Vec<Uid>) -> Result<Team, Reject> {
        self.change_team(team, TeamChange::Remove(uids)).await
    }

    async fn change_team(&self, team: TeamId, change: TeamChange) -> Result<Team, Reject> {
        let core = &self.running.core;
        dispatch::change_team(&core.rules, &core.record, &self.caller, team, change).await
    }

    /// Returns a part of a conversation; `limit` is 1 to 500.
    pub async fn history(&self, conv: ConvId, span: Span, limit: u32) -> Result<History, Reject> {
        let history = self.running.store.history(conv, None, span, page(limit)?).await;
        history.map_err(|error| self.running.core.record.trouble(error))
    }

    /// Returns a page of a user's conversations, newest first; `limit` is 1 to 500.
    pub async fn conversations(
        &self,
        uid: &Uid,
        after: Option<String>,
        limit: u32,
    ) -> Result<Conversations, Reject> {
        let page = page(limit)?;
        let page = self
            .running
            .store
            .conversations(uid.clone(), None, after, page)
            .await;
        page.map_err(|error| self.running.core.record.trouble(error))
    }

    /// Returns an error if the gateway cannot do its work.
    pub fn ready(&self) -> Result<(), NotReady> {
        let store = self.running.store.healthy();
        store.map_err(|error| NotReady(error.to_string()))?;
        let ready = self
            .running
            .cluster
            .as_ref()
            .map_or(Ok(()), |cluster| cluster.ready());
        ready.map_err(|trouble| NotReady(trouble.to_string()))
    }

    /// Handles frames of an application kind from now on. Frames of one connection are handled in order. The
    /// handler must not block; it returns [`Reply::Later`] for slow work.
    pub fn register_type(
        &self,
        kind: u16,
        handler: impl Fn(Call) -> Reply + Send + Sync + 'static,
    ) -> Result<(), NotYours> {
        self.running.program.handlers.register(kind, handler)
    }

    /// Stops handling a kind. Returns whether it was handled.
    pub fn unregister_type(&self, kind: u16) -> bool {
        self.running.program.handlers.unregister(kind)
    }
}

/// The maximum number of bytes of payload in a page for the API.
const PAGE_BYTES: usize = 8 << 20;

fn page(most: u32) -> Result<Page, Reject> {
    let bytes = PAGE_BYTES;
    if (1..=500).contains(&most) {
        return Ok(Page { most, bytes });
    }
    Err(Reject::malformed("\"limit\" must be 1 to 500."))
}
