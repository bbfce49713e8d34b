//! Reading JSON that a peer wrote: every complaint names the field and says what belongs there.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::ids::{Cid, IdError, MAX_ID_BYTES, TeamId, Uid, is_integer};
use crate::text::{plain, without_mark};

/// Reads a JSON object; the error is one sentence that names the field.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(without_mark(text));
    let read = serde_path_to_error::deserialize::<_, Object<T>>(&mut json);
    let object = read.map_err(|e| {
        let path = e.path().to_string();
        let whole = e.inner().to_string();
        let place = format!(" at line {} column {}", e.inner().line(), e.inner().column());
        match e.inner().classify() {
            serde_json::error::Category::Data => {
                let what = plain(whole.strip_suffix(&place).unwrap_or(&whole), "an object");
                match path.as_str() {
                    "." if what.starts_with("must") => format!("The body {what}."),
                    "." => sentence(&what),
                    path if what.starts_with("must") => format!("\"{path}\" {what}."),
                    path => format!("\"{path}\": {what}."),
                }
            }
            _ => format!("The body is not JSON: {whole}."),
        }
    })?;
    json.end()
        .map_err(|_| "The body must be one JSON object with nothing after it.".to_owned())?;
    Ok(object.0)
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}

/// A `T` written as an object; serde alone would take an array of the fields too.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OnlyMap(PhantomData)).map(Self)
    }
}

/// A uid, written as a string or an integer (which means its decimal string).
#[derive(Debug)]
pub(super) struct UidField(pub(super) Uid);

impl<'de> Deserialize<'de> for UidField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let uid =
            Uid::from_json(raw).ok_or_else(|| D::Error::custom("must be a uid, a string or an integer"))?;
        uid.map(Self).map_err(|why| D::Error::custom(id_sentence(why)))
    }
}

/// A team's key, written as a string or an integer.
#[derive(Debug)]
pub(super) struct TeamField(pub(super) TeamId);

impl<'de> Deserialize<'de> for TeamField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let team = TeamId::from_json(raw)
            .ok_or_else(|| D::Error::custom("must be a team's key, a string or an integer"))?;
        team.map(Self).map_err(|why| D::Error::custom(id_sentence(why)))
    }
}

/// Describes an identifier as text: a uid or a team in a path.
#[derive(Debug)]
pub(super) struct IdText;

impl PartialSchema for IdText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX_ID_BYTES))
            // Neither "." nor "..", and no control characters.
            .pattern(Some(concat!(
                r"^(?:[^.\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*",
                r"|\.[^.\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*",
                r"|\.\.[^\u0000-\u001f\u007f-\u009f]+)$"
            )))
            .into()
    }
}

impl ToSchema for IdText {}

/// Describes a place in a conversation: any whole number; what is beyond the newest message means that one.
#[derive(Debug)]
pub(super) struct Position;

impl PartialSchema for Position {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::Integer);
        schema.minimum(Some(0)).into()
    }
}

impl ToSchema for Position {}

impl PartialSchema for UidField {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(IdText::schema())
            .item(ObjectBuilder::new().schema_type(Type::Integer))
            .description(Some(
                "A user: 1 to 128 bytes, no control characters, neither \".\" nor \"..\"; an integer means its decimal string.",
            ))
            .into()
    }
}

impl PartialSchema for TeamField {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(IdText::schema())
            .item(ObjectBuilder::new().schema_type(Type::Integer))
            .description(Some("A team's key, with the rules of a user's."))
            .into()
    }
}

impl ToSchema for TeamField {
    fn name() -> std::borrow::Cow<'static, str> {
        "TeamKey".into()
    }
}

impl ToSchema for UidField {
    fn name() -> std::borrow::Cow<'static, str> {
        "Uid".into()
    }
}

/// The sender's own id for a message.
#[derive(Debug)]
pub(super) struct CidField(pub(super) Cid);

impl<'de> Deserialize<'de> for CidField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Cid::new(&text)
            .map(Self)
            .map_err(|why| D::Error::custom(id_sentence(why)))
    }
}

/// A kind's number; `None` when it is an integer that no kind can have.
#[derive(Debug)]
pub(super) struct KindField(pub(super) Option<u16>);

impl<'de> Deserialize<'de> for KindField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if is_integer(raw) {
            return Ok(Self(raw.parse().ok()));
        }
        // JSON knows no integers: 6.0 is 6.
        match serde_json::from_str::<f64>(raw) {
            Ok(number) if number.fract() == 0.0 => Ok(Self(whole_kind(number))),
            _ => Err(D::Error::custom("must be the number of a kind")),
        }
    }
}

fn whole_kind(number: f64) -> Option<u16> {
    (0.0..=f64::from(u16::MAX))
        .contains(&number)
        .then_some(number as u16)
}

/// What is wrong with an identifier, for a sentence about it.
pub(super) fn id_sentence(why: IdError) -> String {
    why.to_string()
}
