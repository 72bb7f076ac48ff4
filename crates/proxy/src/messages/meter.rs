//! The meter: reads usage, text and emitted tool calls out of the provider's answer while it passes. Pure; parses, never acts.

use super::events::{Block, Delta, Event, Measured, Message, Text};
use super::sse::SseScanner;
use super::used::{UsageFields, Used};
use policy::{CacheWrites, Usage};
use serde_json::Value;
use std::collections::BTreeMap;

/// What the meter saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A piece of text.
    Text(String),
    /// A tool call begins.
    ToolStarted {
        /// The `tool_use` id.
        id: String,
        /// The name as the model said it.
        name: String,
    },
    /// A tool call is complete.
    Tool {
        /// The `tool_use` id.
        id: String,
        /// The name as the model said it.
        name: String,
        /// Its arguments.
        input: Value,
    },
    /// A text is complete.
    Said(String),
    /// A thought is complete: its words (or its data) and its signature.
    Thought(String, String),
    /// A tool call whose arguments are no JSON, or too long, is complete.
    Malformed {
        /// The `tool_use` id.
        id: String,
        /// The name as the model said it.
        name: String,
    },
    /// The model came to its end by itself: nothing was cut off.
    Ended,
    /// The provider reports an error in the middle of a stream.
    Error(String),
}

/// Tool arguments longer than this are not taken as emitted.
const INPUT_BYTES_MAX: usize = 1 << 20;
const BLOCKS_MAX: usize = 1024;

/// A `tool_use` block in the making.
struct OpenTool {
    id: String,
    name: String,
    json: String,
    /// A part was left out, so the rest is not what the model said.
    overlong: bool,
    whole: Option<Value>,
}

/// Words in the making.
#[derive(Default)]
struct OpenWords {
    text: String,
    signature: String,
    thinking: bool,
}

impl OpenWords {
    /// Of a block of this kind, with what it begins with: text, thinking or data, and a signature.
    fn of(kind: &str, [text, thinking, data]: [Option<&Text<'_>>; 3], signature: Option<&Text<'_>>) -> Option<Self> {
        let text = match kind {
            "text" => text,
            "thinking" => thinking,
            "redacted_thinking" => data,
            _ => return None,
        };
        let owned = |text: Option<&Text<'_>>| text.map(|text| text.0.to_string()).unwrap_or_default();
        Some(Self { text: owned(text), signature: owned(signature), thinking: kind != "text" })
    }

    fn end(self) -> Seen {
        if self.thinking { Seen::Thought(self.text, self.signature) } else { Seen::Said(self.text) }
    }
}

/// One answer being metered.
pub struct Meter {
    /// The model that was permitted: another one's usage can't be priced.
    model: String,
    scanner: SseScanner,
    used: Used,
    /// The stream's last usage came with a stop reason: it is the final one.
    complete: bool,
    failed: bool,
    /// The model said something, so it used at least one token of output.
    said: bool,
    /// Nobody asks what was said.
    usage_only: bool,
    /// The stop reason is one of the model's own.
    ended: bool,
    tools: BTreeMap<u64, OpenTool>,
    words: BTreeMap<u64, OpenWords>,
}

impl Meter {
    /// For an answer of this model.
    #[must_use]
    pub fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            scanner: SseScanner::default(),
            used: Used::new(model, CacheWrites::OneHour),
            complete: false,
            failed: false,
            said: false,
            usage_only: false,
            ended: false,
            tools: BTreeMap::new(),
            words: BTreeMap::new(),
        }
    }

    /// For an answer of which only the usage and the provider's errors matter; nothing of its content is read or told.
    #[must_use]
    pub fn for_usage_only(model: &str) -> Self {
        Self { usage_only: true, ..Self::new(model) }
    }

    /// For an answer to a request that lets the provider write such caches; the dearest, unless this is said.
    #[must_use]
    pub fn allowing(mut self, writes: CacheWrites) -> Self {
        self.used = Used::new(&self.model, writes);
        self
    }

    /// Whether nothing of the content is told.
    pub(super) const fn only_counts(&self) -> bool {
        self.usage_only
    }

    /// Nothing that it says of usage is taken: what comes is not what the client will read.
    pub const fn distrust(&mut self) {
        self.failed = true;
    }

    /// Reads the next chunk of a stream.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Seen> {
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut seen = Vec::new();
        scanner.push(chunk, |data| self.event(data, &mut seen));
        self.scanner = scanner;
        seen
    }

    /// Reads a whole answer that is not a stream.
    pub fn whole(&mut self, body: &[u8]) -> Vec<Seen> {
        if self.usage_only {
            if let Ok(Measured { model, usage, content }) = serde_json::from_slice(body) {
                self.said = !content.is_empty();
                self.measured(model.as_ref(), usage.as_ref());
            }
            return Vec::new();
        }
        let Ok(message) = serde_json::from_slice::<Message<'_>>(body) else { return Vec::new() };
        self.said = !message.content.is_empty();
        self.measured(message.model.as_ref(), message.usage.as_ref());
        let ended = ends_by_itself(message.stop_reason.as_ref());
        message.content.into_iter().flat_map(whole_block).chain(ended.then_some(Seen::Ended)).collect()
    }

    fn measured(&mut self, model: Option<&Text<'_>>, usage: Option<&UsageFields>) {
        self.answered_by(model);
        if let Some(usage) = usage {
            self.used.update(usage);
            self.complete = true;
        }
    }

    /// What was used, once that is known for sure. Without a prompt, or words without output, it is no measure.
    #[must_use]
    pub fn final_usage(&self) -> Option<Usage> {
        let known = self.complete && !self.failed && !self.scanner.overflowed();
        let possible = |usage: &Usage| usage.prompt() > 0 && (usage.output > 0 || !self.said);
        if known { self.used.usage().filter(possible) } else { None }
    }

    fn event(&mut self, data: &[u8], seen: &mut Vec<Seen>) {
        if data.is_empty() {
            return;
        }
        if self.usage_only
            && let Some(kind) = content_only(data)
        {
            self.said |= kind == DELTA;
            return;
        }
        // What can't be read may have been the usage: then nothing is known.
        let Ok(event) = serde_json::from_slice::<Event<'_>>(data) else {
            self.failed = true;
            return;
        };
        match event.kind.0.as_ref() {
            "message_start" => {
                if let Some(message) = event.message {
                    self.answered_by(message.model.as_ref());
                    if let Some(usage) = &message.usage {
                        self.used.update(usage);
                    }
                }
            }
            "content_block_start" if !self.usage_only => self.block_start(event.index, event.content_block, seen),
            "content_block_delta" => {
                self.said = true;
                if !self.usage_only {
                    self.block_delta(event.index, event.delta, seen);
                }
            }
            "content_block_stop" if !self.usage_only => self.block_stop(event.index, seen),
            "message_delta" => {
                let reason = event.delta.and_then(|delta| delta.stop_reason);
                self.ended |= ends_by_itself(reason.as_ref());
                let stopped = reason.is_some();
                if let Some(usage) = &event.usage {
                    self.used.update(usage);
                    self.complete |= stopped;
                }
            }
            "message_stop" if self.ended && !self.usage_only => seen.push(Seen::Ended),
            "error" => {
                self.failed = true;
                let text = event
                    .error
                    .map_or_else(|| "unknown error".to_owned(), |error| format!("{}: {}", error.kind.0, error.message.0));
                seen.push(Seen::Error(text));
            }
            _ => {}
        }
    }

    fn answered_by(&mut self, model: Option<&Text<'_>>) {
        let other = |model: &str| model != self.model && !policy::is_version_of(model, &self.model);
        self.failed |= model.is_some_and(|Text(model)| other(model));
    }

    fn block_start(&mut self, index: Option<u64>, block: Option<Block<'_>>, seen: &mut Vec<Seen>) {
        let (Some(index), Some(block)) = (index, block) else { return };
        match (block.kind.0.as_ref(), block.id, block.name) {
            ("tool_use", Some(Text(id)), Some(Text(name))) if self.tools.len() < BLOCKS_MAX => {
                let (id, name) = (id.into_owned(), name.into_owned());
                seen.push(Seen::ToolStarted { id: id.clone(), name: name.clone() });
                self.tools.insert(index, OpenTool { id, name, json: String::new(), overlong: false, whole: block.input });
            }
            (kind, _, _) if self.words.len() < BLOCKS_MAX => {
                let Some(words) = OpenWords::of(
                    kind,
                    [block.text.as_ref(), block.thinking.as_ref(), block.data.as_ref()],
                    block.signature.as_ref(),
                ) else {
                    return;
                };
                self.words.insert(index, words);
                seen.extend(block.text.filter(|text| !text.0.is_empty()).map(|text| Seen::Text(text.0.into_owned())));
            }
            _ => {}
        }
    }

    fn block_delta(&mut self, index: Option<u64>, delta: Option<Delta<'_>>, seen: &mut Vec<Seen>) {
        let Some(delta) = delta else { return };
        match delta.kind.as_ref().map(|kind| kind.0.as_ref()) {
            Some("text_delta") => {
                if let Some(Text(text)) = delta.text {
                    self.open_words(index, |words| words.text.push_str(&text));
                    seen.push(Seen::Text(text.into_owned()));
                }
            }
            Some("thinking_delta") => {
                self.open_words(index, |words| words.text.push_str(delta.thinking.as_ref().map_or("", |text| &text.0)));
            }
            Some("signature_delta") => {
                self.open_words(index, |words| words.signature.push_str(delta.signature.as_ref().map_or("", |text| &text.0)));
            }
            Some("input_json_delta") => {
                let tool = index.and_then(|index| self.tools.get_mut(&index));
                if let (Some(tool), Some(Text(part))) = (tool, delta.partial_json) {
                    tool.overlong |= tool.json.len() + part.len() > INPUT_BYTES_MAX;
                    if !tool.overlong {
                        tool.json.push_str(&part);
                    }
                }
            }
            Some(_) | None => {}
        }
    }

    fn open_words(&mut self, index: Option<u64>, change: impl FnOnce(&mut OpenWords)) {
        if let Some(words) = index.and_then(|index| self.words.get_mut(&index)) {
            change(words);
        }
    }

    /// The texts that nothing was added to any more, because the answer broke off.
    pub fn broke_off(&mut self) -> Vec<Seen> {
        let texts = std::mem::take(&mut self.words).into_values().filter(|words| !words.thinking && !words.text.is_empty());
        texts.map(|words| Seen::Said(words.text)).collect()
    }

    fn block_stop(&mut self, index: Option<u64>, seen: &mut Vec<Seen>) {
        seen.extend(index.and_then(|index| self.words.remove(&index)).map(OpenWords::end));
        let Some(tool) = index.and_then(|index| self.tools.remove(&index)) else { return };
        let input = if tool.json.is_empty() { tool.whole } else { serde_json::from_str(&tool.json).ok() };
        // Arguments that are not JSON (or were too long) were not emitted as any call's arguments.
        seen.push(match input.filter(|_| !tool.overlong) {
            Some(input) => Seen::Tool { id: tool.id, name: tool.name, input },
            None => Seen::Malformed { id: tool.id, name: tool.name },
        });
    }
}

const DELTA: &str = "content_block_delta";
/// Events in which usage never stands.
const CONTENT: [&str; 4] = [DELTA, "content_block_start", "content_block_stop", "ping"];

/// Which event without usage this is, if it begins as the provider writes one. Whatever begins otherwise is read as a whole.
fn content_only(data: &[u8]) -> Option<&'static str> {
    let rest = data.strip_prefix(b"{\"type\":")?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest).strip_prefix(b"\"")?;
    CONTENT.into_iter().find(|kind| {
        let end = rest.strip_prefix(kind.as_bytes()).and_then(|rest| rest.strip_prefix(b"\""));
        end.is_some_and(|end| matches!(end, [b',' | b'}', ..]))
    })
}

fn whole_block(block: Block<'_>) -> Vec<Seen> {
    match (block.kind.0.as_ref(), block.id, block.name, block.input) {
        ("tool_use", Some(Text(id)), Some(Text(name)), Some(input)) => {
            vec![Seen::Tool { id: id.into_owned(), name: name.into_owned(), input }]
        }
        (kind, _, _, _) => {
            let text = (kind == "text").then(|| block.text.as_ref().map(|text| Seen::Text(text.0.to_string()))).flatten();
            let words = OpenWords::of(
                kind,
                [block.text.as_ref(), block.thinking.as_ref(), block.data.as_ref()],
                block.signature.as_ref(),
            );
            text.into_iter().chain(words.map(OpenWords::end)).collect()
        }
    }
}

/// Whether nothing that the model was saying was cut off.
fn ends_by_itself(reason: Option<&Text<'_>>) -> bool {
    reason.is_some_and(|reason| matches!(reason.0.as_ref(), "end_turn" | "tool_use" | "stop_sequence"))
}

#[cfg(test)]
#[path = "meter_golden.rs"]
mod golden;

#[cfg(test)]
#[path = "meter_fuzz.rs"]
#[expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]
mod fuzz;

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use serde_json::json;

    fn stream(events: &[Value]) -> Vec<u8> {
        events
            .iter()
            .flat_map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("x")).into_bytes())
            .collect()
    }

    fn tool_stream() -> Vec<u8> {
        stream(&[
            json!({"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1, "cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 5}}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi \"usage\""}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "mcp__m__add", "input": {}}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":"}}),
            json!({"type": "ping"}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "1.0}"}}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "something_new", "usage": {"input_tokens": 99}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 20}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 25, "input_tokens": 11}}),
            json!({"type": "message_stop"}),
        ])
    }

    #[test]
    fn the_last_cumulative_usage_counts_at_every_chunk_split() {
        let bytes = tool_stream();
        for size in [1, 2, 3, 7, 64, bytes.len()] {
            let mut meter = Meter::new("m");
            let seen: Vec<Seen> = bytes.chunks(size).flat_map(|chunk| meter.push(chunk)).collect();
            let expected = Usage { input: 11, output: 25, cache_write_5m: 5, cache_write_1h: 2, ..Usage::default() };
            assert_eq!(meter.final_usage(), Some(expected), "chunks of {size}");
            let call = Seen::Tool { id: "toolu_1".to_owned(), name: "mcp__m__add".to_owned(), input: json!({"a": 1.0}) };
            assert!(seen.contains(&Seen::Text("Hi \"usage\"".to_owned())) && seen.contains(&call), "{seen:?}");
        }
    }

    #[test]
    fn a_cut_or_failed_stream_has_no_final_usage() {
        let bytes = tool_stream();
        let cut = bytes.windows(13).position(|window| window == b"message_delta").expect("it is there");
        let mut meter = Meter::new("m");
        meter.push(&bytes[..cut]);
        assert_eq!(meter.final_usage(), None);
        let mut meter = Meter::new("m");
        let seen = meter.push(&stream(&[json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})]));
        assert_eq!((seen, meter.final_usage()), (vec![Seen::Error("overloaded_error: busy".to_owned())], None));
    }

    #[test]
    fn another_models_usage_or_an_unreadable_event_is_no_measure() {
        let answer = |model: &str, garbage: &str| {
            let start =
                json!({"type": "message_start", "message": {"model": model, "usage": {"input_tokens": 1, "output_tokens": 1}}});
            let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}});
            let mut meter = Meter::new("m");
            meter.push(&stream(&[start]));
            meter.push(garbage.as_bytes());
            meter.push(&stream(&[end]));
            meter.final_usage().is_some()
        };
        assert!(answer("m", "") && answer("m-20260101", ": comment\n\n"));
        assert!(!answer("dearer", "") && !answer("m", "data: {not json\n\n"));
    }

    #[test]
    fn a_tool_call_with_broken_arguments_was_not_emitted() {
        let mut meter = Meter::new("m");
        let seen = meter.push(&stream(&[
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "n", "input": {}}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":"}}),
            json!({"type": "content_block_stop", "index": 0}),
        ]));
        assert!(!seen.iter().any(|seen| matches!(seen, Seen::Tool { .. })), "{seen:?}");
    }

    #[test]
    fn a_whole_answer_is_read_like_a_stream() {
        let mut meter = Meter::new("m");
        let body = json!({"content": [{"type": "text", "text": "a"}, {"type": "tool_use", "id": "t", "name": "n", "input": {"x": 1}}, {"type": "new"}], "usage": {"input_tokens": 3, "output_tokens": 4}});
        let seen = meter.whole(body.to_string().as_bytes());
        assert_eq!(seen[..2], [Seen::Text("a".to_owned()), Seen::Said("a".to_owned())]);
        assert_eq!((seen.len(), matches!(seen[2], Seen::Tool { .. })), (3, true), "without a reason to stop it did not end");
        assert_eq!(meter.final_usage(), Some(Usage { input: 3, output: 4, ..Usage::default() }));
    }
}
