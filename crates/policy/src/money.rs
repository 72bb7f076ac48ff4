//! Money in integer micro-dollars: no floats, no rounding drift.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Micro-dollars (1,000,000 = $1). Never negative where it is a price, a cost or a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Microusd(pub i64);

impl Microusd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Whole dollars.
    #[must_use]
    pub const fn dollars(dollars: i64) -> Self {
        Self(dollars.saturating_mul(1_000_000))
    }

    /// The sum; at the edge of the type it saturates, which only ever makes a cost larger than a budget.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Microusd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        write!(f, "{sign}${}.{:06}", amount / 1_000_000, amount % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::Microusd;

    #[test]
    fn money_reads_as_dollars() {
        assert_eq!(Microusd(1_250_000).to_string(), "$1.250000");
        assert_eq!(Microusd(-1).to_string(), "-$0.000001");
        assert_eq!(Microusd(i64::MAX).plus(Microusd(1)), Microusd(i64::MAX));
    }
}
