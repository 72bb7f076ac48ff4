//! Whether what agents are started from is what was installed, found out beside everything else a gateway does at its start.
//!
//! Invariant: no verdict, no agent. Waiting ends with the verdict, or with the end of whoever should have given it.

use crate::error::SandboxError;
use tokio::sync::watch;

/// Held by who finds out.
#[derive(Debug)]
pub struct Verdict(watch::Sender<Option<Result<(), String>>>);

/// Held by who must not start before.
#[derive(Clone, Debug)]
pub struct Awaited(watch::Receiver<Option<Result<(), String>>>);

impl Verdict {
    /// One that is not given yet, and what waits for it.
    #[must_use]
    pub fn pending() -> (Self, Awaited) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), Awaited(receiver))
    }

    /// Gives it: all is well, or what is wrong and what to do. Dropped in place of that, it counts as a bad one.
    pub fn give(self, verdict: Result<(), String>) {
        self.0.send_replace(Some(verdict));
    }
}

impl Awaited {
    /// A bad verdict; while there is none, nothing.
    ///
    /// # Errors
    /// [`SandboxError::AgentUntrusted`].
    pub fn so_far(&self) -> Result<(), SandboxError> {
        match &*self.0.borrow() {
            Some(verdict) => judged(verdict),
            None if self.0.has_changed().is_err() => Err(abandoned()),
            None => Ok(()),
        }
    }

    /// Waits for a good verdict.
    ///
    /// # Errors
    /// [`SandboxError::AgentUntrusted`], also when nobody will give it any more.
    pub async fn good(&self) -> Result<(), SandboxError> {
        match self.0.clone().wait_for(Option::is_some).await.as_deref() {
            Ok(Some(verdict)) => judged(verdict),
            Ok(None) | Err(_) => Err(abandoned()),
        }
    }
}

fn judged(verdict: &Result<(), String>) -> Result<(), SandboxError> {
    verdict.clone().map_err(|reason| SandboxError::AgentUntrusted { reason })
}

fn abandoned() -> SandboxError {
    SandboxError::AgentUntrusted { reason: "the agent could not be verified: restart the gateway".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_good_verdict_is_one() {
        let (verdict, good) = Verdict::pending();
        good.so_far().expect("nothing bad is known yet");
        let waiting = tokio::spawn({
            let good = good.clone();
            async move { good.good().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "nobody goes on without a verdict");
        verdict.give(Ok(()));
        waiting.await.expect("no panic").expect("good");
        good.so_far().expect("good");
        let (verdict, bad) = Verdict::pending();
        verdict.give(Err("changed".to_owned()));
        let (dropped, none) = Verdict::pending();
        drop(dropped);
        for (awaited, reason) in [(bad, "changed"), (none, "could not be verified")] {
            for error in [awaited.so_far(), awaited.good().await] {
                let text = error.expect_err("not good").to_string();
                assert!(text.contains(reason), "{text}");
            }
        }
    }
}
