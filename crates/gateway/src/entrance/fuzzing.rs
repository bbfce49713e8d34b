//! What must be true of a handshake for any input.

use serde_json::value::RawValue;

use super::handshake::handshake_token;
use crate::testing::value;

/// Checks that a handshake, with `auth` in the first line of `data` and the query in the second, gives a
/// token of limited length or none.
pub(crate) fn handshake(data: &[u8]) {
    const MOST: usize = 64;
    let Some((auth, query)) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| text.split_once('\n'))
    else {
        return;
    };
    let raw: Option<&RawValue> = serde_json::from_str(auth).ok();
    let Some(token) = handshake_token(raw, || Some(query.to_owned()), MOST) else {
        return;
    };
    assert!(token.len() <= MOST);
    let of_auth = raw.map(|raw| value(raw.get()));
    let of_auth = of_auth.and_then(|auth| Some(auth.get("token")?.as_str()?.to_owned()));
    assert!(
        token.is_empty() || *token == *query || of_auth.as_deref() == Some(&*token),
        "{token:?} stands nowhere"
    );
}
