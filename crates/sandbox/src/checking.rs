//! Asks the part of a running sandbox that stays outside of it to try its network.

use crate::error::SandboxError;
use jail::{Check, Checked};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Longer than the sandbox takes for it at most.
const WAIT: Duration = Duration::from_secs(2);

type Order = (Check, oneshot::Sender<Checked>);

/// Asks.
#[derive(Clone, Debug)]
pub(crate) struct Checker(mpsc::Sender<Order>);

/// Answers, where the sandbox is watched.
pub(crate) struct Checks {
    orders: mpsc::Receiver<Order>,
    asked: Option<oneshot::Sender<Checked>>,
}

/// For one sandbox.
pub(crate) fn pair() -> (Checker, Checks) {
    let (sender, orders) = mpsc::channel(1);
    (Checker(sender), Checks { orders, asked: None })
}

impl Checker {
    pub(crate) async fn check(&self, check: Check) -> Result<Checked, SandboxError> {
        let exchange = async {
            let (answer, answered) = oneshot::channel();
            self.0.send((check, answer)).await.ok()?;
            answered.await.ok()
        };
        let silent = || SandboxError::Ended(format!("what watches its network did not answer within {} s", WAIT.as_secs()));
        tokio::time::timeout(WAIT, exchange).await.ok().flatten().ok_or_else(silent)
    }
}

impl Checks {
    /// The next one to be made; none when nobody can ask any more. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Check> {
        let (check, asked) = self.orders.recv().await?;
        // One that was not answered yet is late, and whoever asked for it has given up.
        self.asked = Some(asked);
        Some(check)
    }

    pub(crate) fn answer(&mut self, checked: Checked) {
        if let Some(asked) = self.asked.take() {
            let _ = asked.send(checked);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_asked_inside_is_the_models_name() {
        assert_eq!(jail::CHECK_HOST_OWN, policy::Destination::MODEL_NAME);
    }
}
