//! What can go wrong: with one command, and with a connection to Redis.
//!
//! Invariant: no text contains the password or another part of the URL that could be a secret.

use redis::{RedisError, ServerError, Value};

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no connection; nothing was sent. [`Trouble`] says why.
    #[error("Redis is not connected")]
    Unavailable,
    /// The connection was lost, or its answer took too long. The command may or may not have been executed.
    #[error("Redis has not answered")]
    NoAnswer,
    /// The key of a user has a value that Mynah has not written. Nothing was changed.
    #[error(
        "another program uses keys of the same name in this Redis: choose another cluster.name, or another \
         database in cluster.redis_url"
    )]
    Foreign,
    /// A value that the caller passed does not fit. Nothing was sent.
    #[error("{0}")]
    Invalid(&'static str),
    /// Redis has answered with an error.
    #[error("Redis refused the command: {0}")]
    Refused(String),
}

/// Why there is no connection to Redis. Each text says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The first attempt to connect has not ended.
    #[error("Redis is not connected yet")]
    NotYet,
    /// No TCP connection.
    #[error("Redis cannot be reached at {at}: {why}; check cluster.redis_url")]
    Unreachable {
        /// Host and port.
        at: String,
        /// The system's error.
        why: String,
    },
    /// The TLS handshake failed.
    #[error(
        "the TLS connection to Redis failed: {0}; its certificate must be valid for the host in \
         cluster.redis_url, and the port must speak TLS"
    )]
    Tls(String),
    /// The server closed the connection, or spoke another protocol, before it was asked anything.
    #[error(
        "the server at cluster.redis_url does not answer like Redis ({0}); if its port expects TLS, write \
         rediss:// instead of redis://"
    )]
    NotRedis(String),
    /// The server requires a password.
    #[error("Redis requires a password: write it into cluster.redis_url, as redis://:password@host")]
    PasswordMissing,
    /// Wrong user or password.
    #[error("Redis refused the user or password of cluster.redis_url")]
    PasswordWrong,
    /// The user lacks a permission.
    #[error(
        "the user of cluster.redis_url lacks a permission: {0}. What it needs is granted by: ACL SETUSER <user> \
         ~<cluster.name>:* &<cluster.name>:* +@all -@dangerous +info"
    )]
    Denied(String),
    /// The database does not exist.
    #[error("Redis does not have the database of cluster.redis_url: {0}")]
    Database(String),
    /// The server is too old.
    #[error("Redis {0} is too old: version 6.2 or later is needed, or Valkey")]
    TooOld(String),
    /// The server is a read-only copy.
    #[error("the Redis at cluster.redis_url is a read-only replica: name the primary")]
    Replica,
    /// The server is a part of a Redis Cluster.
    #[error(
        "the Redis at cluster.redis_url runs in cluster mode, which is not supported: use one without \
         cluster-enabled"
    )]
    ClusterMode,
    /// The server starts and reads its data.
    #[error("Redis is loading its data")]
    Loading,
    /// Nodes with another secret use the same name.
    #[error(
        "nodes with another cluster.secret use the same cluster.name in this Redis: set the same secret for all \
         nodes of a cluster, and another cluster.name or database for each cluster; the name is free {0} s \
         after its last node has stopped"
    )]
    OtherCluster(u64),
    /// Another program uses the same keys.
    #[error("{}", Failure::Foreign)]
    Foreign,
    /// The server has refused something else.
    #[error("Redis refused the connection: {0}")]
    Refused(String),
    /// The connection was closed.
    #[error("Redis closed the connection")]
    Closed,
    /// The server does not answer.
    #[error("Redis does not answer")]
    NoAnswer,
    /// Nothing that this node publishes comes back to it.
    #[error("Redis does not deliver what is published")]
    Silent,
}

impl Trouble {
    /// What an error of the greeting, or of the first commands on a connection, means.
    pub(crate) fn of(error: &RedisError) -> Self {
        let text = || {
            let (code, detail) = (error.code().unwrap_or("ERR"), error.detail().unwrap_or_default());
            format!("{code} {detail}")
        };
        match error.code() {
            Some("NOAUTH") => Self::PasswordMissing,
            Some("WRONGPASS") => Self::PasswordWrong,
            Some("NOPERM") => Self::Denied(error.detail().unwrap_or_default().to_owned()),
            Some("LOADING") => Self::Loading,
            Some("READONLY") => Self::Replica,
            Some("WRONGTYPE") => Self::Foreign,
            Some("MOVED" | "CROSSSLOT" | "CLUSTERDOWN") => Self::ClusterMode,
            Some(_) if error.detail().is_some_and(|detail| detail.contains("DB index")) => {
                Self::Database(error.detail().unwrap_or_default().to_owned())
            }
            Some(_) => Self::Refused(text()),
            None if error.kind() == redis::ErrorKind::RESP3NotSupported => {
                Self::TooOld("5 or earlier".into())
            }
            None if error.is_timeout() => Self::NoAnswer,
            None if error.is_io_error() => Self::NotRedis("the connection was closed".into()),
            None => Self::NotRedis("its answer has another form".into()),
        }
    }
}

/// The values of a pipeline's answers; the first error in them is the error.
pub(crate) fn first_error(values: Vec<Value>) -> Result<Vec<Value>, Trouble> {
    for value in &values {
        if let Value::ServerError(error) = value {
            return Err(Trouble::of(&error.clone().into()));
        }
    }
    Ok(values)
}

/// What an error in the place of an answer means.
pub(crate) fn refused(error: &ServerError) -> Failure {
    match error.code() {
        "FOREIGN" | "WRONGTYPE" => Failure::Foreign,
        code => Failure::Refused(format!("{code} {}", error.details().unwrap_or_default())),
    }
}
