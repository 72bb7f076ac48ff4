//! Turns the steps of an answer into bytes and pauses, exactly as the real API would put them on the wire.
//!
//! No socket here: a [`Script`] is a list of actions that the server plays.

use std::{collections::VecDeque, fmt::Write as _, time::Duration};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    ids::Ids,
    request::{InputUsage, tokens},
    scenario::{Fault, Form, LineEnd, Step},
    turn::{Allowance, Block, StopReason},
};

/// One thing the server does while it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Send(Bytes),
    Wait(Duration),
    /// The connection ends here, in the middle of whatever was promised.
    Cut,
}

pub type Script = VecDeque<Action>;

/// What every answer needs to know about its request.
#[derive(Debug)]
pub struct Envelope<'a> {
    pub model: &'a str,
    pub usage: InputUsage,
    pub max_tokens: u64,
    pub ids: &'a Ids,
    /// Pause before each piece of content.
    pub delay: Duration,
    pub form: &'a Form,
}

/// A field no client knows, so that a proxy that rebuilds messages instead of forwarding bytes is caught.
const MADE_UP_FIELD: &str = r#""x_fake_unknown":{"kept":[1,2.50,"\u00e9"]}"#;
/// Bytes sent before a cut need a moment to leave, or the reader sees only a closed connection.
const BEFORE_CUT: Duration = Duration::from_millis(20);
const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// The answer as server-sent events.
#[must_use]
pub fn stream(envelope: &Envelope<'_>, steps: Vec<Step>) -> Script {
    let mut stream = Stream::start(envelope);
    let mut allowance = Allowance::new(envelope.max_tokens);
    let mut faults = Vec::new();
    for step in steps {
        match step {
            Step::Block(block) => {
                if let Some(block) = allowance.admit(block) {
                    stream.block(&block);
                }
            }
            Step::Fault { after_events, fault } => faults.push((after_events.unwrap_or(stream.sent), fault)),
            Step::Understand => {}
        }
    }
    stream.end(allowance.stop());
    formed(faulty(stream.actions, faults), envelope.form)
}

/// The same events, written in another way that the format allows.
fn formed(script: Script, form: &Form) -> Script {
    if (form.line_end, form.bom, form.nameless) == (LineEnd::Lf, false, false) {
        return script;
    }
    let end = match form.line_end {
        LineEnd::Lf => "\n",
        LineEnd::Cr => "\r",
        LineEnd::CrLf => "\r\n",
    };
    let mut formed = Script::new();
    if form.bom {
        formed.push_back(Action::Send(Bytes::from_static("\u{feff}".as_bytes())));
    }
    for action in script {
        let Action::Send(bytes) = action else {
            formed.push_back(action);
            continue;
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.split_inclusive('\n').filter(|line| !(form.nameless && line.starts_with("event: ")));
        formed.push_back(Action::Send(lines.collect::<String>().replace('\n', end).into()));
    }
    formed
}

/// The answer as one JSON document; a fault in the middle of a stream becomes an early end of the body.
#[must_use]
pub fn whole(envelope: &Envelope<'_>, steps: Vec<Step>) -> (Script, usize) {
    let mut allowance = Allowance::new(envelope.max_tokens);
    let mut before = Script::new();
    let mut cut = false;
    let mut after = String::new();
    let mut blocks = Vec::new();
    for step in steps {
        match step {
            Step::Block(block) => blocks.extend(allowance.admit(block)),
            Step::Fault { fault: Fault::Stall(pause), .. } => before.push_back(Action::Wait(pause)),
            Step::Fault { fault: Fault::Cut, .. } => cut = true,
            Step::Fault { fault: Fault::Raw(text), .. } => after.push_str(&text),
            Step::Fault { .. } | Step::Understand => {}
        }
    }
    let body = Bytes::from(document(envelope, &blocks, allowance.stop()) + &after);
    let length = body.len();
    if cut {
        before.extend([Action::Send(body.slice(..length / 2)), Action::Wait(BEFORE_CUT), Action::Cut]);
    } else {
        before.push_back(Action::Send(body));
    }
    (before, length)
}

fn document(envelope: &Envelope<'_>, blocks: &[Block], stop: StopReason) -> String {
    let mut content = String::new();
    for block in blocks {
        if !content.is_empty() {
            content.push(',');
        }
        content.push_str(&finished_block(envelope.ids, block));
    }
    let output: u64 = blocks.iter().map(|block| tokens(block.bytes())).sum();
    let told = envelope.form.usage.as_ref().map(|told| told.deltas.last().unwrap_or(&told.start).clone());
    format!(
        r#"{{"model":{},"id":"{}","type":"message","role":"assistant","content":[{content}],"stop_reason":"{}","stop_sequence":null,"usage":{},{MADE_UP_FIELD}}}"#,
        quoted(envelope.model),
        envelope.ids.message(),
        stop.as_str(),
        told.unwrap_or_else(|| usage(envelope.usage, output.max(1))),
    )
}

fn finished_block(ids: &Ids, block: &Block) -> String {
    match block {
        Block::Text(text) => format!(r#"{{"type":"text","text":{}}}"#, quoted(text)),
        Block::Pieces { count, bytes } => {
            format!(r#"{{"type":"text","text":"{}"}}"#, "x".repeat(count.saturating_mul(*bytes)))
        }
        Block::Thinking(text) => {
            format!(r#"{{"type":"thinking","thinking":{},"signature":"{}"}}"#, quoted(text), signature(text))
        }
        Block::ToolUse { name, input } => {
            format!(r#"{{"type":"tool_use","id":"{}","name":{},"input":{input}}}"#, ids.tool_use(), quoted(name))
        }
    }
}

struct Stream<'a> {
    envelope: &'a Envelope<'a>,
    actions: Vec<Action>,
    /// Events so far.
    sent: usize,
    blocks: usize,
    output_tokens: u64,
}

impl<'a> Stream<'a> {
    fn start(envelope: &'a Envelope<'a>) -> Self {
        let mut stream = Self { envelope, actions: Vec::new(), sent: 0, blocks: 0, output_tokens: 0 };
        let told = envelope.form.usage.as_ref().map(|told| told.start.clone());
        stream.event(
            "message_start",
            &format!(
                r#""message":{{"model":{},"id":"{}","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"usage":{},{MADE_UP_FIELD}}}"#,
                quoted(envelope.model),
                envelope.ids.message(),
                told.unwrap_or_else(|| usage(envelope.usage, 1)),
            ),
            0,
        );
        stream
    }

    /// `padding`: the real API puts blanks before the last brace of some lines; a client must not care.
    fn event(&mut self, name: &str, fields: &str, padding: usize) {
        let comma = if fields.is_empty() { "" } else { "," };
        self.send(format!("event: {name}\ndata: {{\"type\":\"{name}\"{comma}{fields}{:padding$}}}\n\n", ""));
    }

    fn send(&mut self, bytes: impl Into<Bytes>) {
        self.actions.push(Action::Send(bytes.into()));
        self.sent += 1;
    }

    fn block(&mut self, block: &Block) {
        self.open(block);
        match block {
            Block::Text(text) => self.deltas("text_delta", "text", pieces(text, &[4, 17, 9, 26, 13])),
            Block::Pieces { count, bytes } => {
                let piece = "x".repeat(*bytes);
                self.deltas("text_delta", "text", std::iter::repeat_n(piece.as_str(), *count));
            }
            Block::Thinking(text) => {
                self.deltas("thinking_delta", "thinking", pieces(text, &[11, 29, 17]));
                self.deltas("signature_delta", "signature", std::iter::once(signature(text).as_str()));
            }
            Block::ToolUse { input, .. } => {
                let json = input.to_string();
                let first = std::iter::once("");
                self.deltas("input_json_delta", "partial_json", first.chain(pieces(&json, &[7, 12, 5, 19])));
            }
        }
        let index = self.blocks;
        self.event("content_block_stop", &format!(r#""index":{index}"#), index % 3);
        self.blocks += 1;
        self.output_tokens += tokens(block.bytes());
    }

    fn open(&mut self, block: &Block) {
        let shape = match block {
            Block::Text(_) | Block::Pieces { .. } => r#"{"type":"text","text":""}"#.to_owned(),
            Block::Thinking(_) => r#"{"type":"thinking","thinking":"","signature":""}"#.to_owned(),
            Block::ToolUse { name, .. } => {
                let id = self.envelope.ids.tool_use();
                format!(r#"{{"type":"tool_use","id":"{id}","name":{},"input":{{}}}}"#, quoted(name))
            }
        };
        let index = self.blocks;
        self.event("content_block_start", &format!(r#""index":{index},"content_block":{shape}"#), 0);
        if index == 0 {
            self.send(PING);
        }
    }

    fn deltas<'b>(&mut self, kind: &str, field: &str, pieces: impl Iterator<Item = &'b str>) {
        let index = self.blocks;
        for (number, piece) in pieces.enumerate() {
            if !self.envelope.delay.is_zero() {
                self.actions.push(Action::Wait(self.envelope.delay));
            }
            let delta = format!(r#""index":{index},"delta":{{"type":"{kind}","{field}":{}}}"#, quoted(piece));
            self.event("content_block_delta", &delta, number * 5 % 9);
        }
    }

    fn end(&mut self, stop: StopReason) {
        let truth = || vec![cumulative(self.envelope.usage, self.output_tokens.max(1))];
        for usage in self.envelope.form.usage.as_ref().map_or_else(truth, |told| told.deltas.clone()) {
            let delta = format!(r#""delta":{{"stop_reason":"{}","stop_sequence":null}},"usage":{usage}"#, stop.as_str());
            self.event("message_delta", &delta, 0);
        }
        self.event("message_stop", "", 8);
    }
}

/// Puts faults at their places, the last first so that the places of the others stay true.
fn faulty(actions: Vec<Action>, mut faults: Vec<(usize, Fault)>) -> Script {
    let mut actions = actions;
    faults.sort_by_key(|(after, _)| std::cmp::Reverse(*after));
    for (after, fault) in faults {
        let place = place_after(&actions, after);
        let rest = actions.split_off(place);
        match fault {
            Fault::Stall(pause) => actions.push(Action::Wait(pause)),
            Fault::UnknownEvent(name) => actions.push(Action::Send(unknown_event(&name).into())),
            Fault::OversizeLine(bytes) => actions.push(Action::Send(oversize(bytes).into())),
            Fault::Raw(text) => actions.push(Action::Send(text.into())),
            Fault::Error { kind, message } => {
                actions.push(Action::Send(error_event(&kind, &message).into()));
                continue;
            }
            Fault::Cut => {
                actions.extend(half(&rest));
                actions.extend([Action::Wait(BEFORE_CUT), Action::Cut]);
                continue;
            }
        }
        actions.extend(rest);
    }
    actions.into()
}

/// The place behind the given number of events.
fn place_after(actions: &[Action], events: usize) -> usize {
    let sends = actions.iter().enumerate().filter(|(_, action)| matches!(action, Action::Send(_)));
    match events {
        0 => 0,
        _ => sends.map(|(place, _)| place + 1).nth(events - 1).unwrap_or(actions.len()),
    }
}

fn half(rest: &[Action]) -> Option<Action> {
    rest.iter().find_map(|action| match action {
        Action::Send(bytes) => Some(Action::Send(bytes.slice(..bytes.len() / 2))),
        Action::Wait(_) | Action::Cut => None,
    })
}

fn unknown_event(name: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":{},\"nested\":{{\"list\":[1,2,3]}}}}\n\n", quoted(name))
}

fn oversize(bytes: usize) -> String {
    format!("event: ping\ndata: {{\"type\":\"ping\",\"padding\":\"{}\"}}\n\n", "x".repeat(bytes))
}

/// An error after the 200: the stream ends with it.
fn error_event(kind: &str, message: &str) -> String {
    format!(
        "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"details\":null,\"type\":{},\"message\":{}}}}}\n\n",
        quoted(kind),
        quoted(message)
    )
}

fn usage(input: InputUsage, output_tokens: u64) -> String {
    let mut text = String::with_capacity(256);
    // Writing to a string can't fail.
    let _ = write!(
        text,
        r#"{{"input_tokens":{},"cache_creation_input_tokens":{write},"cache_read_input_tokens":{},"cache_creation":{{"ephemeral_5m_input_tokens":{write},"ephemeral_1h_input_tokens":0}},"output_tokens":{output_tokens},"service_tier":"standard"}}"#,
        input.uncached,
        input.cache_read,
        write = input.cache_write,
    );
    text
}

fn cumulative(input: InputUsage, output_tokens: u64) -> String {
    format!(
        r#"{{"input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{},"output_tokens":{output_tokens}}}"#,
        input.uncached, input.cache_write, input.cache_read
    )
}

/// Looks like a signature, means nothing: base64 letters of the right sort of length.
fn signature(text: &str) -> String {
    let mut signature: String = text.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    signature.insert_str(0, "EqoBCkgIBRABGAIiQ");
    signature.push_str("==");
    signature
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Cuts a text between characters into pieces of about the given sizes, in turn.
fn pieces<'t>(text: &'t str, sizes: &'t [usize]) -> impl Iterator<Item = &'t str> {
    let mut rest = text;
    sizes.iter().cycle().map_while(move |size| {
        let end = rest.ceil_char_boundary(*size);
        let (piece, after) = rest.split_at_checked(end)?;
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
