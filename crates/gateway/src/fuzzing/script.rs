//! The script of a session, one step per line. It is text, so that the fuzzer can cut and splice it, and use
//! a dictionary:
//!
//! ```text
//! 0O{"type":1,"data":{"uid":"a"}}     device 0 sends an object, with a callback
//! 1s{"type":101,...}&                 device 1 sends a string; the next step happens at the same time
//! *PUT /v1/teams/t {"members":["a"]}  the backend makes a call
//! ```
//!
//! `0t$ta` connects device 0 again, with a token of the user `a` in the handshake. `0x` closes its
//! connection.
//!
//! `$ta` in a line is a valid token of the user `a`, `$m0` is the `mid` of the first message that was
//! answered, `$c0` is its `conv`, and so on. `$n` is the last `next`.

/// Number of devices.
pub(super) const DEVICES: usize = 4;

/// A step of the script.
pub(super) enum Step<'a> {
    /// A device sends an event.
    Event(usize, Event<'a>),
    /// A device closes its connection.
    Close(usize),
    /// A device connects again, with this token in the handshake.
    Open(usize, &'a str),
    /// The backend makes a call.
    Call(&'a str),
    /// The store executes one of the commands that wait.
    Write,
    /// This number of seconds passes.
    Wait(u64),
    /// The disk becomes full, or has space again.
    Disk(bool),
}

/// An event that a device sends.
pub(super) struct Event<'a> {
    pub(super) name: &'static str,
    pub(super) argument: Argument<'a>,
    pub(super) attachments: usize,
    pub(super) calls_back: bool,
}

/// The argument of an event.
pub(super) enum Argument<'a> {
    None,
    /// A string with this content.
    Text(&'a str),
    /// This text as JSON, or as a string if it is not JSON.
    Json(&'a str),
}

/// Parses the steps of `text`. The flag says whether everything must come to rest after the step.
pub(super) fn steps(text: &str) -> impl Iterator<Item = (Step<'_>, bool)> {
    text.split('\n').filter_map(|line| match line.strip_suffix('&') {
        Some(line) => Some((step(line)?, false)),
        None => Some((step(line)?, true)),
    })
}

fn step(line: &str) -> Option<Step<'_>> {
    let mut chars = line.chars();
    let first = chars.next()?;
    Some(match first {
        '*' => Step::Call(chars.as_str()),
        '.' => Step::Write,
        '_' => Step::Wait(61),
        '!' => Step::Disk(true),
        '~' => Step::Disk(false),
        '#' => return None,
        _ => {
            let device = first as usize % DEVICES;
            let what = chars.next()?;
            let payload = chars.as_str();
            if what == 'x' {
                return Some(Step::Close(device));
            }
            if what == 't' {
                return Some(Step::Open(device, payload));
            }
            Step::Event(
                device,
                Event {
                    name: if matches!(what, 'e' | 'E') {
                        "other"
                    } else {
                        "message"
                    },
                    argument: match what.to_ascii_lowercase() {
                        'n' => Argument::None,
                        'o' => Argument::Json(payload),
                        _ => Argument::Text(payload),
                    },
                    attachments: usize::from(matches!(what, 'b' | 'B')),
                    calls_back: what.is_ascii_uppercase(),
                },
            )
        }
    })
}
