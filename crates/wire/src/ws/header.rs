//! Reads the header of a frame.

use super::{Error, Opcode, Role};

/// The maximum length of a header: two bytes, eight of length, and four of mask.
pub(super) const MAX_LEN: usize = 14;

/// The header of a frame. The rules that concern a single frame have been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Whether this is the last fragment of its message.
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// Zeros if the frame is not masked.
    pub(super) mask: [u8; 4],
    /// The number of payload bytes that follow.
    pub(super) len: usize,
}

/// Reads the header at the start of `bytes`, and returns it with its length; `None` if bytes are missing.
pub(super) fn parse(bytes: &[u8], role: Role) -> Result<Option<(Head, usize)>, Error> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let fin = first & 0x80 != 0;
    if first & 0x70 != 0 {
        return Err(Error::Protocol("reserved bits are set"));
    }
    let opcode = Opcode::from_number(first & 0x0f).ok_or(Error::Protocol("reserved opcode"))?;
    let masked = second & 0x80 != 0;
    match role {
        Role::Server if !masked => return Err(Error::Protocol("client frame is not masked")),
        Role::Client if masked => return Err(Error::Protocol("server frame is masked")),
        _ => {}
    }
    let short = second & 0x7f;
    if opcode.is_control() {
        if short > 125 {
            return Err(Error::Protocol("control frame is longer than 125 bytes"));
        }
        if !fin {
            return Err(Error::Protocol("control frame is fragmented"));
        }
    }
    let (len, rest) = match short {
        126 => match rest {
            [a, b, rest @ ..] => (u64::from(u16::from_be_bytes([*a, *b])), rest),
            _ => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((len, rest)) => (u64::from_be_bytes(*len), rest),
            None => return Ok(None),
        },
        len => (u64::from(len), rest),
    };
    let len = usize::try_from(len).map_err(|_| Error::TooBig)?;
    let (mask, rest) = match rest.split_first_chunk::<4>() {
        _ if !masked => ([0; 4], rest),
        Some((mask, rest)) => (*mask, rest),
        None => return Ok(None),
    };
    Ok(Some((
        Head {
            fin,
            opcode,
            mask,
            len,
        },
        bytes.len() - rest.len(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_with_its_last_byte() {
        let whole = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4];
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len], Role::Server), Ok(None));
        }
        let head = Head {
            fin: true,
            opcode: Opcode::Binary,
            mask: [1, 2, 3, 4],
            len: 65_536,
        };
        assert_eq!(parse(&whole, Role::Server), Ok(Some((head, MAX_LEN))));
    }

    #[test]
    fn broken_rules_are_found_in_the_first_two_bytes() {
        for (bytes, role) in [
            ([0xc1, 0x80], Role::Server), // RSV1
            ([0x91, 0x80], Role::Server), // RSV3
            ([0x83, 0x80], Role::Server), // reserved data opcode
            ([0x8b, 0x80], Role::Server), // reserved control opcode
            ([0x81, 0x00], Role::Server), // unmasked client
            ([0x81, 0x80], Role::Client), // masked server
            ([0x89, 0xfe], Role::Server), // ping with a long length
            ([0x09, 0x80], Role::Server), // fragmented ping
        ] {
            assert!(
                matches!(parse(&bytes, role), Err(Error::Protocol(_))),
                "{bytes:x?}"
            );
        }
    }
}
