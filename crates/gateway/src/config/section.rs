//! What a section of the configuration is made of: the [`section!`] macro writes, from one table, the struct, its defaults,
//! its range checks, and what the example file says about each key.

use std::fmt::Display;
use std::ops::RangeBounds;

/// What is known about one key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name inside the section.
    pub name: &'static str,
    /// What it does, one line each, as written above the field.
    pub about: &'static [&'static str],
    /// Its range in words, if it is a number with one.
    pub range: Option<fn() -> String>,
}

/// A table of the configuration file.
pub trait Section {
    /// What the section is for.
    const ABOUT: &'static [&'static str];
    /// Its keys, in the order of the struct.
    const KEYS: &'static [Key];

    /// Adds a sentence to `problems` for every number outside its range. `path` is the section's name.
    fn check_ranges(&self, path: &str, problems: &mut Vec<String>);
}

/// Adds a sentence unless `value` is in `range`.
pub(super) fn check<T: PartialOrd + Display>(
    path: &str,
    key: &str,
    value: &T,
    range: &(impl RangeBounds<T> + RangeText),
    problems: &mut Vec<String>,
) {
    if !range.contains(value) {
        problems.push(format!("{path}.{key} must be {}, it is {value}", range.text()));
    }
}

/// A range in words.
pub(super) trait RangeText {
    fn text(&self) -> String;
}

impl<T: Display> RangeText for std::ops::RangeInclusive<T> {
    fn text(&self) -> String {
        format!("{} to {}", self.start(), self.end())
    }
}

/// Defines a section: `key: type = default;` or `key: type = default, in low..=high;`, each with its description.
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
            const KEYS: &'static [$crate::config::section::Key] = &[
                $( $crate::config::section::Key {
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
    ($type:ty, $range:expr) => {{
        fn text() -> String {
            let range: std::ops::RangeInclusive<$type> = $range;
            $crate::config::section::RangeText::text(&range)
        }
        Some(text)
    }};
}
pub(super) use range_text;
