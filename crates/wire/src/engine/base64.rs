//! Base64 as clients write it: the padding may be missing, the unused bits of the last digit may have any
//! value, and there may be line breaks.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes `text`; `None` if it is not base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    const LINE_BREAKS: [char; 2] = ['\r', '\n'];
    // Android's encoder, which the Java client uses, starts a new line after 76 digits.
    let decoded = if text.contains(LINE_BREAKS) {
        LENIENT.decode(text.replace(LINE_BREAKS, ""))
    } else {
        LENIENT.decode(text)
    };
    decoded.ok()
}

/// Appends the base64 of `bytes`, with padding.
pub(super) fn encode_into(bytes: &[u8], out: &mut String) {
    general_purpose::STANDARD.encode_string(bytes, out);
}

/// The number of bytes that [`encode_into`] appends for `len` bytes.
pub(super) const fn encoded_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}
