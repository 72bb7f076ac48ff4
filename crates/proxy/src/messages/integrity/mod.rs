//! Keeps the conversation of an agent honest: what the model is shown is what really was said.
//!
//! The gateway delivered every word of the person, streamed every word of the model and returned every result, so it knows the
//! conversation better than the sandbox does. A request has to repeat it: the same prompt and tools, the same turns in the same
//! order, none left out, and behind them what came since. Anything else was made up by something in the sandbox, and what a model
//! says to it has no authority. (The agent's own few sentences are known, see [`words`], and each has its place.)
//!
//! Of several answers to one request one can act: what it did has to be shown, and another one does nothing.
//!
//! Assumption: the agent does not summarise (it is started so); a conversation that gets long goes on with another agent, which is
//! told the recent past.

mod request;
mod results;
mod state;
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
use policy::{Known, Timestamp, canonical_digest, digest_bytes};
use request::{Content, Message, Request};
use results::Returned;
use serde_json::Value;
use state::{REMEMBERED_MAX, State};
use std::collections::HashMap;
use std::sync::Arc;
use turn::Reply;
use words::Surroundings;

/// Larger requests are compared beside the event loop.
const INLINE_BYTES_MAX: usize = 128 << 10;
/// Lists of tools that are remembered; an agent asks once or twice.
const LISTINGS_MAX: usize = 8;
/// Texts about the agent's surroundings in one request.
const SURROUNDINGS_MAX: usize = 8;
/// An agent that has no room left may ask for fewer output tokens than it was started with, but not for fewer than these: where an
/// answer is cut is not for the sandbox to say.
const OUTPUT_TOKENS_MIN: u64 = 3_000;

/// What an agent was started with.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The operator's prompt.
    pub prompt: String,
    /// The name of its tools' server, as the model sees it.
    pub server: Option<String>,
    /// Where it works, as it sees it.
    pub cwd: String,
    /// Its model.
    pub model: String,
    /// Output tokens of one answer.
    pub output_tokens: u64,
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
    #[error("an answer that is cut short")]
    Output,
    #[error("the beginning of an answer")]
    Prefill,
    #[error("words in the operator's place")]
    Operator,
    #[error("words in the person's place that nobody wrote")]
    Person,
    #[error("words in the model's place that it did not say")]
    Model,
    #[error("a tool's result that was not returned, or none")]
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
    /// What values of arguments may come from. Shared with the decisions that look at it.
    known: Mutex<Arc<Known>>,
}

impl Dialogue {
    /// The conversation of an agent that is told this past, message by message (role and content of the model API).
    #[must_use]
    pub fn new<'a>(expected: Expected, past: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        let (mut state, mut known) = (State::default(), Known::default());
        for (role, content) in past {
            // What can't be read is no past that the agent could repeat.
            if let Ok(content) = serde_json::from_str::<Content>(&content.to_string()) {
                let written = content.0.iter().filter(|block| role == "user" && block.kind == "text");
                written.filter_map(|block| block.text.as_deref()).for_each(|text| known.said(text));
                state.remember(role, content);
            }
        }
        Self { expected, state: Mutex::new(state), known: Mutex::new(Arc::new(known)) }
    }

    /// A person's message goes to the agent now. Invariant: called before anything is answered for it.
    pub fn deliver(&self, text: &str) {
        let digest = digest_bytes(text.as_bytes());
        let mut state = self.state.lock();
        state.persons.insert(digest);
        state.delivered.push(digest);
        Arc::make_mut(&mut self.known.lock()).said(text);
    }

    /// A tool whose word counts for arguments returned this.
    pub(crate) fn vouched(&self, tool: &str, result: &Value) {
        Arc::make_mut(&mut self.known.lock()).returned(tool, result);
    }

    /// What people wrote in this conversation, and what such tools returned.
    pub(crate) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.lock())
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

    /// A call is about to be carried out. False when it is none of the answer that acts, or the conversation went on without it.
    /// Until something is returned, nothing can be shown as its result.
    pub(crate) fn act(&self, call: &str) -> bool {
        let mut state = self.state.lock();
        let answer = state.replies.iter().position(|reply| reply.calls(call));
        let acts = answer.is_some() && state.acted.is_none_or(|acted| Some(acted) == answer);
        if acts {
            state.acted = answer;
            state.done.push(call.into());
            state.returned.insert(call.into(), Returned::nothing());
        }
        acts
    }

    /// The result of a call that was carried out goes back to the agent now.
    pub(crate) fn returned(&self, call: &str, tool: &str, result: &Value) {
        let server = self.expected.server.as_deref().unwrap_or_default();
        let result = Returned::of(result, &self.name_of(tool), server);
        self.state.lock().acted(call, result);
    }

    /// A sentence of the gateway goes back to the agent now, in the place of the result of a call that was to be carried out.
    pub(crate) fn failed(&self, call: &str, sentence: &str) {
        self.state.lock().acted(call, Returned::text(sentence, true));
    }

    /// The same for a call that is not carried out. It says nothing about another try, which may have been.
    pub(crate) fn refused(&self, call: &str, sentence: &str) {
        let mut state = self.state.lock();
        if !state.returned.contains_key(call) && state.returned.len() < REMEMBERED_MAX {
            state.returned.insert(call.into(), Returned::text(sentence, true));
        }
    }

    /// Compares a request with the conversation. The answer to it is listened to.
    pub(super) async fn hear(self: Arc<Self>, body: Bytes, now: Timestamp) -> Result<Heard, Dishonest> {
        if body.len() <= INLINE_BYTES_MAX {
            return self.compare(&body, now);
        }
        let compared = tokio::task::spawn_blocking(move || self.compare(&body, now)).await;
        compared.unwrap_or(Err(Dishonest::Field))
    }

    fn compare(self: Arc<Self>, body: &[u8], now: Timestamp) -> Result<Heard, Dishonest> {
        // Everything that takes time is done before anybody has to wait for it.
        let request: Request<'_> = serde_json::from_slice(body).map_err(|_| Dishonest::Field)?;
        if request.max_tokens < self.expected.output_tokens.min(OUTPUT_TOKENS_MIN) {
            return Err(Dishonest::Output);
        }
        let before = self.check_system(request.system.as_ref())?;
        let tools = tools_of(&request)?;
        let speaking = request.messages.iter().rev().find(|message| message.role != "system");
        if speaking.is_none_or(|message| message.role != "user") {
            return Err(Dishonest::Prefill);
        }
        self.check_operator(&request.messages, now)?;
        let mut state = self.state.lock();
        if before.is_some_and(|request| !state.requests.contains(request)) {
            return Err(Dishonest::System);
        }
        // An agent that was told of no tools has none, and can't do anything either.
        if !(state.listings.contains(&tools) || (tools.is_empty() && state.listings.is_empty())) {
            return Err(Dishonest::Tools);
        }
        let items = state.items(&request.messages)?;
        state.take(items)?;
        let (turn, reply) = (state.turn, state.replies.len());
        state.replies.push(Reply::default());
        drop(state);
        Ok(Heard { dialogue: self, turn, reply })
    }

    /// Returns the request that the agent says was the one before.
    fn check_system<'a>(&self, system: Option<&'a Content>) -> Result<Option<&'a str>, Dishonest> {
        let texts: Option<Vec<&str>> = system
            .map_or(Some(Vec::new()), |system| system.0.iter().map(|block| block.text_alone().map(|(text, _)| text)).collect());
        let texts = texts.ok_or(Dishonest::System)?;
        let before = match texts.split_last() {
            Some((last, before)) if *last == self.expected.prompt => Some(before),
            Some(_) | None => Some(texts.as_slice()).filter(|_| self.expected.prompt.is_empty()),
        };
        let before = before.filter(|before| words::is_preamble(before)).ok_or(Dishonest::System)?;
        Ok(words::request_before(before))
    }

    /// What stands in the operator's place is about the agent's surroundings.
    fn check_operator(&self, messages: &[Message], now: Timestamp) -> Result<(), Dishonest> {
        let here = Surroundings { cwd: &self.expected.cwd, model: &self.expected.model, today: now.0.div_euclid(86_400_000_000) };
        let blocks = messages.iter().filter(|message| message.role == "system").flat_map(|message| &message.content.0);
        let mut count = 0;
        for block in blocks {
            count += 1;
            let good = block.text_alone().is_some_and(|(text, _)| here.are(text));
            if !good || count > SURROUNDINGS_MAX {
                return Err(Dishonest::Operator);
            }
        }
        let strange = messages.iter().any(|message| message.config.is_some() && message.role != "system");
        if strange { Err(Dishonest::Field) } else { Ok(()) }
    }
}

/// The tools that the model is told of.
fn tools_of(request: &Request<'_>) -> Result<Listing, Dishonest> {
    let tools = request.tools.as_deref().unwrap_or_default();
    let told: Option<Listing> =
        tools.iter().map(|tool| Some((tool.name.clone(), (digest_bytes(tool.description.as_bytes()), tool.schema()?)))).collect();
    told.filter(|told| told.len() == tools.len()).ok_or(Dishonest::Tools)
}
