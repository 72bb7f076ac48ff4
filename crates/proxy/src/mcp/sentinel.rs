//! How a name travels in a header when it isn't plain ASCII: `=?base64?...?=` (streamable HTTP 2026-07-28, value encoding).

use data_encoding::BASE64;

const START: &str = "=?base64?";
const END: &str = "?=";

/// The header value for a name.
pub(crate) fn encode(name: &str) -> String {
    let edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = name.as_bytes();
    let plain = bytes.iter().all(|byte| (0x20..=0x7e).contains(byte)) && !edge(bytes.first()) && !edge(bytes.last());
    if plain && !(name.starts_with(START) && name.ends_with(END)) {
        return name.to_owned();
    }
    format!("{START}{}{END}", BASE64.encode(bytes))
}

/// The name in a header value; none when it pretends to be encoded and isn't.
pub(crate) fn decode(value: &str) -> Option<String> {
    match value.strip_prefix(START).and_then(|rest| rest.strip_suffix(END)) {
        Some(encoded) => String::from_utf8(BASE64.decode(encoded.as_bytes()).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}
