//! What was said so far, and whether a request goes on from it.

use super::super::canon::Digest;
use super::request::{Block, Content, Message};
use super::results::Returned;
use super::turn::{Item, Reply, Spoken, may_go_on, taken_from};
use super::{Dishonest, Listing, words};
use policy::digest_bytes;
use std::collections::{HashMap, HashSet};

/// Results and thoughts that are remembered of one agent.
pub(super) const REMEMBERED_MAX: usize = 20_000;
/// Pieces that a request adds to the one before at most.
const NEW_ITEMS_MAX: usize = 4_096;

#[derive(Default)]
pub(super) struct State {
    pub(super) listings: Vec<Listing>,
    /// Every text that people wrote.
    pub(super) persons: HashSet<Digest>,
    /// Those that were not yet seen in a request.
    pub(super) delivered: Vec<Digest>,
    pub(super) returned: HashMap<Box<str>, Returned>,
    /// In the order in which the model had them. The agent may leave some out, and shows none twice and none before an earlier one.
    pub(super) thoughts: Vec<(Digest, Digest)>,
    /// Texts of the model that say nothing; the agent may leave them out.
    pub(super) blanks: HashSet<Digest>,
    /// The last request that was taken, without what is the agent's own.
    pub(super) said: Vec<Item>,
    /// Results that it showed.
    pub(super) shown: HashSet<Box<str>>,
    /// Since that one.
    pub(super) replies: Vec<Reply>,
    /// What the provider called requests of this agent.
    pub(super) requests: HashSet<Box<str>>,
    /// The one whose calls were carried out.
    pub(super) acted: Option<usize>,
    /// Its calls that were carried out.
    pub(super) done: Vec<Box<str>>,
    /// Counts requests that went on from the one before.
    pub(super) turn: u64,
}

impl State {
    /// Takes a message of the past for said.
    pub(super) fn remember(&mut self, role: &str, content: Content) {
        for block in content.0 {
            match (role, block.kind.as_str()) {
                ("user", "text") => {
                    let digest = block.digest.unwrap_or_default();
                    self.persons.insert(digest);
                    self.said.push(Item::Person(digest));
                }
                ("user", "tool_result") => {
                    let id: Box<str> = block.tool_use_id.unwrap_or_default().into();
                    let text = block.content.unwrap_or_default().0.into_iter().find_map(|block| block.text).unwrap_or_default();
                    self.returned.insert(id.clone(), Returned::text(&text, block.is_error));
                    self.shown.insert(id.clone());
                    self.said.push(Item::Result(id));
                }
                ("assistant", "text") => {
                    let blank = block.text.is_none_or(|text| text.trim().is_empty());
                    let (item, _) = self.spoken(Spoken::Text { digest: block.digest.unwrap_or_default(), blank });
                    self.said.extend(item);
                }
                ("assistant", "tool_use") => {
                    let (id, name) = (block.id.unwrap_or_default().into(), block.name.unwrap_or_default().into());
                    let (item, _) = self.spoken(Spoken::Call { id, name, arguments: block.input });
                    self.said.extend(item);
                }
                _ => {}
            }
        }
    }

    /// What the model said, if it has to be repeated, and whether it was a call that nobody can read.
    pub(super) fn spoken(&mut self, spoken: Spoken) -> (Option<Item>, bool) {
        match spoken {
            Spoken::Text { digest, blank: false } => return (Some(Item::Answer(digest)), false),
            Spoken::Call { id, name, arguments: Some(arguments) } => return (Some(Item::Call { id, name, arguments }), false),
            Spoken::Call { arguments: None, .. } => return (None, true),
            Spoken::Text { digest, blank: true } if self.blanks.len() < REMEMBERED_MAX => drop(self.blanks.insert(digest)),
            Spoken::Thought(digest, signature) if self.thoughts.len() < REMEMBERED_MAX => {
                self.thoughts.push((digest, signature));
            }
            Spoken::Text { .. } | Spoken::Thought(..) => {}
        }
        (None, false)
    }

    /// What a call came to that was carried out.
    pub(super) fn acted(&mut self, call: &str, result: Returned) {
        if let Some(pending) = self.returned.get_mut(call).filter(|pending| pending.is_nothing()) {
            *pending = result;
        }
    }

    /// What the messages say, piece by piece; what says nothing is left out.
    pub(super) fn items(&self, messages: &[Message]) -> Result<Vec<Item>, Dishonest> {
        let most = self.said.len().saturating_add(NEW_ITEMS_MAX);
        let (mut items, mut calls, mut thoughts) = (Vec::new(), HashMap::<&str, &str>::new(), self.thoughts.as_slice());
        let blocks = messages.iter().flat_map(|message| message.content.0.iter().map(|block| (message.role.as_str(), block)));
        for (role, block) in blocks {
            let item = match role {
                "user" if block.kind == "tool_result" => Some(self.result_item(block, &calls)?),
                "user" => Some(self.person_item(block)?),
                "assistant" => self.model_item(block, &mut thoughts)?,
                "system" => None,
                _ => return Err(Dishonest::Field),
            };
            if let (Some(Item::Call { .. }), Some((id, name, _))) = (&item, block.call_alone()) {
                calls.insert(id, name);
            }
            items.extend(item);
            if items.len() > most {
                return Err(Dishonest::History);
            }
        }
        Ok(items)
    }

    pub(super) fn person_item(&self, block: &Block) -> Result<Item, Dishonest> {
        let (_, digest) = block.text_alone().ok_or(Dishonest::Person)?;
        if self.persons.contains(&digest) {
            return Ok(Item::Person(digest));
        }
        if words::is_nudge(&digest) {
            return Ok(Item::Nudge);
        }
        // Between two messages without an answer the agent puts a new line.
        block.trimmed.filter(|text| self.persons.contains(text)).map(Item::Person).ok_or(Dishonest::Person)
    }

    pub(super) fn result_item(&self, block: &Block, calls: &HashMap<&str, &str>) -> Result<Item, Dishonest> {
        let (id, failed, content) = block.result_alone().ok_or(Dishonest::Result)?;
        let name = *calls.get(id).ok_or(Dishonest::Result)?;
        let good = match self.returned.get(id) {
            Some(returned) => returned.is(failed, content),
            // A tool that the agent does not know never came here.
            None => {
                let known = self.listings.iter().any(|listing| listing.contains_key(name));
                !known && Returned::text(&words::no_such_tool(name), true).is(failed, content)
            }
        };
        good.then(|| Item::Result(id.into())).ok_or(Dishonest::Result)
    }

    /// `thoughts` are those that may still come.
    fn model_item(&self, block: &Block, thoughts: &mut &[(Digest, Digest)]) -> Result<Option<Item>, Dishonest> {
        if let Some((_, text)) = block.text_alone() {
            return Ok((!self.blanks.contains(&text)).then_some(Item::Answer(text)));
        }
        if let Some((words, signature)) = block.thought_alone() {
            let thought = (digest_bytes(words.as_bytes()), digest_bytes(signature.as_bytes()));
            let at = thoughts.iter().position(|had| *had == thought).ok_or(Dishonest::Model)?;
            *thoughts = thoughts.get(at.saturating_add(1)..).unwrap_or_default();
            return Ok(None);
        }
        let (id, name, arguments) = block.call_alone().ok_or(Dishonest::Model)?;
        Ok(Some(Item::Call { id: id.into(), name: name.into(), arguments }))
    }

    /// Takes a request's items if they go on from what was said.
    pub(super) fn take(&mut self, items: Vec<Item>) -> Result<(), Dishonest> {
        let new = items.strip_prefix(self.said.as_slice()).ok_or(Dishonest::History)?;
        // Where the last message of the past has no answer, or the work on it broke off, the agent says so.
        let broke_off = matches!(self.said.last(), Some(Item::Person(_) | Item::Result(_)));
        let unanswered = self.turn == 0 && self.replies.is_empty() && broke_off;
        let (placeholder, new) = match new.split_first() {
            Some((Item::Answer(text), rest)) if unanswered && words::is_no_answer(text) => (true, rest),
            _ => (false, new),
        };
        let answered = taken_from(new, &self.replies, self.acted)?;
        let (answer, since) = new.split_at_checked(answered).unwrap_or_default();
        let shown = self.since(answer, since)?;
        if placeholder || !new.is_empty() {
            self.shown.extend(shown);
            self.delivered.clear();
            self.replies.clear();
            self.acted = None;
            self.done.clear();
            self.turn += 1;
            self.said = items;
        }
        Ok(())
    }

    /// Whether this came since the model's answer: the results of its calls, and all that the person wrote. Returns the calls.
    pub(super) fn since(&self, answer: &[Item], since: &[Item]) -> Result<Vec<Box<str>>, Dishonest> {
        let (mut delivered, mut shown, mut nudged) = (self.delivered.iter(), Vec::<Box<str>>::new(), !may_go_on(&self.replies));
        for item in since {
            match item {
                Item::Person(text) if delivered.next() == Some(text) => {}
                Item::Nudge if !std::mem::replace(&mut nudged, true) => {}
                Item::Result(id) if !shown.contains(id) && !self.shown.contains(id) => shown.push(id.clone()),
                Item::Person(_) | Item::Nudge => return Err(Dishonest::Person),
                Item::Result(_) => return Err(Dishonest::Result),
                Item::Answer(_) | Item::Call { .. } => return Err(Dishonest::Model),
            }
        }
        let calls: Vec<&Box<str>> =
            answer.iter().filter_map(|item| if let Item::Call { id, .. } = item { Some(id) } else { None }).collect();
        // Each call has its result, and what was carried out is not hidden.
        let complete = calls.iter().all(|id| shown.contains(id)) && shown.iter().all(|id| calls.contains(&id));
        let hidden = self.done.iter().any(|done| !calls.contains(&done));
        // What a person wrote is never left out.
        match (complete && !hidden, delivered.next()) {
            (false, _) => Err(Dishonest::Result),
            (true, Some(_)) => Err(Dishonest::Person),
            (true, None) => Ok(shown),
        }
    }
}
