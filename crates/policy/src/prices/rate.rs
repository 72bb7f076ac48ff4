//! Prices as an operator writes them: USD per million tokens, read exactly, never through a float.

/// The dearest rate that is believed: $10,000 per million tokens, in nano-dollars per token.
pub const RATE_MAX: i64 = 10_000_000;

/// A text that is no price.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RateError {
    /// Not a plain decimal number.
    #[error("must be dollars per million tokens as a plain number, like 2.50")]
    Form,
    /// Finer than a nano-dollar per token.
    #[error("must not have more than three decimals")]
    Fine,
    /// Absurd.
    #[error("must be between 0 and 10000 dollars per million tokens")]
    Range,
}

/// Dollars per million tokens as nano-dollars per token: exactly three decimals of room.
///
/// # Errors
/// [`RateError`]; a sign is one.
pub fn parse_rate(text: &str) -> Result<i64, RateError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = text.strip_prefix('-') {
        return Err(if rest.bytes().all(|b| b.is_ascii_digit() || b == b'.') { RateError::Range } else { RateError::Form });
    }
    if !plain(whole) || !plain(fraction) {
        return Err(RateError::Form);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 3 {
        return Err(RateError::Fine);
    }
    let thousandths = format!("{fraction:0<3}").parse::<i64>().map_err(|_| RateError::Form)?;
    let whole = whole.trim_start_matches('0');
    if whole.len() > 5 {
        return Err(RateError::Range);
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().map_err(|_| RateError::Form)? };
    let rate = whole * 1000 + thousandths;
    if rate > RATE_MAX { Err(RateError::Range) } else { Ok(rate) }
}

/// A rate as dollars per million tokens.
#[must_use]
pub fn rate_text(rate: i64) -> String {
    let text = format!("{}.{:03}", rate / 1000, rate % 1000);
    let trimmed = text.trim_end_matches('0');
    let decimals = trimmed.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    format!("{trimmed}{}", "0".repeat(2_usize.saturating_sub(decimals)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_nano_dollars_exactly() {
        for (text, rate) in [("0.10", 100), ("0.1", 100), ("0.125", 125), ("2", 2000), ("12.50", 12_500), ("0", 0), ("0.005", 5)]
        {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
            assert_eq!(parse_rate(&rate_text(rate)), Ok(rate), "{text} as it is shown");
        }
        assert_eq!((parse_rate("10000"), parse_rate("10000.001")), (Ok(RATE_MAX), Err(RateError::Range)));
        assert_eq!((rate_text(125), rate_text(2000), rate_text(200)), ("0.125".into(), "2.00".into(), "0.20".into()));
    }

    #[test]
    fn nothing_else_is_a_price() {
        for text in ["", ".", "1.", ".5", "1e3", "0x1", "+1", "1,5", " 1", "NaN", "inf", "1.2.3", "--1", "-x", "١"] {
            assert_eq!(parse_rate(text), Err(RateError::Form), "{text:?}");
        }
        for text in ["-1", "-0.5", "-0", "99999999999999999999", "100000"] {
            assert_eq!(parse_rate(text), Err(RateError::Range), "{text:?}");
        }
        assert_eq!(parse_rate("0.0001"), Err(RateError::Fine));
        assert_eq!(parse_rate("0.1000"), Ok(100), "a zero says nothing more");
    }
}
