//! Prices as data with effective dates, tiers and per-model cache rates; an unknown model is priced pessimistically.
//!
//! USD per million tokens equals micro-dollars per token, so rates are kept as nano-dollars per token to stay integer ($0.10
//! per million = 100). Invariant: no price is negative, and no cost is below what the provider's list says.

mod builtin;
mod rate;

pub use builtin::PRICES_REVIEWED_DAY;
pub use rate::{RATE_MAX, RateError, parse_rate, rate_text};

use crate::{CacheWrites, Microusd, Timestamp, Usage};
use builtin::{PRICES, UNKNOWN, UNKNOWN_RATES};
use std::borrow::Cow;

/// Nano-dollars per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Uncached prompt.
    pub input: i64,
    /// Output.
    pub output: i64,
    /// Cache read.
    pub cache_read: i64,
    /// Five-minute cache write.
    pub cache_write_5m: i64,
    /// One-hour cache write.
    pub cache_write_1h: i64,
}

impl Rates {
    /// As the provider lists them: `input` and `output` in cents per million tokens, `read_permille` of the input rate for
    /// cache reads; writes are 1.25 and 2 times the input rate.
    const fn list(input: i64, output: i64, read_permille: i64) -> Self {
        Self {
            input: input * 10,
            output: output * 10,
            cache_read: input * 10 * read_permille / 1000,
            cache_write_5m: input * 10 * 5 / 4,
            cache_write_1h: input * 10 * 2,
        }
    }

    const fn all(&self) -> [i64; 5] {
        [self.input, self.output, self.cache_read, self.cache_write_5m, self.cache_write_1h]
    }

    /// For each kind of token the dearer of two.
    fn dearer(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write_5m: self.cache_write_5m.max(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
        }
    }
}

/// What large prompts cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Above this many prompt tokens the whole call costs `rates`.
    pub tokens: u64,
    /// The rates of such a call, output included.
    pub rates: Rates,
}

/// What a model costs from a day on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPrice {
    /// The model's id, without the date or the word `latest` that may follow it. Empty for the unknown model.
    pub id: Cow<'static, str>,
    /// The first UTC day of this price, as days since 1970.
    pub from_day: i64,
    /// The rates.
    pub rates: Rates,
    /// The rates of large prompts, where they differ.
    pub above: Option<Tier>,
    /// The rates of the fast mode, where there is one.
    pub fast: Option<Rates>,
}

/// Why own prices are not taken.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PriceError {
    /// A rate below zero or absurd.
    #[error("the price of {0:?} has a rate that is negative or above 10000 dollars per million tokens")]
    Rate(String),
    /// Two prices from the same day on.
    #[error("the price of {0:?} stands twice for the same day")]
    Twice(String),
    /// No name.
    #[error("a price needs the id of a model")]
    Name,
}

/// All prices: an operator's own before the built-in ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    own: Vec<ModelPrice>,
}

impl Prices {
    /// The built-in prices with an operator's own before them. From its first day on an own price hides the built-in one.
    ///
    /// # Errors
    /// [`PriceError`].
    pub fn new(own: Vec<ModelPrice>) -> Result<Self, PriceError> {
        for (at, price) in own.iter().enumerate() {
            let rates = [Some(price.rates), price.above.map(|tier| tier.rates), price.fast];
            if price.id.is_empty() {
                return Err(PriceError::Name);
            }
            if rates.iter().flatten().any(|rates| rates.all().iter().any(|rate| !(0..=RATE_MAX).contains(rate))) {
                return Err(PriceError::Rate(price.id.to_string()));
            }
            if own.iter().take(at).any(|other| (&other.id, other.from_day) == (&price.id, price.from_day)) {
                return Err(PriceError::Twice(price.id.to_string()));
            }
        }
        Ok(Self { own })
    }

    /// The price of a model at a moment; the unknown model's where there is none.
    #[must_use]
    pub fn of(&self, model: &str, at: Timestamp) -> &ModelPrice {
        self.on_day(model, at.utc_day())
    }

    fn on_day(&self, model: &str, day: i64) -> &ModelPrice {
        let newest = |prices: &'static [ModelPrice]| in_force(prices, model, day);
        in_force(&self.own, model, day).or_else(|| newest(PRICES)).unwrap_or(&UNKNOWN)
    }

    /// Whether a model has a price of its own at a moment.
    #[must_use]
    pub fn knows(&self, model: &str, at: Timestamp) -> bool {
        !self.of(model, at).id.is_empty()
    }

    /// The most a call can cost that is paid for somewhere between two moments: a price that changes meanwhile is counted in.
    #[must_use]
    pub fn ceiling(
        &self,
        model: &str,
        from: Timestamp,
        until: Timestamp,
        prompt_tokens_max: u64,
        output_tokens_max: u64,
    ) -> Microusd {
        self.ceiling_of(model, from, until, prompt_tokens_max, CacheWrites::OneHour, output_tokens_max)
    }

    /// The same for a request of which it is known what it lets the provider write into its cache.
    #[must_use]
    pub fn ceiling_of(
        &self,
        model: &str,
        from: Timestamp,
        until: Timestamp,
        prompt_tokens_max: u64,
        writes: CacheWrites,
        output_tokens_max: u64,
    ) -> Microusd {
        let (first, last) = (from.utc_day(), until.utc_day());
        let changes = self.own.iter().chain(PRICES).filter(|price| is_version_of(model, &price.id)).map(|price| price.from_day);
        let days = changes.filter(|day| (first + 1..=last).contains(day)).chain([first]);
        let ceilings = days.map(|day| self.on_day(model, day).ceiling_of(prompt_tokens_max, writes, output_tokens_max));
        ceilings.max().unwrap_or(Microusd(i64::MAX))
    }

    /// What is in force on a day: one price for each known model, the unknown one's last.
    #[must_use]
    pub fn table(&self, at: Timestamp) -> Vec<&ModelPrice> {
        let day = at.utc_day();
        let mut ids: Vec<&str> = self.own.iter().chain(PRICES).map(|price| price.id.as_ref()).collect();
        ids.sort_unstable();
        ids.dedup();
        let in_force = ids.into_iter().map(|id| self.on_day(id, day)).filter(|price| !price.id.is_empty());
        in_force.chain([&UNKNOWN]).collect()
    }

    /// Whether a price of the table is an operator's own.
    #[must_use]
    pub fn is_own(&self, price: &ModelPrice) -> bool {
        self.own.contains(price)
    }

    /// What of an operator's own prices is unusual enough to be a mistake.
    #[must_use]
    pub fn oddities(&self) -> Vec<String> {
        self.own.iter().flat_map(oddities).collect()
    }
}

/// The built-in price of a model at a moment.
#[must_use]
pub fn price_of(model: &str, at: Timestamp) -> &'static ModelPrice {
    in_force(PRICES, model, at.utc_day()).unwrap_or(&UNKNOWN)
}

/// Of those that fit the closest name, and of one name the latest day.
fn in_force<'a>(prices: &'a [ModelPrice], model: &str, day: i64) -> Option<&'a ModelPrice> {
    let applies = |price: &&ModelPrice| price.from_day <= day && is_version_of(model, &price.id);
    prices.iter().filter(applies).max_by_key(|price| (price.id.len(), price.from_day))
}

fn oddities(price: &ModelPrice) -> Vec<String> {
    let Rates { input, output, cache_read, cache_write_5m, cache_write_1h } = price.rates;
    [
        (cache_read > input, "a cache read costs more than the prompt itself"),
        (cache_write_5m < input || cache_write_1h < cache_write_5m, "a cache write costs less than the prompt, or longer less"),
        (output < input, "output costs less than the prompt"),
        (input == 0 || output == 0, "it is free"),
    ]
    .into_iter()
    .filter(|(odd, _)| *odd)
    .map(|(_, text)| format!("{}: {text}", price.id))
    .collect()
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

/// Inference that stays in the United States costs 1.1 times as much. It can be the default of the operator's workspace at the
/// provider, of which the gateway knows nothing before the answer; so every ceiling has room for it.
const fn in_the_us(nano: i128) -> i128 {
    nano + (nano + 9) / 10
}

/// $10 for 1,000 searches, in nano-dollars.
const WEB_SEARCH_NANO: i64 = 10_000_000;
/// $0.05 for an hour of a container: a use is counted as a whole hour, and any other tool as the dearest that is known.
const SERVER_TOOL_NANO: i64 = 50_000_000;

impl ModelPrice {
    const fn rates_for(&self, prompt_tokens: u64) -> Rates {
        match self.above {
            Some(tier) if prompt_tokens > tier.tokens => tier.rates,
            Some(_) | None => self.rates,
        }
    }

    /// What a measured call cost.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Microusd {
        let extras = usage.extras;
        let usual = self.rates_for(usage.prompt());
        let rates = match (extras.fast, self.fast) {
            (false, _) => usual,
            (true, Some(fast)) => fast,
            (true, None) => usual.dearer(UNKNOWN_RATES),
        };
        let tokens = nano(usage.input, rates.input)
            + nano(usage.output, rates.output)
            + nano(usage.cache_read, rates.cache_read)
            + nano(usage.cache_write_5m, rates.cache_write_5m)
            + nano(usage.cache_write_1h, rates.cache_write_1h);
        let tokens = if extras.us { in_the_us(tokens) } else { tokens };
        let tools = nano(extras.web_searches, WEB_SEARCH_NANO) + nano(extras.other_server_tools, SERVER_TOOL_NANO);
        round_up(tokens + tools)
    }

    /// The most a call can cost that uses no server tool and no fast mode: every prompt token at the dearest prompt rate, every
    /// allowed output token written, in the United States.
    #[must_use]
    pub fn ceiling(&self, prompt_tokens_max: u64, output_tokens_max: u64) -> Microusd {
        self.ceiling_of(prompt_tokens_max, CacheWrites::OneHour, output_tokens_max)
    }

    /// The same at the dearest rate that such a request's prompt can have.
    #[must_use]
    pub fn ceiling_of(&self, prompt_tokens_max: u64, writes: CacheWrites, output_tokens_max: u64) -> Microusd {
        // Where large prompts are cheaper, a smaller one than the largest possible is dearer.
        let rates = match self.above {
            Some(tier) if prompt_tokens_max > tier.tokens => tier.rates.dearer(self.rates),
            Some(_) | None => self.rates,
        };
        round_up(in_the_us(nano(prompt_tokens_max, writes.dearest(rates)) + nano(output_tokens_max, rates.output)))
    }
}

#[cfg(test)]
mod tests;
