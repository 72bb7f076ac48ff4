//! What host applications can be told, by the names that a configuration and a delivery call it.

use core::time::Duration;

/// Something a host application can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookEvent {
    /// A run of one of its users ended, however.
    RunFinished,
    /// A call waits for the user's own yes.
    ConfirmationPending,
    /// A share of a budget of its own, or of one of its users, is used up.
    BudgetThreshold,
    /// What a user's agents do is unusual.
    Anomaly,
}

impl WebhookEvent {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RunFinished, Self::ConfirmationPending, Self::BudgetThreshold, Self::Anomaly];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunFinished => "run.finished",
            Self::ConfirmationPending => "confirmation.pending",
            Self::BudgetThreshold => "budget.threshold",
            Self::Anomaly => "anomaly",
        }
    }

    /// The event of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == name)
    }
}

/// How long after each failed try the next one comes: eight tries in about a day. After the last there is none.
pub const WEBHOOK_WAITS: [Duration; 7] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(15 * 3600),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_tries_span_a_day() {
        assert!(WebhookEvent::ALL.into_iter().all(|event| WebhookEvent::parse(event.as_str()) == Some(event)));
        assert_eq!(WebhookEvent::parse("run.began"), None);
        let hours = WEBHOOK_WAITS.iter().sum::<Duration>().as_secs() / 3600;
        assert!((23..=25).contains(&hours), "{hours}");
        assert!(WEBHOOK_WAITS.is_sorted());
    }
}
