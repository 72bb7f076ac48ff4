//! Runs that are asked for under an idempotency key: begun once, however often and wherever the same request comes.
//!
//! The database decides (`Store::begin_run_once`). Beside that, repetitions at this gateway wait for the first one here, so that they
//! take no place in the line and count in no rate.

use crate::{Runs, Sender, StartError};
use parking_lot::Mutex;
use policy::{ConversationId, RunId, UserId, UserMessage};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use store::{BeginError, BeginOnceError, Once};
use tokio::sync::Mutex as Turn;

type Key = (UserId, [u8; 32]);

/// Who begins something under which key right now.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Key, Weak<Turn<()>>>>);

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The run.
    pub run: RunId,
    /// Whether the same request began it before.
    pub before: bool,
}

impl Turns {
    fn of(&self, key: Key) -> Arc<Turn<()>> {
        let mut turns = self.0.lock();
        if let Some(turn) = turns.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        // Nobody holds what is forgotten here.
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(()));
        turns.insert(key, Arc::downgrade(&turn));
        turn
    }
}

impl Runs {
    /// [`Runs::start`], once for each idempotency key of a user.
    ///
    /// # Errors
    /// [`StartError`]; then nothing was begun, and the same request may come again.
    pub async fn start_once(
        self: &Arc<Self>,
        sender: Sender,
        app: &str,
        conversation: ConversationId,
        message: UserMessage,
        writes: bool,
        once: Once,
    ) -> Result<Started, StartError> {
        let turn = self.turns.of((sender.user, once.key_digest));
        let _turn = turn.lock().await;
        if let Some(run) = self.parts.store.begun_before(sender.user, once.clone(), self.parts.clock.now()).await? {
            return Ok(Started { run, before: true });
        }
        let user = sender.user;
        match self.begin(sender, app, conversation, message, writes, Some(once.clone())).await {
            // Another gateway began it meanwhile, and its own run is what stands in the way.
            Err(error @ (StartError::Rate(_) | StartError::Busy | StartError::Waiting | StartError::Active)) => {
                let before = self.parts.store.begun_before(user, once, self.parts.clock.now()).await?;
                before.map(|run| Started { run, before: true }).ok_or(error)
            }
            begun => begun,
        }
    }
}

impl From<BeginOnceError> for StartError {
    fn from(error: BeginOnceError) -> Self {
        match error {
            // Whoever is told so has begun nothing; the caller shows the run of before.
            BeginOnceError::Before(_) | BeginOnceError::Other => Self::Other,
            BeginOnceError::Begin(BeginError::NoConversation) => Self::NoConversation,
            BeginOnceError::Begin(BeginError::Active) => Self::Active,
            BeginOnceError::Begin(BeginError::Store(error)) => Self::Store(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_key_is_one_turn_and_leaves_nothing() {
        let (turns, user) = (Turns::default(), UserId::random());
        let first = turns.of((user, [1; 32]));
        assert!(Arc::ptr_eq(&first, &turns.of((user, [1; 32]))));
        assert!(!Arc::ptr_eq(&first, &turns.of((user, [2; 32]))) && !Arc::ptr_eq(&first, &turns.of((UserId::random(), [1; 32]))));
        drop(first);
        let _last = turns.of((user, [3; 32]));
        assert_eq!(turns.0.lock().len(), 1, "what nobody holds is forgotten");
    }
}
