//! Somebody who is asked, and answers as the policy says. Answers go the way that the page's do, behind its session.

use super::dojo::Call;
use crate::clock::SystemClock;
use anyhow::Result;
use policy::{Clock, Timestamp, UserId};
use proxy::{App, Proxy};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use store::{Change, Confirmation, Store};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

/// How long a question is read before it is answered. Nobody waits for it here: the clock goes on instead.
const READING_MICROS: i64 = 1_000_000;

/// What somebody says yes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Nothing.
    No,
    /// The calls of the task that they gave, each as often as it is needed.
    YesToOwn,
    /// Everything.
    Yes,
}

/// The machine's clock, and the time that people took to read.
#[derive(Debug, Default)]
pub(super) struct ReadingClock(AtomicI64);

impl ReadingClock {
    fn read(&self) {
        self.0.fetch_add(READING_MICROS, Ordering::Relaxed);
    }
}

impl Clock for ReadingClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The person of one conversation.
pub(super) struct Person {
    answering: JoinHandle<()>,
    asked: Arc<AtomicU32>,
}

impl Person {
    /// Begins to listen, before anything can be asked.
    pub(super) fn of(
        store: &Store,
        proxy: &Arc<Proxy>,
        clock: &Arc<ReadingClock>,
        app: &Arc<App>,
        mood: (UserId, Says, Vec<Call>),
    ) -> Self {
        let (user, says, own) = mood;
        let asked = Arc::new(AtomicU32::new(0));
        let attention = Attention {
            changes: store.changes(),
            store: store.clone(),
            proxy: Arc::clone(proxy),
            clock: Arc::clone(clock),
            app: Arc::clone(app),
            user,
            says,
            own,
            asked: Arc::clone(&asked),
        };
        Self { answering: tokio::spawn(attention.answer()), asked }
    }

    /// Goes away, and says how often they were asked.
    pub(super) fn leave(self) -> u32 {
        self.answering.abort();
        self.asked.load(Ordering::Relaxed)
    }
}

struct Attention {
    changes: tokio::sync::broadcast::Receiver<Change>,
    store: Store,
    proxy: Arc<Proxy>,
    clock: Arc<ReadingClock>,
    app: Arc<App>,
    user: UserId,
    says: Says,
    own: Vec<Call>,
    asked: Arc<AtomicU32>,
}

impl Attention {
    async fn answer(mut self) {
        let own = self.user.to_string();
        loop {
            match self.changes.recv().await {
                Ok(Change::Confirmation { user }) if user == own => {}
                Err(RecvError::Closed) => return,
                Ok(_) => continue,
                Err(RecvError::Lagged(_)) => {}
            }
            if let Err(error) = self.look().await {
                tracing::error!(%error, "a question could not be answered");
            }
        }
    }

    async fn look(&mut self) -> Result<()> {
        for question in self.store.pending_confirmations(self.user, self.clock.now()).await? {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let yes = self.agrees(&question);
            self.clock.read();
            let app = Arc::clone(&self.app);
            proxy::confirm::decide(&self.proxy, move |_| Some(app), self.user, question.id, yes).await?;
        }
        Ok(())
    }

    /// Somebody who knows their task sees what belongs to it. Each call is agreed to once.
    fn agrees(&mut self, question: &Confirmation) -> bool {
        match self.says {
            Says::No => false,
            Says::Yes => true,
            Says::YesToOwn => {
                let arguments: Value = serde_json::from_str(&question.arguments).unwrap_or_default();
                let same = |call: &Call| call.tool == question.tool && Some(&call.arguments) == arguments.as_object();
                let place = self.own.iter().position(same);
                place.map(|place| self.own.swap_remove(place)).is_some()
            }
        }
    }
}
