//! Frames: the argument of an event `message`. They are decoded and encoded only here.
//!
//! Invariant: `data` is raw JSON from the sender to all recipients; it is never parsed into values and
//! written again.

mod depth;
mod encode;
mod envelope;
mod incoming;
pub(crate) mod shown;

pub(crate) use depth::too_deep;
pub(crate) use encode::{EVENT, Format, Frame};
pub use envelope::Envelope;
pub(crate) use incoming::{Incoming, Request, any_value, decode, text_of};

use serde::Serialize;
use serde_json::value::RawValue;

/// `value` as JSON.
fn json(value: &impl Serialize) -> String {
    // This cannot fail, for the reason given in `raw`.
    serde_json::to_string(value).unwrap_or_else(|_| RawValue::NULL.get().to_owned())
}

/// `value` as raw JSON.
pub(crate) fn raw(value: &(impl Serialize + ?Sized)) -> Box<RawValue> {
    // The gateway's own types have string keys and serializers that do not fail. If a type breaks this rule,
    // it becomes `null`.
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// JSON that is composed of valid JSON, as raw JSON.
fn trusted(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_else(|error| {
        // The tests of this directory's modules check that this does not happen.
        tracing::error!(%error, "a composed text is not JSON");
        RawValue::NULL.to_owned()
    })
}
