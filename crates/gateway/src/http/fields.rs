//! Reads JSON that a client has sent. Every error names the field and says what it must be.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::ids::{Cid, IdError, MAX_ID_BYTES, TeamId, Uid, kind_number};
use crate::reject::sentence;
use crate::text::{plain, without_mark};
use crate::{Gateway, Reject};

/// Reads a JSON object. `what` names it in errors, for example "body". The error is one sentence that names
/// the wrong field. Each [`List`] in it keeps one element more than `longest`.
pub(super) fn read<T: DeserializeOwned>(text: &str, what: &str, longest: usize) -> Result<T, String> {
    LONGEST.set(longest);
    let mut json = serde_json::Deserializer::from_str(without_mark(text));
    let read = serde_path_to_error::deserialize::<_, Object<T>>(&mut json);
    let object = read.map_err(|e| {
        let path = e.path().to_string();
        let whole = e.inner().to_string();
        let place = format!(" at line {} column {}", e.inner().line(), e.inner().column());
        match e.inner().classify() {
            Category::Data => {
                let wrong = plain(whole.strip_suffix(&place).unwrap_or(&whole), "an object");
                match path.as_str() {
                    "." if wrong.starts_with("must") => format!("The {what} {wrong}."),
                    "." => sentence(&wrong),
                    path if wrong.starts_with("must") => format!("\"{path}\" {wrong}."),
                    path => format!("\"{path}\": {wrong}."),
                }
            }
            // The JSON is valid, but it has a string with half of a surrogate pair, which a `String` cannot
            // hold.
            Category::Syntax if serde_json::from_str::<&RawValue>(without_mark(text)).is_ok() => {
                match path.as_str() {
                    "." => format!("The {what} {}.", IdError::HalfPair),
                    path => format!("\"{path}\" {}.", IdError::HalfPair),
                }
            }
            Category::Eof if without_mark(text).trim().is_empty() => {
                format!("The {what} is empty; it must be a JSON object.")
            }
            Category::Eof => format!("The {what} is not JSON: it ends too early."),
            Category::Syntax | Category::Io => format!(
                "The {what} is not JSON: see line {}, column {}.",
                e.inner().line(),
                e.inner().column()
            ),
        }
    })?;
    json.end()
        .map_err(|_| format!("The {what} must be one JSON object with nothing after it."))?;
    Ok(object.0)
}

/// A `T` that is written as an object. serde alone would also accept an array of the fields.
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

thread_local! {
    /// The argument `longest` of [`read`], which runs on this thread: serde passes no arguments to
    /// `Deserialize`. Outside of [`read`] nothing is left out.
    static LONGEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A list that may be longer than a limit allows. All its elements are checked and counted, but only the
/// first ones are kept, so that a list that is refused in the end does not fill the memory.
#[derive(Debug)]
pub(super) struct List<T> {
    /// The first elements: one more than the list may have, or all if there are fewer.
    kept: Vec<T>,
    /// The number of elements that were sent.
    pub(super) len: usize,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<List<T>, A::Error> {
                let (longest, mut kept, mut len) = (LONGEST.get(), Vec::new(), 0);
                while let Some(element) = elements.next_element()? {
                    len += 1;
                    if kept.len() <= longest {
                        kept.push(element);
                    }
                }
                Ok(List { kept, len })
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

impl<T> List<T> {
    /// The elements. The caller has checked that the list is not too long.
    pub(super) fn into_elements(self) -> Vec<T> {
        self.kept
    }
}

impl List<UidField> {
    /// The users without repetitions, in their order. Fails if the call names too many users; `named` counts
    /// those that it has named so far.
    pub(super) fn uids(self, gateway: &Gateway, named: &mut usize) -> Result<Vec<Uid>, Reject> {
        *named += self.len;
        gateway.check_uids(*named)?;
        let mut seen = HashSet::with_capacity(self.len);
        let uids = self.kept.into_iter().map(|uid| uid.0);
        Ok(uids.filter(|uid| seen.insert(uid.clone())).collect())
    }
}

/// A uid, written as a string, or as an integer that means its decimal string.
#[derive(Debug)]
pub(super) struct UidField(pub(super) Uid);

impl<'de> Deserialize<'de> for UidField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let uid =
            Uid::from_json(raw).ok_or_else(|| D::Error::custom("must be a uid, a string or an integer"))?;
        uid.map(Self).map_err(D::Error::custom)
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
        team.map(Self).map_err(D::Error::custom)
    }
}

/// The schema of an identifier in a path: a uid or a team's key.
#[derive(Debug)]
pub(super) struct IdText;

impl PartialSchema for IdText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX_ID_BYTES))
            // The pattern excludes "." and ".." and control characters.
            .pattern(Some(concat!(
                r"^(?:[^.\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*",
                r"|\.[^.\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*",
                r"|\.\.[^\u0000-\u001f\u007f-\u009f]+)$"
            )))
            .into()
    }
}

impl ToSchema for IdText {}

/// The schema of a position in a conversation: any whole number. A number beyond the newest message means
/// that message.
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
        Cid::new(&text).map(Self).map_err(D::Error::custom)
    }
}

/// The number of a kind; `None` if it is an integer that no kind can have.
#[derive(Debug)]
pub(super) struct KindField(pub(super) Option<u16>);

impl<'de> Deserialize<'de> for KindField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let number = kind_number(raw).ok_or_else(|| D::Error::custom("must be the number of a kind"))?;
        Ok(Self(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Lists {
        users: List<UidField>,
    }

    #[test]
    fn a_list_keeps_one_element_more_than_is_allowed_and_checks_all() {
        let read = |users: &str| read::<Lists>(&format!("{{\"users\":[{users}]}}"), "body", 3);
        for (sent, kept) in [(0, 0), (3, 3), (4, 4), (5, 4), (100_000, 4)] {
            let lists = read(vec!["\"a\""; sent].join(",").as_str()).unwrap();
            assert_eq!((lists.users.len, lists.users.kept.len()), (sent, kept));
        }
        let why = read(&format!("{}true", "1,".repeat(1_000))).unwrap_err();
        assert!(why.starts_with("\"users[1000]\" must be a uid"), "{why}");
    }
}
