//! What a model is told of a tool, in characters that people can see. Invisible ones carry orders past whoever reads a listing, and
//! the agent takes them out, so that both say the same.

use serde_json::Value;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// A tool definition whose texts are normalised (NFKC) and without characters that format, are private or mean nothing. Names stay.
pub(crate) fn plain(mut tool: Value) -> Value {
    if let Some(fields) = tool.as_object_mut() {
        // Keys are names, too.
        fields.iter_mut().filter(|(key, _)| *key != "name").for_each(|(_, value)| clean(value));
    }
    tool
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = visible(text),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text without characters that nobody can see.
pub(crate) fn visible(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let hidden = |c: &char| {
        matches!(c.general_category(), GeneralCategory::Format | GeneralCategory::PrivateUse | GeneralCategory::Unassigned)
    };
    text.nfkc().filter(|c| !hidden(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nobody_can_see_is_not_told() {
        let tool = json!({
            "name": "look\u{fb01}", "description": "dots\u{2026} nb\u{a0}sp zwj\u{200d} \u{fb01} tag\u{e0041} pua\u{e000} e\u{301}",
            "inputSchema": {"properties": {"a\u{200d}": {"description": "x\u{200b}y", "maximum": 3}}},
        });
        let expected = json!({
            "name": "look\u{fb01}", "description": "dots... nb sp zwj fi tag pua \u{e9}",
            "inputSchema": {"properties": {"a\u{200d}": {"description": "xy", "maximum": 3}}},
        });
        assert_eq!(plain(tool), expected);
        assert_eq!(plain(expected.clone()), expected);
    }
}
