//! How long a tool's result may be for a model. Without this bound an agent puts a long one into a file of its own and shows the
//! model its beginning, and an agent that has no tool for files is left with that.

use super::picture;
use serde_json::{Value, json};

/// Characters as JavaScript counts them; the agent keeps up to 50,000 in the conversation.
const CHARS_MAX: usize = 44_000;
/// Blocks of one result.
const BLOCKS_MAX: usize = 100;
/// An image's bytes in base 64; the agent makes a larger one smaller.
const IMAGE_BYTES_MAX: usize = 1 << 20;

/// Cuts the texts of a `CallToolResult` where they are too long together, and says so. Structured content that is too long is left
/// out, because half of it means nothing; the texts beside it say the same.
pub(crate) fn capped(result: Value) -> Value {
    cut_down(result, as_text)
}

/// The same for a client that is not the agent, and shows what it likes.
pub(crate) fn bounded(result: Value) -> Value {
    cut_down(result, small)
}

fn cut_down(mut result: Value, each: fn(&mut Value)) -> Value {
    // A question of the server's has bounds of its own, and no content.
    if result.as_object().is_some_and(super::asks) {
        return result;
    }
    let Some(fields) = result.as_object_mut() else { return result };
    if fields.get("structuredContent").is_some_and(|structured| units(&structured.to_string()) > CHARS_MAX) {
        fields.remove("structuredContent");
    }
    let mut left = CHARS_MAX;
    if let Some(blocks) = fields.get_mut("content").and_then(Value::as_array_mut) {
        let more = blocks.len().saturating_sub(BLOCKS_MAX);
        blocks.truncate(BLOCKS_MAX);
        if more > 0 {
            blocks.push(json!({"type": "text", "text": format!("[{more} parts more were left out. Ask for less at a time.]")}));
        }
        blocks.iter_mut().for_each(each);
    }
    for block in fields.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
        let place = match block.get("type").and_then(Value::as_str) {
            Some("text") => "/text",
            Some("resource") => "/resource/text",
            _ => continue,
        };
        let Some(Value::String(text)) = block.pointer_mut(place) else { continue };
        let length = units(text);
        if length > left {
            cut(text, left);
            text.push_str(&format!("\n[{} characters more were left out. Ask for less at a time.]", length - left));
        }
        left = left.saturating_sub(length);
    }
    if fields.get("content").is_none_or(Value::is_null) {
        fields.insert("content".to_owned(), json!([]));
    }
    result
}

/// What the agent would turn into a file of its own, or into something else, is named instead.
fn as_text(block: &mut Value) {
    let kind = block.get("type").and_then(Value::as_str).unwrap_or_default();
    let large = |at: &str| block.pointer(at).and_then(Value::as_str).is_some_and(|data| data.len() > IMAGE_BYTES_MAX);
    let shown = match kind {
        "text" | "resource_link" => true,
        "image" => !large("/data") && block.get("data").and_then(Value::as_str).is_some_and(picture::is_small),
        "resource" => block.pointer("/resource/text").is_some_and(Value::is_string),
        _ => false,
    };
    if !shown {
        *block = json!({"type": "text", "text": format!("[A part of the result can't be shown here: {}]", short(kind))});
    }
}

/// What is too large is named instead.
fn small(block: &mut Value) {
    let large = |at: &str| block.pointer(at).and_then(Value::as_str).is_some_and(|data| data.len() > IMAGE_BYTES_MAX);
    if large("/data") || large("/resource/blob") {
        let kind = short(block.get("type").and_then(Value::as_str).unwrap_or_default());
        *block = json!({"type": "text", "text": format!("[A part of the result is too large to be shown here: {kind}]")});
    }
}

fn short(kind: &str) -> String {
    kind.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(32).collect()
}

fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

fn cut(text: &mut String, units_max: usize) {
    let mut units = 0;
    let end = text.char_indices().find(|(_, c)| {
        units += c.len_utf16();
        units > units_max
    });
    if let Some((end, _)) = end {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_stays_as_it_is() {
        let result = json!({"content": [{"type": "text", "text": "a"}], "structuredContent": {"a": 1}, "new": true});
        assert_eq!(capped(result.clone()), result);
        assert_eq!(capped(json!({"structuredContent": {}})), json!({"structuredContent": {}, "content": []}));
    }

    #[test]
    fn what_is_long_is_cut_once_and_says_so() {
        let long = "\u{1f600}".repeat(30_000);
        let result = capped(json!({"content": [{"type": "text", "text": long}, {"type": "text", "text": "more"}]}));
        let text = |at: &str| result.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        assert_eq!(units(&text("/content/0/text").replace(|c: char| c != '\u{1f600}', "")), CHARS_MAX);
        assert!(text("/content/0/text").ends_with("[16000 characters more were left out. Ask for less at a time.]"));
        assert_eq!(text("/content/1/text"), "\n[4 characters more were left out. Ask for less at a time.]");
        let structured =
            capped(json!({"content": [{"type": "text", "text": "short"}], "structuredContent": {"a": "x".repeat(60_000)}}));
        assert_eq!(structured, json!({"content": [{"type": "text", "text": "short"}]}));
        let many = capped(json!({"content": vec![json!({"type": "text", "text": "x"}); 150]}));
        assert_eq!(many.pointer("/content/100/text"), Some(&json!("[50 parts more were left out. Ask for less at a time.]")));
    }

    #[test]
    fn a_client_that_is_no_agent_gets_what_it_may_show_within_bounds() {
        let blob = |bytes: usize| json!({"type": "resource", "resource": {"uri": "a", "blob": "A".repeat(bytes)}});
        let audio = |bytes: usize| json!({"type": "audio", "data": "A".repeat(bytes), "mimeType": "audio/wav"});
        let small = json!({"content": [audio(8), blob(8), {"type": "text", "text": "x"}], "isError": false});
        assert_eq!(bounded(small.clone()), small);
        let seen = bounded(json!({"content": [audio(2 << 20), blob(2 << 20), {"type": "text", "text": "x".repeat(50_000)}]}));
        for at in [0, 1] {
            let text = seen.pointer(&format!("/content/{at}/text")).and_then(Value::as_str).unwrap_or_default();
            assert!(text.contains("too large"), "{text}");
        }
        let text = seen.pointer("/content/2/text").and_then(Value::as_str).unwrap_or_default();
        // What names the two others counts as well.
        let kept = units(&text.replace(|c: char| c != 'x', ""));
        let left_out = format!("[{} characters more were left out. Ask for less at a time.]", 50_000 - kept);
        assert!((43_000..44_000).contains(&kept) && text.ends_with(&left_out), "{kept}");
    }

    #[test]
    fn what_can_t_be_shown_is_named() {
        let blob = json!({"type": "resource", "resource": {"uri": "a", "blob": "QUJD"}});
        let large = json!({"type": "image", "data": "A".repeat(2 << 20), "mimeType": "image/png"});
        let small = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
        // What does not say how large it is may be anything.
        let odd = json!({"type": "image", "data": "QUJD"});
        let seen =
            capped(json!({"content": [{"type": "audio", "data": "QUJD"}, blob, large, odd, {"type": "image", "data": small}]}));
        for (at, kind) in [(0, "audio"), (1, "resource"), (2, "image"), (3, "image")] {
            let text = format!("[A part of the result can't be shown here: {kind}]");
            assert_eq!(seen.pointer(&format!("/content/{at}/text")), Some(&json!(text)));
        }
        assert_eq!(seen.pointer("/content/4/type"), Some(&json!("image")), "a small one is");
    }
}
