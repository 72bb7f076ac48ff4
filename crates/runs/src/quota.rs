//! How much somebody may still do, without doing any of it.

use crate::{Runs, Sender};
use policy::{Microusd, RateCheck, RateRules, RateStanding, RunId};
use store::{RateError, StoreError};

impl Runs {
    /// How the limits of somebody's own messages stand, by their windows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quota(&self, sender: &Sender) -> Result<Vec<(&'static str, RateStanding)>, StoreError> {
        let own = format!("user:{}", sender.user);
        let of_message = self.parts.settings.rates.of_message(sender.user, sender.standing, None);
        let of_user = of_message.into_iter().find(|check| check.name == own);
        let of_host = sender.host.as_deref().and_then(RateRules::of_host);
        let mut quota = Vec::new();
        for (window, check) in [("user_hour", of_user), ("host_hour", of_host)] {
            let Some(check) = check else { continue };
            // What weighs nothing takes nothing, and is told how the limit stands.
            let asking = RateCheck { weight_millis: 0, ..check };
            match self.parts.rates.admit(vec![asking], self.parts.clock.now()).await {
                Ok(standing) => quota.extend(standing.map(|standing| (window, standing))),
                Err(RateError::Refused(refusal)) => quota.push((window, refusal.standing)),
                Err(RateError::Store(error)) => return Err(error),
            }
        }
        Ok(quota)
    }

    /// What somebody may spend in a day; none is no limit of their own.
    #[must_use]
    pub fn day_limit(&self, sender: &Sender) -> Option<Microusd> {
        let payer = (sender.user, sender.host.as_deref());
        let lines = self.parts.proxy.run_budgets(RunId::random(), self.parts.settings.run_budget, payer, "");
        let own = format!("user:{}", sender.user);
        lines.iter().find(|line| line.scope == own).map(|line| line.limit)
    }
}
