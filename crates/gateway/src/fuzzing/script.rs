//! What happens in a session, line by line. It is text, so that the fuzzer can cut it, splice it and use a dictionary:
//!
//! ```text
//! 0O{"type":1,"data":{"uid":"a"}}     device 0 sends an object, with a callback
//! 1s{"type":101,...}&                 device 1 sends a string, without; the next line happens at the same time
//! *PUT /v1/teams/t {"members":["a"]}  the backend calls
//! ```
//!
//! `0t$ta` connects device 0 anew with a token of the user `a` in the handshake, `0x` closes it.
//!
//! In a line `$ta` is a token that is good for a while, `$m0` the `mid` of the first message that was answered, `$c0` its `conv`, and so on; `$n` is the last `next`.

/// Devices that there are.
pub(super) const DEVICES: usize = 4;

/// Something that happens.
pub(super) enum Step<'a> {
    /// A device sends an event.
    Event(usize, Event<'a>),
    /// Its connection closes.
    Close(usize),
    /// It connects anew, and hands over this token.
    Open(usize, &'a str),
    /// The backend calls.
    Call(&'a str),
    /// The store writes one of what waits.
    Write,
    /// So many seconds go by.
    Wait(u64),
    /// The disk is full, or has room again.
    Disk(bool),
}

/// An event of a device.
pub(super) struct Event<'a> {
    pub(super) name: &'static str,
    pub(super) argument: Argument<'a>,
    pub(super) attachments: usize,
    pub(super) calls_back: bool,
}

/// Its one argument.
pub(super) enum Argument<'a> {
    None,
    /// A string with this content.
    Text(&'a str),
    /// This JSON; the string if it is none.
    Json(&'a str),
}

/// The steps of `text`, and after which of them everything comes to rest.
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
