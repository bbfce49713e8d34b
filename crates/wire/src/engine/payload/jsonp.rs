//! JSONP: the text form of a payload, inside a script in responses and inside a form in requests.

use crate::engine::query;

/// Reads the text in the field `d` of a form; `None` if there is no such field.
///
/// Browsers change newlines in forms. Clients therefore write a newline as `\n`, and `\n` itself as `\\n`.
pub(super) fn form_text(body: &str) -> Option<String> {
    let field = body.split('&').find_map(|pair| pair.strip_prefix("d="))?;
    let mut escaped = &*query::decoded(field);
    let mut text = String::with_capacity(escaped.len());
    while let Some(at) = memchr::memchr(b'\\', escaped.as_bytes()) {
        text.push_str(&escaped[..at]);
        escaped = &escaped[at..];
        escaped = if let Some(rest) = escaped.strip_prefix(r"\\n") {
            text.push_str(r"\n");
            rest
        } else if let Some(rest) = escaped.strip_prefix(r"\n") {
            text.push('\n');
            rest
        } else {
            text.push('\\');
            &escaped[1..]
        };
    }
    text.push_str(escaped);
    Some(text)
}

/// The script that passes `payload` to the client's callback number `index`.
pub(super) fn script(index: u32, payload: &str) -> String {
    format!("___eio[{index}]({});", literal(payload))
}

/// A string literal for scripts: JSON, with escapes also for the two line separators that JSON allows and old
/// JavaScript does not.
fn literal(text: &str) -> String {
    // A string is always writable as JSON.
    let json = serde_json::to_string(text).unwrap_or_default();
    json.replace('\u{2028}', r"\u2028").replace('\u{2029}', r"\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newlines_in_forms_are_unescaped() {
        assert_eq!(form_text(r"d=a\nb").unwrap(), "a\nb");
        assert_eq!(form_text(r"d=a\\nb").unwrap(), r"a\nb");
        assert_eq!(form_text(r"d=a\\\nb").unwrap(), r"a\\nb");
        assert_eq!(form_text(r#"d=\"q\" \\ \"#).unwrap(), r#"\"q\" \\ \"#);
        assert_eq!(form_text("x=1&d=2%3A4%2B+%e6%97%a5&y").unwrap(), "2:4+ \u{65e5}");
        assert_eq!(form_text("").as_deref(), None);
    }

    #[test]
    fn the_script_is_safe_for_old_browsers() {
        assert_eq!(
            script(3, "2:4\"\u{2028}\u{2029}\\"),
            r#"___eio[3]("2:4\"\u2028\u2029\\");"#
        );
    }
}
