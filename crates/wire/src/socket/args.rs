//! Splits the JSON arrays of events and acks into raw elements.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::DecodeError;

/// Event names that the Socket.IO libraries reserve for themselves.
const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// Splits `["name", args...]` into the name (a number becomes its text) and the raw arguments.
pub fn event_args(payload: &str) -> Result<(Cow<'_, str>, Vec<&RawValue>), DecodeError> {
    let Elements { first, rest } = parse::<Elements<'_>>(payload)?;
    let name = name(first.ok_or(DecodeError::Payload)?)?;
    if RESERVED.contains(&&*name) {
        return Err(DecodeError::ReservedName);
    }
    Ok((name, rest))
}

/// Splits the array of an ack.
pub fn ack_args(payload: &str) -> Result<Vec<&RawValue>, DecodeError> {
    parse(payload)
}

fn name(raw: &RawValue) -> Result<Cow<'_, str>, DecodeError> {
    let text = raw.get();
    match text.as_bytes() {
        [b'"', inner @ .., b'"'] if memchr::memchr(b'\\', inner).is_none() => {
            Ok(Cow::Borrowed(&text[1..text.len() - 1]))
        }
        // `text` is valid JSON already, so the only possible error is half of a surrogate pair.
        [b'"', ..] => serde_json::from_str(text)
            .map(Cow::Owned)
            .map_err(|_| DecodeError::Json),
        [b'-' | b'0'..=b'9', ..] => Ok(Cow::Borrowed(text)),
        _ => Err(DecodeError::Payload),
    }
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, DecodeError> {
    serde_json::from_str(payload).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => DecodeError::Payload,
        _ => DecodeError::Json,
    })
}

/// An array whose first element is kept apart, so that the rest need not be moved.
struct Elements<'a> {
    first: Option<&'a RawValue>,
    rest: Vec<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor(PhantomData))
    }
}

struct ElementsVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for ElementsVisitor<'a> {
    type Value = Elements<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Elements<'a>, A::Error> {
        let first = seq.next_element()?;
        let mut rest = Vec::new();
        while let Some(element) = seq.next_element()? {
            rest.push(element);
        }
        Ok(Elements { first, rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(payload: &str) -> Result<(String, Vec<&str>), DecodeError> {
        let (name, args) = event_args(payload)?;
        Ok((name.into_owned(), args.into_iter().map(RawValue::get).collect()))
    }

    #[test]
    fn an_event_is_split_into_name_and_raw_arguments() {
        assert_eq!(
            split(r#" ["chat" , {"a": [1,2]} ,"x",null, 1.50 ] "#),
            Ok((
                "chat".to_owned(),
                vec![r#"{"a": [1,2]}"#, r#""x""#, "null", "1.50"]
            ))
        );
        assert_eq!(split(r#"["a\u65e5\n"]"#), Ok(("a\u{65e5}\n".to_owned(), vec![])));
        assert_eq!(split("[7,8]"), Ok(("7".to_owned(), vec!["8"])));
        assert_eq!(split(r#"["",1]"#), Ok((String::new(), vec!["1"])));
    }

    #[test]
    fn a_plain_name_is_borrowed() {
        assert!(matches!(
            event_args(r#"["chat"]"#),
            Ok((Cow::Borrowed("chat"), _))
        ));
    }

    #[test]
    fn invalid_and_reserved_names_are_refused() {
        for payload in [
            "[]",
            "[null]",
            "[{}]",
            "[[\"a\"]]",
            "[true]",
            "{\"0\":\"a\"}",
            "\"a\"",
        ] {
            assert_eq!(split(payload), Err(DecodeError::Payload), "{payload}");
        }
        for payload in [
            "[\"a\"",
            "[\"a\",]",
            "[\"a\"]]",
            "[\"a\" 1]",
            "",
            "[\"\\ud800\"]",
            "[\"a\0\"]",
            "[\"\n\"]",
        ] {
            assert_eq!(split(payload), Err(DecodeError::Json), "{payload:?}");
        }
        for name in RESERVED {
            assert_eq!(split(&format!("[\"{name}\"]")), Err(DecodeError::ReservedName));
        }
        assert_eq!(split(r#"["c\u006fnnect"]"#), Err(DecodeError::ReservedName));
    }

    #[test]
    fn an_ack_is_an_array_without_a_name() {
        let args: Vec<&str> = ack_args("[1, \"a\"]")
            .unwrap()
            .into_iter()
            .map(RawValue::get)
            .collect();
        assert_eq!(args, ["1", "\"a\""]);
        assert_eq!(ack_args("[]").unwrap().len(), 0);
        assert_eq!(ack_args("{}").unwrap_err(), DecodeError::Payload);
        assert_eq!(ack_args("[1,]").unwrap_err(), DecodeError::Json);
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let payload = format!("[\"deep\",{deep}]");
        let (name, args) = split(&payload).unwrap();
        assert_eq!((name.as_str(), args), ("deep", vec![deep.as_str()]));
        assert_eq!(
            split(&format!("[\"deep\",{}", "[{\"a\":".repeat(100_000))),
            Err(DecodeError::Json)
        );
    }
}
