//! Whether a value stands in a text as a whole, and e-mail addresses.

/// What may stand on either side of a value.
fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`' | '*' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | '“' | '”' | '‘' | '’' | '«' | '»' | '„')
}

fn is_gap(c: char) -> bool {
    c.is_whitespace() || is_quote(c)
}

/// Whether this value stands in the text letter by letter, and is not a part of something longer there: `US12` is no part of
/// `US1299`, `12` none of `12.5`, and `ann` none of `ann.lee` or `ann-lee`.
pub(super) fn stands(value: &str, text: &str) -> bool {
    // What is nothing, or only an end of something else, stands everywhere.
    if value.trim().is_empty() || value.starts_with(is_gap) || value.ends_with(is_gap) {
        return false;
    }
    // Found places may overlap: of `aa` in `aaa aa` the first is part of something longer.
    let Some(step) = value.chars().next().map(char::len_utf8) else { return false };
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(value)) {
        let at = from + at;
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + value.len()..).unwrap_or_default());
        if begins_after(before) && ends_before(after) {
            return true;
        }
        from = at + step;
    }
    false
}

fn begins_after(before: &str) -> bool {
    let mut back = before.chars().rev();
    match back.next() {
        // A mention or a channel, as people write them.
        Some('@' | '#') => back.next().is_none_or(is_gap),
        other => other.is_none_or(is_gap),
    }
}

fn ends_before(after: &str) -> bool {
    let mut ahead = after.chars();
    match ahead.next() {
        Some('.' | ',' | ':' | ';' | '!' | '?' | '…') => ahead.next().is_none_or(is_gap),
        other => other.is_none_or(is_gap),
    }
}

/// A plain e-mail address in small letters: no display name, no quotes, no route, nothing but ASCII.
pub(super) fn email(text: &str) -> Option<String> {
    let (name, host) = text.split_once('@')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    let good = !name.is_empty() && name.chars().all(plain) && host.contains('.') && !host.ends_with('.');
    (good && crate::HostName::parse(host).is_ok()).then(|| text.to_ascii_lowercase())
}

/// The e-mail addresses that stand in a text as a whole.
pub(super) fn emails_in(text: &str) -> Vec<String> {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '+' | '-' | '@' | '%' | '=' | '/' | '&' | '~');
    let ends = |c: char| matches!(c, '.' | '-');
    text.split(|c: char| !part(c)).filter_map(|word| email(word.trim_end_matches(ends))).collect()
}
