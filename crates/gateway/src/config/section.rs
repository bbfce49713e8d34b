//! The [`section!`] macro, which defines a section of the configuration. One table gives the struct, its
//! defaults, its range checks, and the descriptions of its keys in the example file.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// The description of a key.
#[derive(Debug, Clone, Copy)]
pub struct KeyDescription {
    /// The name of the key inside its section.
    pub name: &'static str,
    /// What the key does, in the lines of the doc comment of its field.
    pub about: &'static [&'static str],
    /// The range of a number in words, if it has one.
    pub range: Option<fn() -> String>,
}

/// A table of the configuration file.
pub trait Section {
    /// What the section is for, in the lines of the doc comment of its struct.
    const ABOUT: &'static [&'static str];
    /// The keys, in the order of the struct.
    const KEYS: &'static [KeyDescription];

    /// Adds a sentence to `problems` for every number outside its range. `path` is the path of the section.
    fn check_ranges(&self, path: &str, problems: &mut Vec<String>);
}

/// Adds a sentence to `problems` unless `value` is in `range`.
pub(super) fn check<T: PartialOrd + Display>(
    path: &str,
    key: &str,
    value: &T,
    range: &RangeInclusive<T>,
    problems: &mut Vec<String>,
) {
    if !range.contains(value) {
        problems.push(format!("{path}.{key} must be {}, not {value}", text(range)));
    }
}

/// A range in words.
pub(super) fn text<T: Display>(range: &RangeInclusive<T>) -> String {
    format!("{} to {}", range.start(), range.end())
}

/// Defines a section. Each key is `key: type = default;` or `key: type = default, in low..=high;` with a doc
/// comment.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ pub $key:ident: $type:ty = $default:expr $(, in $range:expr)?; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $key: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )+ }
            }
        }

        impl $crate::config::section::Section for $name {
            const ABOUT: &'static [&'static str] = &[$($about),+];
            const KEYS: &'static [$crate::config::section::KeyDescription] = &[
                $( $crate::config::section::KeyDescription {
                    name: stringify!($key),
                    about: &[$($doc),+],
                    range: $crate::config::section::range_text!($type $(, $range)?),
                }, )+
            ];

            fn check_ranges(&self, path: &str, problems: &mut Vec<String>) {
                let _ = (path, &problems);
                $( $( $crate::config::section::check(path, stringify!($key), &self.$key, &$range, problems); )? )+
            }
        }
    };
}
pub(super) use section;

macro_rules! range_text {
    ($type:ty) => {
        None
    };
    ($type:ty, $range:expr) => {
        Some(|| $crate::config::section::text::<$type>(&$range))
    };
}
pub(super) use range_text;
