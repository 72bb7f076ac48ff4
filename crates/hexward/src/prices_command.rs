//! `hexward prices`: what models cost on a day, and whether that can be relied on.

use crate::arguments::PricesArgs;
use crate::clock::SystemClock;
use crate::config::{self, Public};
use anyhow::{Context, Result};
use policy::{Clock, ModelPrice, PRICES_REVIEWED_DAY, Rates, Timestamp, date_of_day, day_of_date, rate_text};
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;

/// Prices that nobody compared with the provider's for so long may be wrong.
const AGE_DAYS_MAX: i64 = 60;

/// Carries the command out.
pub fn prices(args: &PricesArgs) -> Result<ExitCode> {
    let public = config::load_public(args.config.as_deref())?;
    let at = match &args.at {
        None => SystemClock.now(),
        Some(text) => {
            Timestamp::of_utc_day(day_of_date(text).with_context(|| format!("--at: {text:?} is not a date like 2026-10-07"))?)
        }
    };
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", as_json(&public, at))?;
    } else {
        write!(out, "{}", as_text(&public, at))?;
    }
    if !args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let (faults, warnings) = check(&public, at);
    let mut err = std::io::stderr();
    for text in &warnings {
        writeln!(err, "warning: {text}")?;
    }
    for text in &faults {
        writeln!(err, "fault: {text}")?;
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong, and what may be.
fn check(public: &Public, at: Timestamp) -> (Vec<String>, Vec<String>) {
    let unknown = public.models.iter().filter(|(_, model)| !public.prices.knows(model, at));
    let faults = unknown.map(|(app, model)| {
        format!("app {app}: {model} has no price, so it costs as much as the dearest; add it under [[prices]]")
    });
    let mut warnings = public.prices.oddities();
    let age = at.utc_day() - PRICES_REVIEWED_DAY;
    if age > AGE_DAYS_MAX {
        let day = date_of_day(PRICES_REVIEWED_DAY);
        warnings.push(format!(
            "the built-in prices were compared with the provider's on {day}, {age} days before; compare them, or upgrade"
        ));
    }
    (faults.collect(), warnings)
}

/// Each price in force and the rates of large prompts and of the fast mode below it.
fn rows(public: &Public, at: Timestamp) -> Vec<(String, String, Rates, &ModelPrice)> {
    let mut rows = Vec::new();
    for price in public.prices.table(at) {
        let name = if price.id.is_empty() { "(any other)" } else { price.id.as_ref() };
        rows.push((name.to_owned(), "".to_owned(), price.rates, price));
        if let Some(tier) = price.above {
            rows.push((name.to_owned(), format!("over {} tokens", tier.tokens), tier.rates, price));
        }
        if let Some(fast) = price.fast {
            rows.push((name.to_owned(), "fast".to_owned(), fast, price));
        }
    }
    rows
}

const fn columns(rates: &Rates) -> [i64; 5] {
    [rates.input, rates.cache_write_5m, rates.cache_write_1h, rates.cache_read, rates.output]
}

fn as_text(public: &Public, at: Timestamp) -> String {
    let mut text = format!("USD per million tokens on {}\n", date_of_day(at.utc_day()));
    let head = ["input", "write 5m", "write 1h", "read", "output"].map(|name| format!("{name:>9}")).concat();
    text.push_str(&format!("{:<22} {:<18}{head}  from\n", "model", ""));
    for (name, kind, rates, price) in rows(public, at) {
        let amounts = columns(&rates).map(|rate| format!("{:>9}", rate_text(rate))).concat();
        let own = if public.prices.is_own(price) { " own" } else { "" };
        let from = if price.from_day == 0 { "-".to_owned() } else { date_of_day(price.from_day) };
        text.push_str(&format!("{name:<22} {kind:<18}{amounts}  {from}{own}\n"));
    }
    text
}

fn as_json(public: &Public, at: Timestamp) -> Value {
    let row = |(name, kind, rates, price): (String, String, Rates, &ModelPrice)| {
        let [input, write_5m, write_1h, read, output] = columns(&rates);
        json!({
            "model": name, "kind": kind, "own": public.prices.is_own(price), "from": date_of_day(price.from_day),
            "nanousd_per_token": {
                "input": input, "cache_write_5m": write_5m, "cache_write_1h": write_1h, "cache_read": read, "output": output,
            },
        })
    };
    let rows: Vec<Value> = rows(public, at).into_iter().map(row).collect();
    json!({"at": date_of_day(at.utc_day()), "reviewed": date_of_day(PRICES_REVIEWED_DAY), "prices": rows})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(model: &str) -> Public {
        Public { providers: Vec::new(), prices: policy::Prices::default(), models: vec![("app".to_owned(), model.to_owned())] }
    }

    #[test]
    fn the_check_finds_what_has_no_price_and_what_is_old() {
        let reviewed = Timestamp::of_utc_day(PRICES_REVIEWED_DAY);
        assert_eq!(check(&public("claude-sonnet-5-5"), reviewed), (Vec::new(), Vec::new()));
        let (faults, _) = check(&public("claude-sonnet-9"), reviewed);
        assert!(faults.len() == 1 && faults.concat().contains("claude-sonnet-9 has no price"), "{faults:?}");
        let late = |days| check(&public("claude-sonnet-5-5"), Timestamp::of_utc_day(PRICES_REVIEWED_DAY + days)).1.len();
        assert_eq!((late(60), late(61)), (0, 1));
    }

    #[test]
    fn the_table_shows_each_kind_of_price() {
        let at = Timestamp::of_utc_day(PRICES_REVIEWED_DAY);
        let text = as_text(&public("m"), at);
        let line = |begin: &str, kind: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(begin) && line.contains(kind))
                .unwrap_or_else(|| panic!("{begin} {kind} in\n{text}"));
            line.split_whitespace().rev().take(6).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(line("claude-haiku-5-5", "over"), ["-", "2.50", "0.05", "1.00", "0.625", "0.50"]);
        assert_eq!(line("claude-opus-5-5", "fast"), ["-", "40.00", "0.40", "16.00", "10.00", "8.00"]);
        assert_eq!(line("claude-sonnet-5-5", ""), ["2026-10-07", "10.00", "0.10", "4.00", "2.50", "2.00"]);
        assert!(
            text.contains("(any other)")
                && as_json(&public("m"), at).pointer("/prices").and_then(Value::as_array).is_some_and(|rows| rows.len() > 20)
        );
    }
}
