//! The `anthropic-ratelimit-*` headers: steady numbers, and a reset time that is renewed once a second.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use parking_lot::Mutex;

/// The organisation every answer names, like the real header.
const ORGANIZATION: HeaderValue = HeaderValue::from_static("5f0c1d2e-0000-4000-8000-66616b650001");
const RESET_SECONDS: i64 = 30;

type Limit = (HeaderName, HeaderName, HeaderName, HeaderValue, HeaderValue);

macro_rules! limit {
    ($kind:literal, $limit:literal, $remaining:literal) => {
        (
            HeaderName::from_static(concat!("anthropic-ratelimit-", $kind, "-limit")),
            HeaderName::from_static(concat!("anthropic-ratelimit-", $kind, "-remaining")),
            HeaderName::from_static(concat!("anthropic-ratelimit-", $kind, "-reset")),
            HeaderValue::from_static($limit),
            HeaderValue::from_static($remaining),
        )
    };
}

#[derive(Debug)]
pub struct LimitHeaders {
    limits: [Limit; 4],
    reset: Mutex<(i64, HeaderValue)>,
}

impl LimitHeaders {
    #[must_use]
    pub fn new() -> Self {
        let limits = [
            limit!("requests", "4000", "3999"),
            limit!("input-tokens", "2000000", "1999000"),
            limit!("output-tokens", "400000", "400000"),
            limit!("tokens", "2400000", "2399000"),
        ];
        Self { limits, reset: Mutex::new((i64::MIN, HeaderValue::from_static(""))) }
    }

    pub fn add(&self, headers: &mut HeaderMap, now: Timestamp) {
        let reset = self.reset(now);
        for (limit, remaining, at, limit_value, remaining_value) in &self.limits {
            headers.insert(limit, limit_value.clone());
            headers.insert(remaining, remaining_value.clone());
            headers.insert(at, reset.clone());
        }
        headers.insert(HeaderName::from_static("anthropic-organization-id"), ORGANIZATION);
    }

    fn reset(&self, now: Timestamp) -> HeaderValue {
        let second = now.as_second();
        let mut kept = self.reset.lock();
        if kept.0 != second {
            let at = Timestamp::from_second(second.saturating_add(RESET_SECONDS)).unwrap_or(now);
            let value = HeaderValue::try_from(at.to_string()).unwrap_or(HeaderValue::from_static(""));
            *kept = (second, value);
        }
        kept.1.clone()
    }
}
