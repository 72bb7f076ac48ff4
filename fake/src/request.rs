//! Reads the body of `POST /v1/messages` the way the real API judges it: what is missing or out of order is
//! answered with the sentence the real API would use, because clients match on that wording.

use serde_json::{Map, Value};

/// The parts of a Messages request that decide what is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct MessagesRequest {
    pub model: String,
    pub max_tokens: u64,
    pub stream: bool,
    /// Names as the client sent them, with its prefix (`mcp__hexmap__addItem`).
    pub tools: Vec<String>,
    /// Neighbours of one role are merged, as the real API does.
    pub messages: Vec<Message>,
    pub usage: InputUsage,
}

/// Tokens of the prompt, counted as bytes divided by four: wrong in the same way every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputUsage {
    pub uncached: u64,
    pub cache_write: u64,
    pub cache_read: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub role: Role,
    pub blocks: Vec<Block>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    Text(String),
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        text: String,
        is_error: bool,
    },
    /// Thinking, images and whatever the API learns next.
    Other,
}

/// What the real API says in an `invalid_request_error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

const BYTES_PER_TOKEN: usize = 4;

/// Counts tokens as the whole crate does; never zero for something that is there.
#[must_use]
pub fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

impl MessagesRequest {
    /// Parses and checks a body.
    ///
    /// # Errors
    /// [`Invalid`] with the sentence for the client.
    pub fn parse(body: &[u8]) -> Result<Self, Invalid> {
        let mut fields = object(body)?;
        let model = required_text(&mut fields, "model")?;
        let max_tokens = positive(&mut fields, "max_tokens")?;
        let stream = optional_bool(&mut fields, "stream")?;
        let tools = tool_names(fields.get("tools"))?;
        let raw = required_messages(&mut fields)?;
        let usage = input_usage(body, &raw);
        let messages = merged(raw)?;
        check_order(&messages)?;
        Ok(Self { model, max_tokens, stream, tools, messages, usage })
    }

    /// The tool whose name ends in `suffix` after the client's prefix, as the client wrote it.
    #[must_use]
    pub fn tool(&self, suffix: &str) -> Option<&str> {
        self.tools.iter().map(String::as_str).find(|name| base_name(name) == suffix)
    }
}

/// The count that `POST /v1/messages/count_tokens` answers; it needs no `max_tokens`.
///
/// # Errors
/// [`Invalid`] with the sentence for the client.
pub fn count_tokens(body: &[u8]) -> Result<u64, Invalid> {
    let mut fields = object(body)?;
    required_text(&mut fields, "model")?;
    merged(required_messages(&mut fields)?)?;
    Ok(tokens(body.len()))
}

/// A tool's own name without the prefix an MCP client puts before it.
#[must_use]
pub fn base_name(name: &str) -> &str {
    name.rsplit("__").next().unwrap_or(name)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Invalid> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Invalid("Input should be an object".into())),
        Err(error) => Err(Invalid(format!("The request body is not valid JSON: {error}"))),
    }
}

fn required_text(fields: &mut Map<String, Value>, name: &str) -> Result<String, Invalid> {
    match fields.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(Value::String(_)) => Err(Invalid(format!("{name}: String should have at least 1 character"))),
        Some(_) => Err(Invalid(format!("{name}: Input should be a valid string"))),
        None => Err(Invalid(format!("{name}: Field required"))),
    }
}

fn positive(fields: &mut Map<String, Value>, name: &str) -> Result<u64, Invalid> {
    let value = fields.remove(name).ok_or_else(|| Invalid(format!("{name}: Field required")))?;
    match value.as_u64() {
        Some(0) => Err(Invalid(format!("{name}: Input should be greater than or equal to 1"))),
        Some(number) => Ok(number),
        None => Err(Invalid(format!("{name}: Input should be a valid integer"))),
    }
}

fn optional_bool(fields: &mut Map<String, Value>, name: &str) -> Result<bool, Invalid> {
    match fields.remove(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(value),
        Some(_) => Err(Invalid(format!("{name}: Input should be a valid boolean"))),
    }
}

fn tool_names(tools: Option<&Value>) -> Result<Vec<String>, Invalid> {
    let Some(tools) = tools else { return Ok(Vec::new()) };
    let list = tools.as_array().ok_or_else(|| Invalid("tools: Input should be a valid list".into()))?;
    list.iter()
        .enumerate()
        .map(|(index, tool)| {
            let name = tool.get("name").and_then(Value::as_str);
            name.map(str::to_owned).ok_or_else(|| Invalid(format!("tools.{index}.name: Field required")))
        })
        .collect()
}

fn required_messages(fields: &mut Map<String, Value>) -> Result<Vec<Value>, Invalid> {
    match fields.remove("messages") {
        Some(Value::Array(list)) if list.is_empty() => Err(Invalid("messages: at least one message is required".into())),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(Invalid("messages: Input should be a valid list".into())),
        None => Err(Invalid("messages: Field required".into())),
    }
}

/// With caching asked for, the first request writes the cache and a later one reads all but its newest message,
/// so that a meter which forgets one of the three counts is caught.
fn input_usage(body: &[u8], messages: &[Value]) -> InputUsage {
    let total = tokens(body.len());
    if memchr::memmem::find(body, b"\"cache_control\"").is_none() {
        return InputUsage { uncached: total, ..InputUsage::default() };
    }
    let newest = messages.last().and_then(|last| serde_json::to_vec(last).ok()).map_or(0, |last| last.len());
    let uncached = tokens(newest).min(total);
    let cached = total - uncached;
    let begun = messages.iter().any(|message| message.get("role").and_then(Value::as_str) == Some("assistant"));
    if !begun {
        InputUsage { uncached, cache_write: cached, cache_read: 0 }
    } else {
        InputUsage { uncached, cache_write: 0, cache_read: cached }
    }
}

fn merged(list: Vec<Value>) -> Result<Vec<Message>, Invalid> {
    let mut messages: Vec<Message> = Vec::with_capacity(list.len());
    for (index, value) in list.into_iter().enumerate() {
        let Some(message) = message(index, value)? else { continue };
        match messages.last_mut() {
            Some(last) if last.role == message.role => last.blocks.extend(message.blocks),
            _ => messages.push(message),
        }
    }
    Ok(messages)
}

/// `None` is a system message between the turns, which newer models allow and which changes nothing here.
fn message(index: usize, value: Value) -> Result<Option<Message>, Invalid> {
    let Value::Object(mut fields) = value else {
        return Err(Invalid(format!("messages.{index}: Input should be an object")));
    };
    let role = match fields.get("role").and_then(Value::as_str) {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => return Ok(None),
        Some(_) => return Err(Invalid(format!("messages.{index}.role: Input should be 'user' or 'assistant'"))),
        None => return Err(Invalid(format!("messages.{index}.role: Field required"))),
    };
    let blocks = match fields.remove("content") {
        Some(Value::String(text)) => vec![Block::Text(text)],
        Some(Value::Array(list)) => {
            list.into_iter().enumerate().map(|(place, block)| content(index, place, block)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(Invalid(format!("messages.{index}.content: Input should be a valid list"))),
        None => return Err(Invalid(format!("messages.{index}.content: Field required"))),
    };
    Ok(Some(Message { role, blocks }))
}

fn content(message: usize, place: usize, value: Value) -> Result<Block, Invalid> {
    let missing = |field: &str| Invalid(format!("messages.{message}.content.{place}.{field}: Field required"));
    let Value::Object(mut fields) = value else {
        return Err(Invalid(format!("messages.{message}.content.{place}: Input should be an object")));
    };
    let mut text = |name: &'static str| match fields.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(missing(name)),
    };
    match text("type")?.as_str() {
        "text" => Ok(Block::Text(text("text")?)),
        "tool_use" => {
            let (id, name) = (text("id")?, text("name")?);
            let input = fields.remove("input").ok_or_else(|| missing("input"))?;
            Ok(Block::ToolUse { id, name, input })
        }
        "tool_result" => {
            let tool_use_id = text("tool_use_id")?;
            let is_error = fields.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            Ok(Block::ToolResult { tool_use_id, text: result_text(fields.get("content")), is_error })
        }
        _ => Ok(Block::Other),
    }
}

fn result_text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => unmarked(text),
        Some(Value::Array(blocks)) => {
            let texts: Vec<&str> = blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)).collect();
            unmarked(&texts.join("\n"))
        }
        _ => String::new(),
    }
}

/// A model reads over a line in brackets that says what the rest is.
fn unmarked(text: &str) -> String {
    let rest = text.strip_prefix("[What follows").and_then(|rest| rest.split_once("]\n"));
    rest.map_or_else(|| text.to_owned(), |(_, rest)| rest.to_owned())
}

/// The conversation must end with the user, and results must answer exactly the calls before them.
fn check_order(messages: &[Message]) -> Result<(), Invalid> {
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let answered: Vec<&str> = message.blocks.iter().filter_map(answered_id).collect();
        if let Some(stray) = answered.iter().find(|id| !open.contains(id)) {
            return Err(Invalid(format!(
                "messages.{index}.content: unexpected `tool_use_id` found in `tool_result` blocks: {stray}. Each \
                 `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )));
        }
        if let Some(left) = open.iter().find(|id| !answered.contains(id)) {
            return Err(Invalid(format!(
                "messages.{}: `tool_use` ids were found without `tool_result` blocks immediately after: {left}. Each \
                 `tool_use` block must have a corresponding `tool_result` block in the next message.",
                index.saturating_sub(1)
            )));
        }
        open = message.blocks.iter().filter_map(called_id).collect();
    }
    match messages.last().map(|message| message.role) {
        Some(Role::User) => Ok(()),
        Some(Role::Assistant) => Err(Invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message.".into(),
        )),
        None => Err(Invalid("messages: at least one message is required".into())),
    }
}

fn answered_id(block: &Block) -> Option<&str> {
    if let Block::ToolResult { tool_use_id, .. } = block { Some(tool_use_id) } else { None }
}

fn called_id(block: &Block) -> Option<&str> {
    if let Block::ToolUse { id, .. } = block { Some(id) } else { None }
}
