//! The provider's list prices, as data.
//!
//! Source: the provider's pricing and models pages, October 2026.

use super::{ModelPrice, Rates, Tier};
use crate::time::day_of;
use std::borrow::Cow;

/// The day on which this table was last compared with the provider's pages.
pub const PRICES_REVIEWED_DAY: i64 = day_of(2026, 10, 24);

/// When cache reads of Sonnet 5.5 became cheaper.
const OCTOBER_7: i64 = day_of(2026, 10, 7);

const fn flat(id: &'static str, from_day: i64, rates: Rates) -> ModelPrice {
    ModelPrice { id: Cow::Borrowed(id), from_day, rates, above: None, fast: None }
}

const fn with_fast(id: &'static str, from_day: i64, rates: Rates, fast: Rates) -> ModelPrice {
    ModelPrice { id: Cow::Borrowed(id), from_day, rates, above: None, fast: Some(fast) }
}

/// A model that is not here, a successor included, is priced as unknown.
pub(super) static PRICES: &[ModelPrice] = &[
    flat("claude-fable-5-1", 0, Rates::list(1000, 5000, 25)),
    flat("claude-mythos-5-1", 0, Rates::list(1000, 5000, 25)),
    flat("claude-fable-5", 0, Rates::list(1000, 5000, 100)),
    flat("claude-mythos-5", 0, Rates::list(1000, 5000, 100)),
    with_fast("claude-opus-5-5", 0, Rates::list(400, 2000, 50), Rates::list(800, 4000, 50)),
    with_fast("claude-opus-5", 0, Rates::list(500, 2500, 100), Rates::list(800, 4000, 100)),
    flat("claude-opus-4-8", 0, Rates::list(500, 2500, 100)),
    flat("claude-opus-4-7", 0, Rates::list(500, 2500, 100)),
    flat("claude-opus-4-6", 0, Rates::list(500, 2500, 100)),
    flat("claude-opus-4-5", 0, Rates::list(500, 2500, 100)),
    flat("claude-opus-4-1", 0, Rates::list(1500, 7500, 100)),
    flat("claude-opus-4", 0, Rates::list(1500, 7500, 100)),
    flat("claude-sonnet-5-5", OCTOBER_7, Rates::list(200, 1000, 50)),
    flat("claude-sonnet-5-5", 0, Rates::list(200, 1000, 100)),
    flat("claude-sonnet-5", 0, Rates::list(200, 1000, 100)),
    flat("claude-sonnet-4-6", 0, Rates::list(300, 1500, 100)),
    flat("claude-sonnet-4-5", 0, Rates::list(300, 1500, 100)),
    flat("claude-sonnet-4", 0, Rates::list(300, 1500, 100)),
    ModelPrice {
        id: Cow::Borrowed("claude-haiku-5-5"),
        from_day: 0,
        rates: Rates::list(10, 50, 100),
        above: Some(Tier { tokens: 100_000, rates: Rates::list(50, 250, 100) }),
        fast: None,
    },
    flat("claude-haiku-4-5", 0, Rates::list(100, 500, 100)),
];

/// Nobody knows what it costs, so it costs as much as the dearest.
pub(super) static UNKNOWN: ModelPrice = flat("", 0, UNKNOWN_RATES);
pub(super) const UNKNOWN_RATES: Rates = Rates { cache_read: 20_000, ..Rates::list(1500, 7500, 1000) };
