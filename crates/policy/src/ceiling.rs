//! The most that one call can cost, as tight as what was measured before allows.
//!
//! Assumption: text has no more tokens than bytes. The provider's tokenizers work on bytes, so that every token of a text covers
//! one or more of them. What is not text of the request is not covered by that, and stands here as constants: what the provider
//! wraps around messages, blocks and tools, and its own instructions for them. Images and documents are counted by who reads
//! the request. A call that is measured above its ceiling is charged as measured and told, because then a constant is wrong.

use crate::Rates;

/// What the provider adds to a prompt by itself (its instructions for tools, for thinking, for a forced choice), with room to
/// spare: it documents less than 1,000.
pub const PROMPT_OVERHEAD_TOKENS: u64 = 2_000;
/// Around a message: who speaks, where it begins and ends.
pub const MESSAGE_TOKENS: u64 = 16;
/// Around a block, and around a tool.
pub const BLOCK_TOKENS: u64 = 32;

/// A prompt by its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// What the longest known beginning was measured to have: its prompt, and the model's answer to it where that is repeated
    /// here. None when no beginning is known.
    pub settled: Option<u64>,
    /// Bytes of what is new; of everything, where no beginning is known.
    pub new_bytes: u64,
    /// What images and documents among it may have beyond their bytes.
    pub new_extra_tokens: u64,
    /// Messages among it.
    pub new_messages: u64,
    /// Blocks and tools among it.
    pub new_blocks: u64,
}

impl Prompt {
    /// No call with this prompt has more tokens.
    #[must_use]
    pub const fn tokens_max(&self) -> u64 {
        // What the provider adds is in what was measured already, but it may choose to add something else this time.
        self.settled_or_none()
            .saturating_add(self.new_bytes)
            .saturating_add(self.new_extra_tokens)
            .saturating_add(self.new_messages.saturating_mul(MESSAGE_TOKENS))
            .saturating_add(self.new_blocks.saturating_mul(BLOCK_TOKENS))
            .saturating_add(PROMPT_OVERHEAD_TOKENS)
    }

    const fn settled_or_none(&self) -> u64 {
        match self.settled {
            Some(tokens) => tokens,
            None => 0,
        }
    }
}

/// What a request lets the provider write into its cache. Which part of a prompt is written, read or neither is the provider's
/// to say: a cache can be lost at any moment, so nothing is taken for read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheWrites {
    /// Nothing.
    #[default]
    None,
    /// For five minutes.
    FiveMinutes,
    /// For an hour, or for a time that is not known here.
    OneHour,
}

impl CacheWrites {
    /// The dearest rate that a prompt token of such a request can have.
    #[must_use]
    pub const fn dearest(self, rates: Rates) -> i64 {
        let read = larger(rates.input, rates.cache_read);
        match self {
            Self::None => read,
            Self::FiveMinutes => larger(read, rates.cache_write_5m),
            Self::OneHour => larger(larger(read, rates.cache_write_5m), rates.cache_write_1h),
        }
    }
}

const fn larger(one: i64, other: i64) -> i64 {
    if one > other { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Timestamp, Usage, price_of};
    use proptest::prelude::*;

    const NOVEMBER: Timestamp = Timestamp(20_770 * 86_400_000_000);

    #[test]
    fn what_was_measured_takes_the_place_of_its_bytes() {
        let all = Prompt { new_bytes: 100_000, new_messages: 40, new_blocks: 60, ..Prompt::default() };
        let known = Prompt { settled: Some(25_000), new_bytes: 600, new_messages: 2, new_blocks: 2, ..Prompt::default() };
        assert_eq!(all.tokens_max(), 100_000 + 40 * 16 + 60 * 32 + 2_000);
        assert_eq!(known.tokens_max(), 25_000 + 600 + 2 * 16 + 2 * 32 + 2_000);
        assert_eq!(Prompt { new_bytes: u64::MAX, ..known }.tokens_max(), u64::MAX, "absurd numbers stay absurd, not small");
    }

    #[test]
    fn a_rate_counts_only_where_it_can_apply() {
        let price = price_of("claude-sonnet-5-5", NOVEMBER);
        let of = |writes| price.ceiling_of(1_000_000, writes, 0).0;
        // $2 for a million of prompt, $2.50 and $4 where it is written; and a tenth more for the United States.
        assert_eq!(of(CacheWrites::None), 2_200_000, "not the rate of a read, which can fail");
        assert_eq!(of(CacheWrites::FiveMinutes), 2_750_000);
        assert_eq!(of(CacheWrites::OneHour), 4_400_000);
        assert_eq!(of(CacheWrites::OneHour), price.ceiling(1_000_000, 0).0);
    }

    proptest! {
        /// Whatever the provider reads, writes or takes anew, and wherever a price changes with the prompt's size.
        #[test]
        fn no_call_costs_more(
            model in prop::sample::select(vec!["claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-5-5", "unheard-of"]),
            writes in prop::sample::select(vec![CacheWrites::None, CacheWrites::FiveMinutes, CacheWrites::OneHour]),
            settled in prop::option::of(0_u64..150_000),
            new in (0_u64..150_000, 0_u64..20_000, 0_u64..50, 0_u64..50),
            cuts in (0.0..1.0_f64, 0.0..1.0_f64, 0.0..1.0_f64, 0.0..=1.0_f64),
            output in 0_u64..8_000,
            short in 0_u64..8_000,
        ) {
            let prompt = Prompt { settled, new_bytes: new.0, new_extra_tokens: new.1, new_messages: new.2, new_blocks: new.3 };
            let ceiling = price_of(model, NOVEMBER).ceiling_of(prompt.tokens_max(), writes, output);
            let used = share(prompt.tokens_max(), cuts.3);
            let input = share(used, cuts.0);
            let cache_read = share(used - input, cuts.1);
            let written = used - input - cache_read;
            let (five, hour) = match writes {
                CacheWrites::None => (0, 0),
                CacheWrites::FiveMinutes => (written, 0),
                CacheWrites::OneHour => (share(written, cuts.2), written - share(written, cuts.2)),
            };
            let usage = Usage {
                input: used - cache_read - five - hour, cache_read, cache_write_5m: five, cache_write_1h: hour,
                output: output.saturating_sub(short), ..Usage::default()
            };
            prop_assert!(price_of(model, NOVEMBER).cost(&usage) <= ceiling, "{usage:?}");
        }
    }

    /// A part of a number, by thousandths.
    fn share(whole: u64, part: f64) -> u64 {
        let thousandths = (0..=1000_u32).take_while(|n| f64::from(*n) <= part * 1000.0).last().unwrap_or(0);
        whole * u64::from(thousandths) / 1000
    }
}
