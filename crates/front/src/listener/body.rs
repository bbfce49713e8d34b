//! Finds the end of a request's body in its bytes as they arrive, because another request may follow.
//!
//! Invariant: hyper parses the same bytes, and this code never finds the end at an earlier byte than hyper. A
//! malformed chunked body has no end here, because hyper closes the connection at the error.

/// The part of a body that has not arrived yet.
#[derive(Debug)]
pub(super) enum Rest {
    /// This number of bytes.
    Length(u64),
    /// The rest of a chunked body (RFC 9112, section 7.1).
    Chunked(Chunked),
}

impl Default for Rest {
    fn default() -> Self {
        Self::Length(0)
    }
}

impl Rest {
    /// A body of `length` bytes, or a chunked one if the length is unknown.
    pub(super) fn new(length: Option<u64>) -> Self {
        match length {
            Some(length) => Self::Length(length),
            None => Self::Chunked(Chunked::Size { size: None }),
        }
    }

    /// Whether the whole body has arrived.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::End))
    }

    /// Returns how many bytes of `part`, which came next, belong to the body.
    pub(super) fn take(&mut self, part: &[u8]) -> usize {
        match self {
            Self::Length(left) => {
                let taken = (*left).min(part.len() as u64);
                *left -= taken;
                // The cast is lossless: `taken` is at most `part.len()`.
                taken as usize
            }
            Self::Chunked(chunked) => chunked.take(part),
        }
    }
}

/// What follows next in a chunked body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Chunked {
    /// The size of a chunk, with the digits so far.
    Size { size: Option<u64> },
    /// What follows the size in its line: white space, then extensions.
    Extension { size: u64, begun: bool },
    /// The line feed after a size.
    SizeEnd { size: u64 },
    /// The bytes of a chunk, at least one.
    Data { left: u64 },
    /// The carriage return after a chunk.
    DataCr,
    /// The line feed after a chunk.
    DataLf,
    /// A trailer, or the empty line that ends the body.
    Line,
    /// The rest of a trailer.
    Trailer,
    /// The line feed after a trailer.
    TrailerEnd,
    /// The line feed of the empty line.
    LastLf,
    /// Nothing: the whole body has arrived.
    End,
    /// Nothing: the body is malformed.
    Broken,
}

impl Chunked {
    fn take(&mut self, part: &[u8]) -> usize {
        let mut at = 0;
        while at < part.len() {
            *self = match *self {
                Self::End => return at,
                Self::Broken => return part.len(),
                Self::Data { left } => {
                    let taken = left.min((part.len() - at) as u64);
                    // The cast is lossless: `taken` is at most `part.len()`.
                    at += taken as usize;
                    match left - taken {
                        0 => Self::DataCr,
                        left => Self::Data { left },
                    }
                }
                state => {
                    at += 1;
                    state.after(part[at - 1])
                }
            };
        }
        at
    }

    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Size { size }, digit) if digit.is_ascii_hexdigit() => {
                let value = char::from(digit).to_digit(16).unwrap_or_default();
                match size.unwrap_or(0).checked_mul(16) {
                    // The multiplication has set the lowest four bits to 0.
                    Some(size) => Self::Size {
                        size: Some(size | u64::from(value)),
                    },
                    None => Self::Broken,
                }
            }
            (Self::Size { size: Some(size) } | Self::Extension { size, .. }, b'\r') => Self::SizeEnd { size },
            (Self::Size { size: Some(size) } | Self::Extension { size, begun: false }, b' ' | b'\t') => {
                Self::Extension { size, begun: false }
            }
            (Self::Size { size: Some(size) } | Self::Extension { size, .. }, b';') => {
                Self::Extension { size, begun: true }
            }
            (Self::Extension { size, begun: true }, other) if other != b'\n' => {
                Self::Extension { size, begun: true }
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Line,
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { size: None },
            (Self::Line, b'\r') => Self::LastLf,
            (Self::LastLf, b'\n') => Self::End,
            (Self::Trailer, b'\r') => Self::TrailerEnd,
            (Self::Line | Self::Trailer, _) => Self::Trailer,
            (Self::TrailerEnd, b'\n') => Self::Line,
            _ => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `bytes` in two parts that are separated at `cut`. Returns how many bytes belong to the body, and
    /// whether it is complete.
    fn found(length: Option<u64>, bytes: &[u8], cut: usize) -> (usize, bool) {
        let mut rest = Rest::new(length);
        let mut taken = rest.take(&bytes[..cut]);
        if taken == cut {
            taken += rest.take(&bytes[cut..]);
        }
        (taken, rest.is_complete())
    }

    #[test]
    fn the_end_is_found_however_the_body_is_cut() {
        for (length, body) in [
            (Some(0), ""),
            (Some(5), "hello"),
            (None, "0\r\n\r\n"),
            (None, "5\r\nhello\r\n0\r\n\r\n"),
            (
                None,
                "00A \t\r\n0\r\n\r\n5\r\n\r\n\r\n1;a=\"b\"\r\n\n\r\n000\r\n\r\n",
            ),
            (None, "1\r\nx\r\n0\r\nTrailer: 1\r\nOther: \"\r\n\r\n"),
        ] {
            let bytes = [body, "GET /"].concat().into_bytes();
            for cut in 0..=bytes.len() {
                assert_eq!(found(length, &bytes, cut), (body.len(), true), "{body:?} {cut}");
            }
        }
    }

    #[test]
    fn an_incomplete_or_malformed_body_takes_all_bytes() {
        for body in [
            "",
            "5\r\nhell",
            "0\r\n",
            "0\r\nTrailer: 1\r\n",
            "\r\nGET /",
            "x\r\n",
            "1\nx\n0\n\n",
            "1;a\n\r\n",
            "1 1\r\n",
            "1\r\nxx\r\n0\r\n\r\n",
            "10000000000000000\r\n0\r\n\r\n",
            "0\r\n\r0\r\n\r\n",
        ] {
            for cut in 0..=body.len() {
                assert_eq!(found(None, body.as_bytes(), cut), (body.len(), false), "{body:?}");
            }
        }
        assert_eq!(found(Some(9), b"hello", 2), (5, false));
    }
}
