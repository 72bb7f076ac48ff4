//! What is said in a conversation, piece by piece, and the answers that a request got.

use super::super::canon::Digest;
use super::state::REMEMBERED_MAX;
use super::{Dialogue, Dishonest};
use std::sync::Arc;

/// A piece of what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A text of the person.
    Person(Digest),
    /// The agent's own sentence by which it goes on after an answer that broke off or said nothing.
    Nudge,
    /// A text of the model.
    Answer(Digest),
    /// A call that the model asked for.
    Call { id: Box<str>, name: Box<str>, arguments: Digest },
    /// What came of it.
    Result(Box<str>),
}

/// A piece of the model's answer, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::messages) enum Spoken {
    /// Text; blank where it is white space alone.
    Text { digest: Digest, blank: bool },
    /// A call; no arguments where they were no JSON.
    Call { id: Box<str>, name: Box<str>, arguments: Option<Digest> },
    /// Thinking and its signature.
    Thought(Digest, Digest),
}

/// An answer to the last request.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) items: Vec<Item>,
    /// It came to its own end, so that all of it is in the conversation.
    pub(super) whole: bool,
    /// A call in it had no arguments that could be read; the agent leaves it out.
    pub(super) broken: bool,
}

impl Reply {
    /// It is a turn that an agent can't pass over.
    const fn stands(&self) -> bool {
        self.whole && !self.items.is_empty() && !self.broken
    }

    pub(super) fn calls(&self, id: &str) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Call { id: own, .. } if **own == *id))
    }

    fn is(&self, spoken: &[Item]) -> bool {
        if self.whole && !self.broken { self.items == spoken } else { self.items.starts_with(spoken) }
    }
}

/// Listens to the answer of one request that was taken.
pub(in crate::messages) struct Heard {
    pub(super) dialogue: Arc<Dialogue>,
    pub(super) turn: u64,
    pub(super) reply: usize,
}

impl Heard {
    /// The model said this. False when the conversation went on without it. Invariant: called before the bytes that say so are
    /// released.
    pub(in crate::messages) fn say(&self, spoken: Spoken) -> bool {
        let mut state = self.dialogue.state.lock();
        if state.turn != self.turn {
            return false;
        }
        let (item, broken) = state.spoken(spoken);
        let Some(reply) = state.replies.get_mut(self.reply) else { return false };
        reply.items.extend(item);
        reply.broken |= broken;
        true
    }

    /// The provider calls this request so.
    pub(in crate::messages) fn named(&self, request: &str) {
        let mut state = self.dialogue.state.lock();
        if state.requests.len() < REMEMBERED_MAX {
            state.requests.insert(request.into());
        }
    }

    /// The model came to its end by itself.
    pub(in crate::messages) fn end(&self) {
        let mut state = self.dialogue.state.lock();
        if state.turn == self.turn
            && let Some(reply) = state.replies.get_mut(self.reply)
        {
            reply.whole = true;
        }
    }
}

/// How many of the new items are one of the answers: all of one that came to its end, or the beginning of one that did not.
/// `acted` is the answer whose calls were carried out.
pub(super) fn taken_from(new: &[Item], replies: &[Reply], acted: Option<usize>) -> Result<usize, Dishonest> {
    let said = new.iter().take_while(|item| matches!(item, Item::Answer(_) | Item::Call { .. })).count();
    let spoken = new.get(..said).unwrap_or_default();
    let passes_over = said == 0 && (acted.is_some() || replies.iter().any(Reply::stands));
    if passes_over {
        // An answer that was given is not forgotten, nor asked for again.
        return Err(Dishonest::History);
    }
    let chosen = |(number, reply): (usize, &Reply)| acted.is_none_or(|acted| acted == number) && reply.is(spoken);
    if said == 0 || replies.iter().enumerate().any(chosen) { Ok(said) } else { Err(Dishonest::Model) }
}

/// Whether the agent may go on by itself: no answer stands that it would have to go on from.
pub(super) fn may_go_on(replies: &[Reply]) -> bool {
    !replies.iter().any(Reply::stands)
}
