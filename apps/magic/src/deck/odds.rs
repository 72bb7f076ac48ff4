//! Draws without putting back.

/// The natural logarithm of the number of ways to choose `chosen` of `all`.
fn ln_choose(all: u32, chosen: u32) -> f64 {
    (1..=chosen.min(all - chosen)).map(|at| (f64::from(all - at + 1) / f64::from(at)).ln()).sum()
}

/// The probability that exactly `hits` of `draws` cards are among the `copies` of a deck of `cards`.
#[must_use]
pub fn exactly(cards: u32, copies: u32, draws: u32, hits: u32) -> f64 {
    let (copies, draws) = (copies.min(cards), draws.min(cards));
    if hits > copies || hits > draws || draws - hits > cards - copies {
        return 0.0;
    }
    (ln_choose(copies, hits) + ln_choose(cards - copies, draws - hits) - ln_choose(cards, draws)).exp()
}

/// The probability of at least `hits`.
#[must_use]
pub fn at_least(cards: u32, copies: u32, draws: u32, hits: u32) -> f64 {
    if hits == 0 {
        return 1.0;
    }
    // The shorter sum is the more exact one.
    let below: f64 = (0..hits).map(|few| exactly(cards, copies, draws, few)).sum();
    (1.0 - below).clamp(0.0, 1.0)
}

/// A probability as a percentage with one decimal, for people.
#[must_use]
pub fn percent(probability: f64) -> f64 {
    (probability * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: f64, other: f64) {
        assert!((one - other).abs() < 1e-9, "{one} is not {other}");
    }

    #[test]
    fn draws_are_as_the_textbook_says() {
        // 1 - C(56,7)/C(60,7)
        close(at_least(60, 4, 7, 1), 0.399_499_625_744_665_6);
        close(exactly(5, 2, 2, 1), 0.6);
        close(at_least(40, 17, 7, 0), 1.0);
        close((0..=7).map(|hits| exactly(60, 24, 7, hits)).sum(), 1.0);
    }

    #[test]
    fn what_can_t_be_has_no_probability() {
        close(exactly(60, 4, 7, 5), 0.0);
        close(exactly(7, 7, 7, 6), 0.0);
        close(at_least(60, 60, 7, 7), 1.0);
        close(at_least(10, 20, 30, 10), 1.0);
        close(at_least(60, 0, 7, 1), 0.0);
        close(exactly(0, 0, 0, 0), 1.0);
    }
}
