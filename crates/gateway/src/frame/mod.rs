//! Frames: what stands in the one argument of a `message` event, decoded and encoded here and nowhere else.
//!
//! Invariant: `data` is raw JSON from the sender to every recipient; it is never parsed into values and written again.

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
    // As for `raw`.
    serde_json::to_string(value).unwrap_or_else(|_| RawValue::NULL.get().to_owned())
}

/// `value` as raw JSON.
pub(crate) fn raw(value: &(impl Serialize + ?Sized)) -> Box<RawValue> {
    // Our own types have string keys and no failing serializers; `null` stands for one that breaks this.
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// JSON that was put together from valid JSON, as raw JSON.
fn trusted(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_else(|error| {
        // The tests of the modules below hold us to it.
        tracing::error!(%error, "what was put together is not JSON");
        RawValue::NULL.to_owned()
    })
}
