//! What a call used, as the provider reports it while it answers. Fields that are new are passed over; a value that could mean
//! more than is known leaves no measure, and the call is charged at its ceiling.

use policy::{CacheWrites, Extras, Usage};
use serde::Deserialize;
use serde_json::{Map, Value};

/// `usage`, wherever it stands.
#[derive(Deserialize)]
pub(super) struct UsageFields {
    #[serde(flatten)]
    tokens: TokenFields,
    service_tier: Option<String>,
    inference_geo: Option<String>,
    speed: Option<String>,
    server_tool_use: Option<Map<String, Value>>,
    iterations: Option<Vec<Iteration>>,
}

#[derive(Deserialize)]
struct TokenFields {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
}

#[derive(Deserialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

/// One of several samplings behind an answer. The counts beside them may leave some out.
#[derive(Deserialize)]
struct Iteration {
    model: Option<String>,
    #[serde(flatten)]
    tokens: TokenFields,
}

impl TokenFields {
    /// Counts are cumulative: a later one replaces an earlier one, never adds to it.
    fn replace(&self, usage: &mut Usage, writes: CacheWrites) {
        usage.input = self.input_tokens.unwrap_or(usage.input);
        usage.output = self.output_tokens.unwrap_or(usage.output);
        usage.cache_read = self.cache_read_input_tokens.unwrap_or(usage.cache_read);
        if let Some(total) = self.cache_creation_input_tokens {
            let split = self.cache_creation.as_ref();
            let of = |count: fn(&CacheCreation) -> Option<u64>| split.and_then(count).unwrap_or(0);
            let five_minutes = of(|split| split.ephemeral_5m_input_tokens).min(total);
            let hour = of(|split| split.ephemeral_1h_input_tokens).min(total - five_minutes);
            let unsaid = total - five_minutes - hour;
            // What is not said to be of one kind is of the dearest that the request allowed, which is what was reserved.
            let (more_five_minutes, more_hour) = match writes {
                CacheWrites::OneHour => (0, unsaid),
                CacheWrites::FiveMinutes | CacheWrites::None => (unsaid, 0),
            };
            (usage.cache_write_5m, usage.cache_write_1h) = (five_minutes + more_five_minutes, hour + more_hour);
        } else if let Some(split) = &self.cache_creation {
            usage.cache_write_5m = split.ephemeral_5m_input_tokens.unwrap_or(usage.cache_write_5m);
            usage.cache_write_1h = split.ephemeral_1h_input_tokens.unwrap_or(usage.cache_write_1h);
        }
    }
}

/// What was reported so far.
pub(super) struct Used {
    model: String,
    reported: Usage,
    iterations: Usage,
    /// What the request allowed.
    writes: CacheWrites,
    /// Something was said that has no price here.
    unpriced: bool,
}

impl Used {
    /// Nothing yet, by this model, to a request that allowed such writes.
    pub(super) fn new(model: &str, writes: CacheWrites) -> Self {
        let (reported, iterations) = (Usage::default(), Usage::default());
        Self { model: model.to_owned(), reported, iterations, writes, unpriced: false }
    }

    /// Takes in a later report.
    pub(super) fn update(&mut self, fields: &UsageFields) {
        fields.tokens.replace(&mut self.reported, self.writes);
        if let Some(iterations) = &fields.iterations {
            self.iterations = sum(iterations, self.writes);
            let ours = |model: &String| *model == self.model || policy::is_version_of(model, &self.model);
            self.unpriced |= iterations.iter().filter_map(|iteration| iteration.model.as_ref()).any(|model| !ours(model));
        }
        // The list price is the highest that any of these tiers has.
        let known_tier = |tier: &String| matches!(tier.as_str(), "standard" | "priority" | "batch");
        self.unpriced |= !fields.service_tier.as_ref().is_none_or(known_tier);
        if let Some(geo) = &fields.inference_geo {
            self.reported.extras.us = !matches!(geo.as_str(), "global" | "not_available");
        }
        match fields.speed.as_deref() {
            None => {}
            Some("standard") => self.reported.extras.fast = false,
            Some("fast") => self.reported.extras.fast = true,
            Some(_) => self.unpriced = true,
        }
        if let Some(tools) = &fields.server_tool_use {
            self.server_tools(tools);
        }
    }

    fn server_tools(&mut self, tools: &Map<String, Value>) {
        let extras = &mut self.reported.extras;
        *extras = Extras { web_searches: 0, other_server_tools: 0, ..*extras };
        for (name, count) in tools {
            let Some(count) = count.as_u64() else {
                // Nothing, or a new object beside the counts: only a number that is none is a fault.
                self.unpriced |= count.is_number();
                continue;
            };
            match name.as_str() {
                "web_search_requests" => extras.web_searches = count,
                "web_fetch_requests" => {}
                _ => extras.other_server_tools = extras.other_server_tools.saturating_add(count),
            }
        }
    }

    /// The last report, if it can be priced.
    pub(super) fn usage(&self) -> Option<Usage> {
        let (reported, iterations) = (self.reported, self.iterations);
        // The kinds of writes may be told in one place only, so they are compared together.
        let written = |usage: &Usage| usage.cache_write_5m.saturating_add(usage.cache_write_1h);
        let more_written = if written(&iterations) > written(&reported) { iterations } else { reported };
        let usage = Usage {
            input: reported.input.max(iterations.input),
            output: reported.output.max(iterations.output),
            cache_read: reported.cache_read.max(iterations.cache_read),
            cache_write_5m: more_written.cache_write_5m,
            cache_write_1h: more_written.cache_write_1h,
            extras: reported.extras,
        };
        (!self.unpriced && usage.is_plausible()).then_some(usage)
    }
}

fn sum(iterations: &[Iteration], writes: CacheWrites) -> Usage {
    iterations.iter().fold(Usage::default(), |sum, iteration| {
        let mut one = Usage::default();
        iteration.tokens.replace(&mut one, writes);
        Usage {
            input: sum.input.saturating_add(one.input),
            output: sum.output.saturating_add(one.output),
            cache_read: sum.cache_read.saturating_add(one.cache_read),
            cache_write_5m: sum.cache_write_5m.saturating_add(one.cache_write_5m),
            cache_write_1h: sum.cache_write_1h.saturating_add(one.cache_write_1h),
            extras: Extras::default(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn used(reports: &[Value]) -> Option<Usage> {
        used_of(CacheWrites::OneHour, reports)
    }

    fn used_of(writes: CacheWrites, reports: &[Value]) -> Option<Usage> {
        let mut used = Used::new("m", writes);
        for report in reports {
            used.update(&serde_json::from_value(report.clone()).expect("a usage"));
        }
        used.usage()
    }

    const TWO: Usage = Usage {
        input: 1,
        output: 2,
        cache_read: 0,
        cache_write_5m: 0,
        cache_write_1h: 0,
        extras: Extras { us: false, fast: false, web_searches: 0, other_server_tools: 0 },
    };

    #[test]
    fn what_is_new_is_passed_over() {
        let report = json!({
            "input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": null, "cache_creation": null,
            "output_tokens_details": {"thinking_tokens": 1}, "service_tier": "standard", "inference_geo": "not_available",
            "speed": "standard", "fallback_credit": null, "brand_new": [{"x": -1}], "server_tool_use": null, "iterations": null,
        });
        assert_eq!(used(&[report]), Some(TWO));
    }

    #[test]
    fn a_write_of_no_kind_is_of_the_dearest_that_was_allowed() {
        let written = |writes, report: Value| {
            used_of(writes, &[report]).map(|usage| (usage.input, usage.cache_write_5m, usage.cache_write_1h))
        };
        let unsaid = || json!({"input_tokens": 1, "cache_creation_input_tokens": 9});
        assert_eq!(written(CacheWrites::OneHour, unsaid()), Some((1, 0, 9)));
        assert_eq!(written(CacheWrites::FiveMinutes, unsaid()), Some((1, 9, 0)));
        assert_eq!(written(CacheWrites::None, unsaid()), Some((1, 9, 0)), "more than was allowed, and still paid for");
        let split = |five: u64, hour: u64| {
            json!({"input_tokens": 1, "cache_creation_input_tokens": 9,
                "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour}})
        };
        for writes in [CacheWrites::None, CacheWrites::FiveMinutes, CacheWrites::OneHour] {
            assert_eq!(written(writes, split(4, 5)), Some((1, 4, 5)), "what is said holds");
        }
        assert_eq!(written(CacheWrites::FiveMinutes, split(2, 3)), Some((1, 6, 3)), "and the rest is of a kind, too");
        assert_eq!(written(CacheWrites::OneHour, split(2, 30)), Some((1, 2, 7)), "never more than in all");
    }

    #[test]
    fn what_costs_more_is_seen() {
        let with = |name: &str, value: Value| used(&[json!({"input_tokens": 1, "output_tokens": 2}), json!({name: value})]);
        let extras = |name, value| with(name, value).map(|usage| usage.extras);
        assert_eq!(extras("inference_geo", json!("us")), Some(Extras { us: true, ..Extras::default() }));
        assert_eq!(extras("inference_geo", json!("moon")), Some(Extras { us: true, ..Extras::default() }), "the dearest known");
        assert_eq!(extras("speed", json!("fast")), Some(Extras { fast: true, ..Extras::default() }));
        let tools =
            json!({"web_search_requests": 2, "web_fetch_requests": 9, "code_execution_requests": 1, "new_requests": 3, "x": {}});
        let expected = Extras { web_searches: 2, other_server_tools: 4, ..Extras::default() };
        assert_eq!(extras("server_tool_use", tools), Some(expected));
    }

    #[test]
    fn what_has_no_price_is_no_measure() {
        let with = |name: &str, value: Value| used(&[json!({"input_tokens": 1, "output_tokens": 2}), json!({name: value})]);
        assert_eq!(with("speed", json!("ludicrous")), None);
        assert_eq!(with("service_tier", json!("platinum")), None);
        assert_eq!(with("server_tool_use", json!({"web_search_requests": -1})), None);
        assert_eq!(with("iterations", json!([{"type": "fallback_message", "model": "dearer", "output_tokens": 1}])), None);
        assert_eq!(with("output_tokens", json!(u64::MAX)), None, "no call can have used that");
        for bad in [json!({"input_tokens": -1}), json!({"output_tokens": 1.5}), json!({"output_tokens": "9"})] {
            assert!(serde_json::from_value::<UsageFields>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn iterations_count_where_the_sum_beside_them_leaves_some_out() {
        let compacted = json!([
            {"type": "compaction", "input_tokens": 100, "output_tokens": 10, "cache_creation_input_tokens": 4},
            {"type": "message", "model": "m-20260101", "input_tokens": 1, "output_tokens": 2},
        ]);
        let usage = used(&[json!({"input_tokens": 1, "output_tokens": 2, "iterations": compacted})]);
        assert_eq!(usage, Some(Usage { input: 101, output: 12, cache_write_1h: 4, ..TWO }));
        let same = json!({"input_tokens": 1, "output_tokens": 2, "iterations": [{"type": "message", "input_tokens": 1, "output_tokens": 2}]});
        assert_eq!(used(&[same.clone(), same]), Some(TWO), "reported twice, counted once");
    }
}
