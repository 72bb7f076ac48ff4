//! How often callers elsewhere may call, asked before a body is read; and what each of their answers says of it.

use crate::Proxy;
use crate::answer::{self, Body};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use policy::{Denial, DenialCode, ModelPath, RateRefusal, RateRules, RateStanding, Throttle, call_weight_millis};
use store::{RateError, Rates};

/// A client that is told to may wait this long by itself; one that would have to wait longer is told to give up.
const RETRY_SECS_MAX: i64 = 60;
const LIMIT: HeaderName = HeaderName::from_static("anthropic-ratelimit-requests-limit");
const REMAINING: HeaderName = HeaderName::from_static("anthropic-ratelimit-requests-remaining");
const RESET: HeaderName = HeaderName::from_static("anthropic-ratelimit-requests-reset");

/// What callers may do, and what they owe.
pub(crate) struct Pacing {
    pub(crate) rates: Rates,
    pub(crate) rules: RateRules,
}

/// How the tightest limit of an admitted call stands.
pub(crate) struct Pace(Option<RateStanding>);

/// A call that was not admitted.
pub(crate) struct TooMany {
    /// The limit that was reached; none where that could not be looked up.
    pub(crate) code: Option<DenialCode>,
    pub(crate) answer: Response<Body>,
}

impl Pace {
    /// Says so in an answer. The provider's own such headers were removed before (`headers.rs`).
    pub(crate) fn mark(&self, response: &mut Response<Body>) {
        if let Some(standing) = &self.0 {
            mark(response, standing);
        }
    }
}

/// Counts a call with a key in all its limits, or answers with the refusal. `per_hour` is the key's own limit, if it has one. A
/// gateway without limits (one that has no callers) admits everything.
pub(crate) async fn admit(
    proxy: &Proxy,
    key: &str,
    per_hour: Option<u64>,
    weight_millis: u64,
    throttle: Throttle,
) -> Result<Pace, TooMany> {
    let Some(pacing) = &proxy.rates else { return Ok(Pace(None)) };
    let checks = pacing.rules.of_call(key, per_hour, weight_millis, throttle);
    match pacing.rates.admit(checks, proxy.clock.now()).await {
        Ok(standing) => Ok(Pace(standing)),
        Err(RateError::Refused(refusal)) => Err(TooMany { code: Some(refusal.code), answer: refused(&refusal) }),
        Err(RateError::Store(error)) => {
            tracing::error!(%error, "a call's rate could not be looked up, so it was refused");
            let text = "The gateway can't reach its database right now. Nothing was charged; try again in a moment.";
            Err(TooMany { code: None, answer: answer::unavailable(text) })
        }
    }
}

/// What a request weighs, before its body is read.
pub(crate) fn weight_millis<B: hyper::body::Body>(method: &str, path: &str, body: &B) -> u64 {
    call_weight_millis(ModelPath::parse(method, path), body.size_hint().exact())
}

fn refused(refusal: &RateRefusal) -> Response<Body> {
    let seconds = refusal.retry_after_secs();
    let denial = Denial::new(refusal.code, "");
    let mut response = answer::error(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", denial.message());
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    headers.insert("x-should-retry", HeaderValue::from_static(if seconds <= RETRY_SECS_MAX { "true" } else { "false" }));
    headers.insert("x-hexward-denial", HeaderValue::from_static(refusal.code.as_str()));
    mark(&mut response, &refusal.standing);
    response
}

fn mark(response: &mut Response<Body>, standing: &RateStanding) {
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(standing.limit));
    headers.insert(REMAINING, HeaderValue::from(standing.remaining));
    if let Ok(reset) = HeaderValue::try_from(standing.reset_at.to_rfc3339()) {
        headers.insert(RESET, reset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Timestamp;

    fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
        response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[test]
    fn a_refusal_says_when_and_whether_to_try_again() {
        let standing = RateStanding { limit: 100, remaining: 0, reset_at: Timestamp(1_800_000_000_000_001) };
        for (micros, seconds, retry) in [(1, "1", "true"), (60_000_000, "60", "true"), (60_000_001, "61", "false")] {
            let refused = refused(&RateRefusal { code: DenialCode::RateKey, retry_after_micros: micros, standing });
            assert_eq!(refused.status(), 429);
            assert_eq!((header(&refused, "retry-after"), header(&refused, "x-should-retry")), (seconds, retry));
            assert_eq!(header(&refused, "x-hexward-denial"), "rate.key");
            assert_eq!(header(&refused, "anthropic-ratelimit-requests-limit"), "100");
            assert_eq!(header(&refused, "anthropic-ratelimit-requests-remaining"), "0");
            assert_eq!(header(&refused, "anthropic-ratelimit-requests-reset"), "2027-01-15T08:00:01Z", "not too early");
        }
    }
}
