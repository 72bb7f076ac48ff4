//! What stands behind the listeners of a sandbox right now, looked up per request: a run, a conversation with the tools' server
//! while an agent starts, or nothing.

use crate::context::{DENIALS_RECORDED_MAX, RunContext};
use crate::discovery::Discovery;
use crate::messages::integrity::Dialogue;
use crate::selfcheck::SelfCheck;
use crate::traffic::{Connected, Traffic, TrafficLimits};
use arc_swap::ArcSwapOption;
use policy::{DenialCode, SandboxId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a sandbox may do.
enum Bound {
    /// Everything that this run may.
    Run(Arc<RunContext>),
    /// Nobody's yet: it may learn which tools there are.
    Discovery(Arc<Discovery>),
    /// Nothing; it is being tried whether that is so.
    Check(Arc<SelfCheck>),
}

/// One sandbox as its listeners know it. Which listener accepted is the identity; nothing the sandbox sends is.
pub struct Gate {
    /// The sandbox.
    pub sandbox: SandboxId,
    bound: ArcSwapOption<Bound>,
    dialogue: Option<Arc<Dialogue>>,
    refused_unbound: AtomicU32,
    traffic: Traffic,
    checks: AtomicU32,
}

impl Gate {
    /// A gate with nothing behind it: everything is refused until a run is bound. How often it is asked is not bounded.
    #[must_use]
    pub fn new(sandbox: SandboxId) -> Self {
        Self::bounded(sandbox, TrafficLimits::UNCOUNTED)
    }

    /// The same for a sandbox with neighbours.
    #[must_use]
    pub fn bounded(sandbox: SandboxId, limits: TrafficLimits) -> Self {
        Self {
            sandbox,
            bound: ArcSwapOption::empty(),
            dialogue: None,
            refused_unbound: AtomicU32::new(0),
            checks: AtomicU32::new(0),
            traffic: Traffic::new(limits),
        }
    }

    /// Whatever works for a run here has this one conversation.
    #[must_use]
    pub fn with_dialogue(self, dialogue: Arc<Dialogue>) -> Self {
        Self { dialogue: Some(dialogue), ..self }
    }

    /// A person's message is handed to the agent now.
    pub fn deliver(&self, text: &str) {
        if let Some(dialogue) = &self.dialogue {
            dialogue.deliver(text);
        }
    }

    /// Waits until its sandbox asks for so much that it has to be ended, and says for what.
    pub async fn flooded(&self) -> DenialCode {
        self.traffic.flooded().await
    }

    /// Whether it has.
    #[must_use]
    pub fn flood(&self) -> Option<DenialCode> {
        self.traffic.flood()
    }

    pub(crate) fn connect(&self) -> Connected {
        self.traffic.connect()
    }

    /// Counts a request; a code means that it is not answered any more.
    pub(crate) fn request(&self) -> Option<DenialCode> {
        self.traffic.request()
    }

    /// Binds a run: from now on requests are its requests.
    pub fn bind(&self, run: Arc<RunContext>) {
        self.traffic.tell_again();
        run.converse(self.dialogue.clone());
        self.bound.store(Some(Arc::new(Bound::Run(run))));
    }

    /// Lets an agent that belongs to nobody yet learn which tools there are, and nothing else.
    pub fn bind_discovery(&self, discovery: Arc<Discovery>) {
        discovery.converse(self.dialogue.clone());
        self.bound.store(Some(Arc::new(Bound::Discovery(discovery))));
    }

    /// Lets nothing be reached, and tells by its answer that it is this gate.
    pub fn bind_check(&self, check: Arc<SelfCheck>) {
        self.checks.fetch_add(1, Ordering::Relaxed);
        self.bound.store(Some(Arc::new(Bound::Check(check))));
    }

    /// Nothing may be reached any more.
    pub fn unbind(&self) {
        self.bound.store(None);
    }

    /// The run that is bound right now.
    #[must_use]
    pub fn bound(&self) -> Option<Arc<RunContext>> {
        match self.bound.load().as_deref()? {
            Bound::Run(run) => Some(Arc::clone(run)),
            Bound::Discovery(_) | Bound::Check(_) => None,
        }
    }

    /// What a starting agent may learn, while it belongs to nobody.
    pub(crate) fn discovery(&self) -> Option<Arc<Discovery>> {
        match self.bound.load().as_deref()? {
            Bound::Discovery(discovery) => Some(Arc::clone(discovery)),
            Bound::Run(_) | Bound::Check(_) => None,
        }
    }

    /// The self-check that is being made.
    pub(crate) fn check(&self) -> Option<Arc<SelfCheck>> {
        match self.bound.load().as_deref()? {
            Bound::Check(check) => Some(Arc::clone(check)),
            Bound::Run(_) | Bound::Discovery(_) => None,
        }
    }

    /// How many self-checks there were; each tried one closed port.
    pub(crate) fn checks(&self) -> u32 {
        self.checks.load(Ordering::Relaxed)
    }

    /// Whether one more refusal without a run should be logged.
    pub(crate) fn log_unbound(&self) -> bool {
        self.refused_unbound.fetch_add(1, Ordering::Relaxed) < DENIALS_RECORDED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_without_a_run_are_logged_but_not_endlessly() {
        let gate = Gate::new(SandboxId::random());
        assert_eq!((0..1000).filter(|_| gate.log_unbound()).count(), 200);
        assert!(gate.bound().is_none() && gate.discovery().is_none());
    }
}
