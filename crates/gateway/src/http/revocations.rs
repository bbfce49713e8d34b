//! Revoking tokens.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::api::Api;
use super::body::Json;
use super::errors::Errors;
use super::fields::UidField;
use super::problem::Problem;
use super::users::Closed;
use crate::ids::DeviceId;
use crate::store::{Device, Revoked};
use crate::time::UnixMillis;

/// The tokens that are no longer accepted: all tokens of `uid`, those with which its device `deviceid`
/// registers, or the one with the id `jti`
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Revoke {
    /// The user whose tokens are revoked.
    uid: Option<UidField>,
    /// With `uid`: only the tokens with which this device registers are revoked.
    #[schema(min_length = 1, max_length = 128)]
    deviceid: Option<String>,
    /// The id of the only token that is revoked, from its claim `jti`.
    #[schema(min_length = 1, max_length = 256)]
    jti: Option<String>,
    /// With `uid`: tokens are revoked that were issued up to this time, in milliseconds since 1970. Without
    /// it: up to now.
    #[schema(value_type = Option<u64>)]
    issued_until: Option<UnixMillis>,
    /// When the last of these tokens expires, in milliseconds since 1970. The revocation is forgotten then.
    /// Without it the revocation is kept forever.
    #[schema(value_type = Option<u64>)]
    until: Option<UnixMillis>,
}

/// The length of the longest `jti`, in bytes.
const MAX_JTI_BYTES: usize = 256;

impl Revoke {
    fn what(&self) -> Result<Revoked, &'static str> {
        match (&self.uid, &self.deviceid, &self.jti) {
            (Some(UidField(uid)), None, None) => Ok(Revoked::User(uid.clone())),
            (Some(UidField(uid)), Some(device), None) => Ok(Revoked::Device(Device {
                uid: uid.clone(),
                device: DeviceId::new(device)
                    .map_err(|_| "\"deviceid\" must be 1 to 128 bytes without control characters.")?,
            })),
            (None, None, Some(jti)) if (1..=MAX_JTI_BYTES).contains(&jti.len()) => {
                Ok(Revoked::Token(jti.as_str().into()))
            }
            (None, None, Some(_)) => Err("\"jti\" must be 1 to 256 bytes."),
            _ => Err("Name a \"uid\", a \"uid\" with a \"deviceid\", or a \"jti\"."),
        }
    }
}

/// Revoke tokens, and disconnect for good the connections that registered with them
#[utoipa::path(post, path = "/v1/revocations", tag = "users", security(("api_key" = [])), request_body = Revoke,
    responses((status = 200, description = "Done", body = Closed), Errors))]
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Json(asked): Json<Revoke>,
) -> Result<axum::Json<Closed>, Problem> {
    let what = asked.what().map_err(Problem::malformed)?;
    let closed = api.gateway.revoke(what, asked.issued_until, asked.until).await?;
    Ok(axum::Json(Closed { closed }))
}
