//! Close frames: their payload, and the codes that are allowed in it.

use super::Error;

/// The code and the reason of a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// A code that is allowed in a close frame.
    pub code: u16,
    /// At most 123 bytes.
    pub reason: &'a str,
}

/// Reads the payload of a close frame: it is empty, or has two bytes of code and a reason.
pub(super) fn parse(payload: &[u8]) -> Result<Option<CloseFrame<'_>>, Error> {
    match payload {
        [] => Ok(None),
        [_] => Err(Error::Protocol("close frame has a payload of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !may_be_sent(code) {
                return Err(Error::Protocol("invalid close code"));
            }
            let reason = std::str::from_utf8(reason).map_err(|_| Error::Utf8)?;
            Ok(Some(CloseFrame { code, reason }))
        }
    }
}

/// RFC 6455, section 7.4: 1004, 1005, 1006 and 1015 must not be sent, and 1016-2999 are reserved.
const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_not_be_sent_are_refused() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535u16] {
            assert_eq!(
                parse(&code.to_be_bytes()),
                Err(Error::Protocol("invalid close code")),
                "{code}"
            );
        }
        for code in [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4999u16] {
            assert_eq!(
                parse(&code.to_be_bytes()),
                Ok(Some(CloseFrame { code, reason: "" }))
            );
        }
    }

    #[test]
    fn the_payload_is_empty_or_a_code_and_a_reason() {
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(
            parse(b"\x03"),
            Err(Error::Protocol("close frame has a payload of one byte"))
        );
        assert_eq!(
            parse(b"\x03\xe8bye"),
            Ok(Some(CloseFrame {
                code: 1000,
                reason: "bye"
            }))
        );
        assert_eq!(parse(b"\x03\xe8\xff"), Err(Error::Utf8));
    }
}
