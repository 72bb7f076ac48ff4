//! What is said in a conversation, piece by piece, and the answers that a request got.

use super::super::canon::Digest;
use super::{Dialogue, Dishonest};
use std::sync::Arc;

/// A piece of what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A text of the person.
    Person(Digest),
    /// A text of the model.
    Answer(Digest),
    /// A call that the model asked for; no arguments where they were none.
    Call { id: Box<str>, name: Box<str>, arguments: Option<Digest> },
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
    items: Vec<Item>,
    /// It came to its own end, so that all of it is in the conversation.
    whole: bool,
}

impl Reply {
    pub(super) fn says(&self, item: &Item) -> bool {
        self.items.contains(item)
    }
}

/// Listens to the answer of one request that was taken.
pub(in crate::messages) struct Heard {
    pub(super) dialogue: Arc<Dialogue>,
    pub(super) turn: u64,
    pub(super) reply: usize,
}

impl Heard {
    /// The model said this. Invariant: called before the bytes that say so are released.
    pub(in crate::messages) fn say(&self, spoken: Spoken) {
        let mut state = self.dialogue.state.lock();
        let item = state.spoken(spoken);
        if state.turn == self.turn
            && let Some(reply) = state.replies.get_mut(self.reply)
        {
            reply.items.extend(item);
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
pub(super) fn taken_from(new: &[Item], replies: &[Reply]) -> Result<usize, Dishonest> {
    let said = new.iter().take_while(|item| matches!(item, Item::Answer(_) | Item::Call { .. })).count();
    let spoken = new.get(..said).unwrap_or_default();
    // The same request again.
    if new.is_empty() {
        return Ok(0);
    }
    if said == 0 {
        // An answer that was given is not forgotten.
        let given = replies.iter().any(|reply| reply.whole && !reply.items.is_empty());
        return if given { Err(Dishonest::History) } else { Ok(0) };
    }
    let is = |reply: &Reply| if reply.whole { reply.items == spoken } else { reply.items.starts_with(spoken) };
    if replies.iter().any(is) { Ok(said) } else { Err(Dishonest::Model) }
}
