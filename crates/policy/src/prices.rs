//! Prices as data with effective dates, tiers and per-model cache rates; an unknown model is priced pessimistically.
//!
//! Source: the provider's pricing and models pages, October 2026. USD per million tokens equals micro-dollars per token, so
//! rates are kept as nano-dollars per token to stay integer ($0.10 per million = 100).

use crate::{Microusd, Timestamp, Usage};

/// Nano-dollars per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Uncached prompt.
    pub input: i64,
    /// Output.
    pub output: i64,
    /// Cache read.
    pub cache_read: i64,
    /// Five-minute cache write (1.25 x input).
    pub cache_write_5m: i64,
    /// One-hour cache write (2 x input).
    pub cache_write_1h: i64,
}

impl Rates {
    /// `input` and `output` in cents per million tokens, `read_permille` of the input rate for cache reads.
    const fn new(input: i64, output: i64, read_permille: i64) -> Self {
        Self {
            input: input * 10,
            output: output * 10,
            cache_read: input * 10 * read_permille / 1000,
            cache_write_5m: input * 10 * 5 / 4,
            cache_write_1h: input * 10 * 2,
        }
    }
}

/// What a model costs from a day on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelPrice {
    /// The model's id, without the date or the word `latest` that may follow it.
    pub id: &'static str,
    /// The first UTC day of this price, as days since 1970.
    pub from_day: i64,
    /// Rates for a prompt of up to `tier_tokens`.
    pub rates: Rates,
    /// Above this many prompt tokens the whole call costs `above`.
    pub tier_tokens: u64,
    /// Rates for larger prompts.
    pub above: Rates,
}

const fn flat(id: &'static str, from_day: i64, rates: Rates) -> ModelPrice {
    ModelPrice { id, from_day, rates, tier_tokens: u64::MAX, above: rates }
}

/// 2026-10-07, when cache reads of Sonnet 5.5 became cheaper.
const OCTOBER_7: i64 = 20_733;

/// Of equal ids the later day comes first. A model that is not here, a successor included, is priced as unknown.
const PRICES: &[ModelPrice] = &[
    flat("claude-fable-5-1", 0, Rates::new(1000, 5000, 25)),
    flat("claude-mythos-5-1", 0, Rates::new(1000, 5000, 25)),
    flat("claude-fable-5", 0, Rates::new(1000, 5000, 100)),
    flat("claude-mythos-5", 0, Rates::new(1000, 5000, 100)),
    flat("claude-opus-5-5", 0, Rates::new(400, 2000, 50)),
    flat("claude-opus-5", 0, Rates::new(500, 2500, 100)),
    flat("claude-opus-4-8", 0, Rates::new(500, 2500, 100)),
    flat("claude-opus-4-7", 0, Rates::new(500, 2500, 100)),
    flat("claude-opus-4-6", 0, Rates::new(500, 2500, 100)),
    flat("claude-opus-4-5", 0, Rates::new(500, 2500, 100)),
    flat("claude-opus-4-1", 0, Rates::new(1500, 7500, 100)),
    flat("claude-opus-4", 0, Rates::new(1500, 7500, 100)),
    flat("claude-sonnet-5-5", OCTOBER_7, Rates::new(200, 1000, 50)),
    flat("claude-sonnet-5-5", 0, Rates::new(200, 1000, 100)),
    flat("claude-sonnet-5", 0, Rates::new(200, 1000, 100)),
    flat("claude-sonnet-4-6", 0, Rates::new(300, 1500, 100)),
    flat("claude-sonnet-4-5", 0, Rates::new(300, 1500, 100)),
    flat("claude-sonnet-4", 0, Rates::new(300, 1500, 100)),
    ModelPrice {
        id: "claude-haiku-5-5",
        from_day: 0,
        rates: Rates::new(10, 50, 100),
        tier_tokens: 100_000,
        above: Rates::new(50, 250, 100),
    },
    flat("claude-haiku-4-5", 0, Rates::new(100, 500, 100)),
];

/// Nobody knows what it costs, so it costs as much as the dearest.
const UNKNOWN: ModelPrice = flat("", 0, Rates { cache_read: 20_000, ..Rates::new(1500, 7500, 1000) });

/// The prices of a model at a moment.
#[must_use]
pub fn price_of(model: &str, at: Timestamp) -> ModelPrice {
    let applies = |price: &&ModelPrice| is_version_of(model, price.id) && price.from_day <= at.utc_day();
    PRICES.iter().find(applies).copied().unwrap_or(UNKNOWN)
}

/// Whether a name is this id, as it is or with the date of a snapshot.
#[must_use]
pub fn is_version_of(model: &str, id: &str) -> bool {
    let Some(rest) = model.strip_prefix(id) else { return false };
    let is_date = |rest: &str| rest.len() == 8 && rest.bytes().all(|b| b.is_ascii_digit());
    rest.is_empty() || rest.strip_prefix('-').is_some_and(|rest| rest == "latest" || is_date(rest))
}

/// Tokens times a rate, in nano-dollars.
const fn nano(tokens: u64, rate: i64) -> i128 {
    tokens as i128 * rate as i128
}

/// Rounded up to the next micro-dollar, so that many small calls never add up to a free one.
fn round_up(nano: i128) -> Microusd {
    Microusd(i64::try_from(nano.div_euclid(1000) + i128::from(nano.rem_euclid(1000) != 0)).unwrap_or(i64::MAX))
}

impl ModelPrice {
    const fn rates_for(&self, prompt_tokens: u64) -> Rates {
        if prompt_tokens > self.tier_tokens { self.above } else { self.rates }
    }

    /// What a measured call cost.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Microusd {
        let rates = self.rates_for(usage.prompt());
        round_up(
            nano(usage.input, rates.input)
                + nano(usage.output, rates.output)
                + nano(usage.cache_read, rates.cache_read)
                + nano(usage.cache_write_5m, rates.cache_write_5m)
                + nano(usage.cache_write_1h, rates.cache_write_1h),
        )
    }

    /// The most a call can cost: every prompt token at the dearest prompt rate, every allowed output token written.
    #[must_use]
    pub fn ceiling(&self, prompt_tokens_max: u64, output_tokens_max: u64) -> Microusd {
        let rates = self.rates_for(prompt_tokens_max);
        let dearest = rates.input.max(rates.cache_write_1h).max(rates.cache_write_5m).max(rates.cache_read);
        round_up(nano(prompt_tokens_max, dearest) + nano(output_tokens_max, rates.output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOVEMBER: Timestamp = Timestamp(20_770 * 86_400_000_000);

    #[test]
    fn known_calls_cost_what_the_provider_says() {
        let cost = |model: &str, usage: Usage| price_of(model, NOVEMBER).cost(&usage).0;
        assert_eq!(cost("claude-opus-5-5", Usage { input: 100, output: 12, ..Usage::default() }), 640);
        assert_eq!(cost("claude-sonnet-5-5", Usage { cache_read: 1_000_000, ..Usage::default() }), 100_000);
        assert_eq!(cost("claude-haiku-5-5", Usage { input: 100_000, output: 10, ..Usage::default() }), 10_005);
        assert_eq!(cost("claude-haiku-5-5", Usage { input: 100_001, output: 10, ..Usage::default() }), 50_026);
        assert_eq!(
            cost("claude-haiku-5-5", Usage { input: 1, ..Usage::default() }),
            1,
            "a fraction is rounded up, never to nothing"
        );
    }

    #[test]
    fn a_successor_is_not_priced_as_what_it_succeeds() {
        assert!(
            is_version_of("claude-sonnet-5-5", "claude-sonnet-5-5")
                && is_version_of("claude-sonnet-5-20260101", "claude-sonnet-5")
        );
        assert!(is_version_of("claude-sonnet-4-latest", "claude-sonnet-4"));
        for other in ["claude-sonnet-5-5", "claude-sonnet-5-9", "claude-sonnet-55", "claude-sonnet-5-max", "claude-sonnet"] {
            assert!(!is_version_of(other, "claude-sonnet-5"), "{other}");
        }
        assert_eq!(price_of("claude-opus-5-9", NOVEMBER), UNKNOWN);
    }

    #[test]
    fn a_price_has_a_first_day() {
        let before = Timestamp((OCTOBER_7 - 1) * 86_400_000_000);
        assert_eq!(price_of("claude-sonnet-5-5", before).rates.cache_read, 200);
        assert_eq!(price_of("claude-sonnet-5-5", NOVEMBER).rates.cache_read, 100);
    }

    #[test]
    fn an_unknown_model_is_never_cheaper_than_a_known_one() {
        for known in PRICES {
            for rates in [known.rates, known.above] {
                assert!(UNKNOWN.rates.input >= rates.input && UNKNOWN.rates.output >= rates.output, "{}", known.id);
                assert!(UNKNOWN.rates.cache_read >= rates.cache_read && UNKNOWN.rates.cache_write_1h >= rates.cache_write_1h);
                assert!(rates.input > 0 && rates.output > 0 && rates.cache_read > 0);
            }
        }
    }

    #[test]
    fn the_ceiling_holds_for_every_split_of_the_prompt() {
        for model in ["claude-opus-5-5", "claude-haiku-5-5", "something-else"] {
            let price = price_of(model, NOVEMBER);
            for prompt in [0_u64, 1, 99_999, 100_000, 100_001, 1_000_000] {
                let ceiling = price.ceiling(prompt, 4000);
                for parts in [(prompt, 0, 0, 0), (0, prompt, 0, 0), (0, 0, prompt, 0), (0, 0, 0, prompt)] {
                    let usage = Usage {
                        input: parts.0,
                        cache_read: parts.1,
                        cache_write_5m: parts.2,
                        cache_write_1h: parts.3,
                        output: 4000,
                    };
                    assert!(price.cost(&usage) <= ceiling, "{model} {usage:?}");
                }
            }
        }
    }
}
