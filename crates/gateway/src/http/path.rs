//! Reads the path and the query of a call.

use std::fmt::Display;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use super::problem::Problem;
use crate::ids::{ConvId, IdError, TeamId, Uid};

/// The maximum number of messages or conversations on a page.
const MOST: u32 = 500;
/// The number on a page if the query has no `limit`.
const USUAL: u32 = 100;

/// A value that occurs in paths, as a segment that the route calls [`Segment::NAME`].
pub(super) trait Segment: Sized {
    const NAME: &'static str;

    fn read(text: &str) -> Result<Self, Problem>;
}

impl Segment for Uid {
    const NAME: &'static str = "uid";

    fn read(text: &str) -> Result<Self, Problem> {
        Self::new(text).map_err(|why| malformed(Self::NAME, why))
    }
}

impl Segment for TeamId {
    const NAME: &'static str = "team";

    fn read(text: &str) -> Result<Self, Problem> {
        Self::new(text).map_err(|why| malformed(Self::NAME, why))
    }
}

impl Segment for ConvId {
    const NAME: &'static str = "conv";

    fn read(text: &str) -> Result<Self, Problem> {
        let unknown = || Problem::not_found("There is no such conversation; use the conv of a message.");
        Self::parse(text).ok_or_else(unknown)
    }
}

fn malformed(name: &str, why: IdError) -> Problem {
    Problem::malformed(format!("The path's {name} {why}."))
}

/// A segment of the path.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: Segment> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let all = RawPathParams::from_request_parts(parts, state).await;
        let all = all.map_err(|_| {
            Problem::malformed("The path must be UTF-8, with other characters percent-encoded.")
        })?;
        let segment = all.iter().find(|(name, _)| *name == T::NAME);
        T::read(segment.map_or("", |(_, text)| text)).map(Self)
    }
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
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::malformed(format!(
            "The query's {name} must be a whole number, but it is {text:?}."
        )));
    }
    // A number that does not fit is treated as the largest one: both are beyond every message.
    Ok(text.parse().unwrap_or(u64::MAX).min(i64::MAX as u64))
}
