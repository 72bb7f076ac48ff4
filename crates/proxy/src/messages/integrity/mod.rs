//! Keeps the conversation of an agent honest: what the model is shown is what really was said.
//!
//! The gateway delivered every word of the person, streamed every word of the model and returned every result, so it knows the
//! conversation better than the sandbox does. A request has to repeat it: the same prompt and tools, the same turns in the same
//! order, none left out, and behind them what came since. Anything else was made up by something in the sandbox, and what a model
//! says to it has no authority. (The agent's own few sentences are known, see [`words`].)
//!
//! Assumption: the agent does not summarise (it is started so); a conversation that gets long goes on with another agent, which is
//! told the recent past.

mod request;
mod results;
#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests;
mod turn;
mod words;

pub(super) use turn::{Heard, Spoken};
pub use words::AGENT_RELEASE;

use super::canon::Digest;
use bytes::Bytes;
use parking_lot::Mutex;
use policy::{canonical_digest, digest_bytes};
use request::{Block, Content, Message, Request};
use results::Returned;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use turn::{Item, Reply, taken_from};

/// Larger requests are compared beside the event loop.
const INLINE_BYTES_MAX: usize = 128 << 10;
/// Lists of tools that are remembered; an agent asks once or twice.
const LISTINGS_MAX: usize = 8;
/// Results and thoughts that are remembered of one agent.
const REMEMBERED_MAX: usize = 20_000;

/// What an agent was started with.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The sandbox, as paths name it.
    pub sandbox: String,
    /// The operator's prompt.
    pub prompt: String,
    /// The name of its tools' server, as the model sees it.
    pub server: Option<String>,
}

/// Why a request is not the conversation. None of it is a word of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Dishonest {
    #[error("a field that the agent does not send, or one that stands twice")]
    Field,
    #[error("another system prompt")]
    System,
    #[error("other tools than were listed")]
    Tools,
    #[error("a forced choice of a tool")]
    Choice,
    #[error("the beginning of an answer")]
    Prefill,
    #[error("words in the operator's place")]
    Operator,
    #[error("words in the person's place that nobody wrote")]
    Person,
    #[error("words in the model's place that it did not say")]
    Model,
    #[error("a tool's result that was not returned")]
    Result,
    #[error("an earlier turn that is missing or changed")]
    History,
}

/// Name and meaning of the tools that were listed at one time.
type Listing = HashMap<String, (Digest, Digest)>;

/// The conversation of one agent, as it passed through the gateway.
pub struct Dialogue {
    expected: Expected,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listings: Vec<Listing>,
    /// What people wrote, not yet seen in a request.
    delivered: Vec<Digest>,
    returned: HashMap<Box<str>, Returned>,
    thoughts: HashSet<(Digest, Digest)>,
    /// Texts of the model that say nothing; the agent may leave them out.
    blanks: HashSet<Digest>,
    /// Calls whose arguments were no JSON; nobody knows what the agent makes of them.
    broken: HashSet<Box<str>>,
    /// The last request that was taken, without what is the agent's own.
    said: Vec<Item>,
    /// Since that one.
    replies: Vec<Reply>,
    /// Counts requests that went on from the one before.
    turn: u64,
}

impl Dialogue {
    /// The conversation of an agent that is told this past, message by message (role and content of the model API).
    #[must_use]
    pub fn new<'a>(expected: Expected, past: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut state = State::default();
        for (role, content) in past {
            // What can't be read is no past that the agent could repeat.
            if let Ok(content) = serde_json::from_str::<Content>(&content.to_string()) {
                state.remember(role, content);
            }
        }
        Self { expected, state: Mutex::new(state) }
    }

    /// A person's message goes to the agent now.
    pub fn deliver(&self, text: &str) {
        self.state.lock().delivered.push(digest_bytes(text.as_bytes()));
    }

    /// These tools are listed for the agent now, by their own names.
    pub(crate) fn listed(&self, tools: &[Value]) {
        let listing = tools.iter().filter_map(|tool| self.tool(tool)).collect();
        let mut state = self.state.lock();
        if !state.listings.contains(&listing) && state.listings.len() < LISTINGS_MAX {
            state.listings.push(listing);
        }
    }

    fn tool(&self, tool: &Value) -> Option<(String, (Digest, Digest))> {
        let field = |name: &str| tool.get(name).and_then(Value::as_str);
        let name = self.name_of(field("name")?);
        let description = field("description").unwrap_or_default();
        Some((name, (digest_bytes(description.as_bytes()), canonical_digest(tool.get("inputSchema")?)?)))
    }

    /// A tool as the model names it.
    fn name_of(&self, tool: &str) -> String {
        format!("mcp__{}__{tool}", self.expected.server.as_deref().unwrap_or_default())
    }

    /// A tool's result goes back to the agent now.
    pub(crate) fn returned(&self, call: &str, tool: &str, result: &Value) {
        let server = self.expected.server.as_deref().unwrap_or_default();
        self.remember_result(call, Returned::of(result, &self.name_of(tool), server));
    }

    /// A sentence of the gateway goes back to the agent now, in the place of a result.
    pub(crate) fn refused(&self, call: &str, sentence: &str) {
        let mut state = self.state.lock();
        // The result of a call that was made stays what it was, whatever is asked about it later.
        if !state.returned.contains_key(call) && state.returned.len() < REMEMBERED_MAX {
            state.returned.insert(call.into(), Returned::text(sentence, true));
        }
    }

    fn remember_result(&self, call: &str, result: Returned) {
        let mut state = self.state.lock();
        if state.returned.len() < REMEMBERED_MAX {
            state.returned.insert(call.into(), result);
        }
    }

    /// Compares a request with the conversation. The answer to it is listened to; the calls that it shows results of are over.
    pub(super) async fn hear(self: Arc<Self>, body: Bytes) -> Result<(Heard, Vec<Box<str>>), Dishonest> {
        if body.len() <= INLINE_BYTES_MAX {
            return self.compare(&body);
        }
        let compared = tokio::task::spawn_blocking(move || self.compare(&body)).await;
        compared.unwrap_or(Err(Dishonest::Field))
    }

    fn compare(self: Arc<Self>, body: &[u8]) -> Result<(Heard, Vec<Box<str>>), Dishonest> {
        let request: Request<'_> = serde_json::from_slice(body).map_err(|_| Dishonest::Field)?;
        self.check_system(request.system.as_ref())?;
        self.check_tools(&request)?;
        let speaking = request.messages.iter().rev().find(|message| message.role != "system");
        if speaking.is_none_or(|message| message.role != "user") {
            return Err(Dishonest::Prefill);
        }
        let mut state = self.state.lock();
        let mut items = Vec::new();
        for message in request.messages {
            self.items(&state, message, &mut items)?;
        }
        let shown = state.take(items)?;
        let (turn, reply) = (state.turn, state.replies.len());
        state.replies.push(Reply::default());
        drop(state);
        Ok((Heard { dialogue: self, turn, reply }, shown))
    }

    fn check_system(&self, system: Option<&Content>) -> Result<(), Dishonest> {
        let texts: Option<Vec<&str>> = system.map_or(Some(Vec::new()), |system| system.0.iter().map(text_alone).collect());
        let texts = texts.ok_or(Dishonest::System)?;
        let (prompt, before) = match texts.split_last() {
            Some((last, before)) if *last == self.expected.prompt => (true, before),
            Some(_) | None => (self.expected.prompt.is_empty(), texts.as_slice()),
        };
        (prompt && before.len() <= 2 && before.iter().all(|text| words::is_preamble(text))).then_some(()).ok_or(Dishonest::System)
    }

    fn check_tools(&self, request: &Request<'_>) -> Result<(), Dishonest> {
        if request.tool_choice.as_ref().is_some_and(|choice| !matches!(choice.kind.as_str(), "auto" | "none")) {
            return Err(Dishonest::Choice);
        }
        let tools = request.tools.as_deref().unwrap_or_default();
        let told: Option<Listing> = tools
            .iter()
            .map(|tool| Some((tool.name.clone(), (digest_bytes(tool.description.as_bytes()), tool.schema()?))))
            .collect();
        // An agent that was told of none has none, and can't do anything either.
        let known = |told: &Listing| told.is_empty() || self.state.lock().listings.contains(told);
        told.filter(|told| told.len() == tools.len() && known(told)).map(drop).ok_or(Dishonest::Tools)
    }

    /// What a message says; what is the agent's own says nothing.
    fn items(&self, state: &State, message: Message, items: &mut Vec<Item>) -> Result<(), Dishonest> {
        if message.config.is_some() && message.role != "system" {
            return Err(Dishonest::Field);
        }
        for block in &message.content.0 {
            let item = match message.role.as_str() {
                "user" => state.user_item(block, items)?,
                "assistant" => state.assistant_item(block)?,
                "system" => match text_alone(block) {
                    Some(text) if words::is_surroundings(text, &self.expected.sandbox) => None,
                    _ => return Err(Dishonest::Operator),
                },
                _ => return Err(Dishonest::Field),
            };
            items.extend(item);
        }
        Ok(())
    }
}

impl State {
    /// Takes a message of the past for said.
    fn remember(&mut self, role: &str, content: Content) {
        for block in content.0 {
            match (role, block.kind.as_str()) {
                ("user", "text") => self.said.extend(block.text.map(|text| Item::Person(digest_bytes(text.as_bytes())))),
                ("user", "tool_result") => {
                    let id: Box<str> = block.tool_use_id.unwrap_or_default().into();
                    let text = block.content.unwrap_or_default().0.into_iter().find_map(|block| block.text).unwrap_or_default();
                    self.returned.insert(id.clone(), Returned::text(&text, block.is_error));
                    self.said.push(Item::Result(id));
                }
                ("assistant", "text") => {
                    let text = block.text.unwrap_or_default();
                    let spoken = Spoken::Text { digest: digest_bytes(text.as_bytes()), blank: text.trim().is_empty() };
                    let item = self.spoken(spoken);
                    self.said.extend(item);
                }
                ("assistant", "tool_use") => {
                    let (id, name) = (block.id.unwrap_or_default().into(), block.name.unwrap_or_default().into());
                    self.said.push(Item::Call { id, name, arguments: block.input });
                }
                _ => {}
            }
        }
    }

    /// What the model said, if it has to be repeated.
    fn spoken(&mut self, spoken: Spoken) -> Option<Item> {
        let room = self.blanks.len().max(self.thoughts.len()).max(self.broken.len()) < REMEMBERED_MAX;
        match spoken {
            Spoken::Text { digest, blank: false } => return Some(Item::Answer(digest)),
            Spoken::Call { id, name, arguments: Some(arguments) } => {
                return Some(Item::Call { id, name, arguments: Some(arguments) });
            }
            Spoken::Text { digest, blank: true } if room => drop(self.blanks.insert(digest)),
            Spoken::Thought(digest, signature) if room => drop(self.thoughts.insert((digest, signature))),
            Spoken::Call { id, name, arguments: None } if room => {
                self.broken.insert(id.clone());
                return Some(Item::Call { id, name, arguments: None });
            }
            Spoken::Text { .. } | Spoken::Thought(..) | Spoken::Call { .. } => {}
        }
        None
    }

    /// Whether the model itself said this text.
    fn has_said(&self, text: &Digest) -> bool {
        let item = Item::Answer(*text);
        self.said.contains(&item) || self.replies.iter().any(|reply| reply.says(&item))
    }

    fn user_item(&self, block: &Block, before: &[Item]) -> Result<Option<Item>, Dishonest> {
        if block.kind == "tool_result" {
            return self.result_item(block, before).map(Some);
        }
        let text = text_alone(block).ok_or(Dishonest::Person)?;
        let digest = digest_bytes(text.as_bytes());
        // Between two messages without an answer the agent puts a new line.
        let trimmed = text.strip_suffix('\n').map(|text| Item::Person(digest_bytes(text.as_bytes())));
        let item = Item::Person(digest);
        let known = |item: &Item| self.said.contains(item) || self.delivered.iter().any(|text| *item == Item::Person(*text));
        if known(&item) {
            return Ok(Some(item));
        }
        if words::is_nudge(&digest) {
            return Ok(None);
        }
        trimmed.filter(known).map(Some).ok_or(Dishonest::Person)
    }

    fn result_item(&self, block: &Block, before: &[Item]) -> Result<Item, Dishonest> {
        let only = block.text.is_none() && block.id.is_none() && block.name.is_none() && block.source.is_none();
        let id = block.tool_use_id.as_deref().filter(|_| only).ok_or(Dishonest::Result)?;
        let name = before.iter().rev().find_map(|item| match item {
            Item::Call { id: call, name, .. } if **call == *id => Some(name.clone()),
            Item::Call { .. } | Item::Person(_) | Item::Answer(_) | Item::Result(_) => None,
        });
        let name = name.ok_or(Dishonest::Result)?;
        let returned = self.returned.get(id).is_some_and(|returned| returned.is(block.is_error, block.content.as_ref()));
        // A tool that the agent does not know never came here.
        let unknown = || {
            let known = self.listings.iter().any(|listing| listing.contains_key(&*name));
            !known && Returned::text(&words::no_such_tool(&name), true).is(block.is_error, block.content.as_ref())
        };
        (returned || unknown()).then(|| Item::Result(id.into())).ok_or(Dishonest::Result)
    }

    fn assistant_item(&self, block: &Block) -> Result<Option<Item>, Dishonest> {
        let digest = |text: &Option<String>| text.as_ref().map(|text| digest_bytes(text.as_bytes()));
        match block.kind.as_str() {
            "text" => {
                let text = digest(&block.text).ok_or(Dishonest::Model)?;
                let nothing = self.blanks.contains(&text) || (words::is_no_answer(&text) && !self.has_said(&text));
                Ok((!nothing).then_some(Item::Answer(text)))
            }
            "thinking" | "redacted_thinking" => {
                let said = digest(&block.thinking).or_else(|| digest(&block.data)).unwrap_or_default();
                let signature = digest(&block.signature).unwrap_or_default();
                self.thoughts.contains(&(said, signature)).then_some(None).ok_or(Dishonest::Model)
            }
            "tool_use" => {
                let (id, name) = block.id.as_deref().zip(block.name.as_deref()).ok_or(Dishonest::Model)?;
                let arguments = block.input.filter(|_| !self.broken.contains(id));
                Ok(Some(Item::Call { id: id.into(), name: name.into(), arguments }))
            }
            _ => Err(Dishonest::Model),
        }
    }

    /// Takes a request's items if they go on from what was said. Returns the calls whose results they show for the first time.
    fn take(&mut self, items: Vec<Item>) -> Result<Vec<Box<str>>, Dishonest> {
        let new = items.strip_prefix(self.said.as_slice()).ok_or(Dishonest::History)?;
        let answered = taken_from(new, &self.replies)?;
        let since = new.get(answered..).unwrap_or_default();
        let (mut delivered, mut shown) = (self.delivered.iter(), Vec::<Box<str>>::new());
        for item in since {
            match item {
                Item::Person(text) if delivered.next() == Some(text) => {}
                Item::Result(id) if !shown.contains(id) && !self.said.contains(item) => shown.push(id.clone()),
                Item::Person(_) => return Err(Dishonest::Person),
                Item::Result(_) => return Err(Dishonest::Result),
                Item::Answer(_) | Item::Call { .. } => return Err(Dishonest::Model),
            }
        }
        let shows = |id: &str| items.iter().any(|item| matches!(item, Item::Result(of) if **of == *id));
        if !items.iter().all(|item| !matches!(item, Item::Call { id, .. } if !shows(id))) {
            return Err(Dishonest::Result);
        }
        // What a person wrote is never left out.
        if delivered.next().is_some() {
            return Err(Dishonest::Person);
        }
        if !new.is_empty() {
            self.delivered.clear();
            self.replies.clear();
            self.turn += 1;
            self.said = items;
        }
        Ok(shown)
    }
}

/// The text of a block that is nothing but text.
fn text_alone(block: &Block) -> Option<&str> {
    let only = block.kind == "text" && block.id.is_none() && block.name.is_none() && block.input.is_none();
    let more = block.tool_use_id.is_some() || block.content.is_some() || block.source.is_some() || block.thinking.is_some();
    block.text.as_deref().filter(|_| only && !more)
}
