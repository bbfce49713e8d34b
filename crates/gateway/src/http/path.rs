//! Reads the path and the query of a call.

use std::fmt::Display;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::fields::id_sentence;
use super::problem::Problem;
use crate::ids::{ConvId, IdError, TeamId, Uid};

/// The maximum number of messages or conversations on a page.
const MOST: u32 = 500;
/// The number on a page if the query has no `limit`.
const USUAL: u32 = 100;

/// The path's `{uid}`.
#[derive(Debug)]
pub(super) struct UidPath(pub(super) Uid);
/// The path's `{team}`.
#[derive(Debug)]
pub(super) struct TeamPath(pub(super) TeamId);
/// The path's `{team}` and `{uid}`.
#[derive(Debug)]
pub(super) struct MemberPath(pub(super) TeamId, pub(super) Uid);
/// The path's `{conv}`.
#[derive(Debug)]
pub(super) struct ConvPath(pub(super) ConvId);

impl<S: Send + Sync> FromRequestParts<S> for UidPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(segment(parts, state, "uid", Uid::new).await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TeamPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(segment(parts, state, "team", TeamId::new).await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for MemberPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let team = segment(parts, state, "team", TeamId::new).await?;
        Ok(Self(team, segment(parts, state, "uid", Uid::new).await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ConvPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let conv = segment(parts, state, "conv", |text| Ok(ConvId::parse(text))).await?;
        conv.map(Self)
            .ok_or_else(|| Problem::not_found("There is no such conversation; use the conv of a message."))
    }
}

async fn segment<S: Send + Sync, T>(
    parts: &mut Parts,
    state: &S,
    name: &str,
    new: impl FnOnce(&str) -> Result<T, IdError>,
) -> Result<T, Problem> {
    let all = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| Problem::malformed("The path must be UTF-8, with other characters percent-encoded."))?;
    let text = all
        .iter()
        .find(|(key, _)| *key == name)
        .map_or("", |(_, value)| value);
    new(text).map_err(|why| Problem::malformed(format!("The path's {name} {}.", id_sentence(why))))
}

/// The name and value pairs of the query.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs: Result<axum::extract::Query<Vec<(String, String)>>, _> =
            axum::extract::Query::try_from_uri(&parts.uri);
        let pairs = pairs.map_err(|_| Problem::malformed("The query must be name=value pairs in UTF-8."))?;
        Ok(Self(pairs.0))
    }
}

impl Query {
    /// The value of `name`, which may occur only once.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let first = values.next().map(|(_, value)| value.as_str());
        match values.next() {
            Some(_) => Err(Problem::malformed(format!(
                "The query must have {name} only once."
            ))),
            None => Ok(first),
        }
    }

    /// The number `name`, from 0 to the largest number that a message can have.
    pub(super) fn seq(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.text(name)?.map(|text| whole_number(name, text)).transpose()
    }

    /// The value of `limit`, 1 to 500.
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        let Some(text) = self.text("limit")? else {
            return Ok(USUAL);
        };
        match whole_number("limit", text)? {
            limit @ 1..=500 => Ok(limit as u32),
            other => Err(Problem::malformed(format!(
                "The query's limit must be 1 to {MOST}, but it is {other}."
            ))),
        }
    }
}

fn whole_number(name: impl Display, text: &str) -> Result<u64, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // A number that does not fit is treated as the largest one: both are beyond every message.
    let number = if digits {
        Some(text.parse().unwrap_or(u64::MAX).min(i64::MAX as u64))
    } else {
        None
    };
    number.ok_or_else(|| {
        Problem::malformed(format!(
            "The query's {name} must be a whole number, but it is {text:?}."
        ))
    })
}
