//! `[[prices]]`: an operator's own prices, before the built-in ones from their first day on.

use super::Faults;
use policy::{ModelPrice, PriceError, Prices, Rates, Tier, day_of_date, parse_rate};
use serde::Deserialize;

/// One `[[prices]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceFile {
    model: String,
    #[serde(default)]
    from: Option<String>,
    input: Amount,
    output: Amount,
    cache_read: Option<Amount>,
    cache_write_5m: Option<Amount>,
    cache_write_1h: Option<Amount>,
    above: Option<AboveFile>,
}

/// Large prompts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AboveFile {
    tokens: u64,
    input: Amount,
    output: Amount,
    cache_read: Option<Amount>,
    cache_write_5m: Option<Amount>,
    cache_write_1h: Option<Amount>,
}

/// Dollars per million tokens, as a text or as a number: the digits that stand there are what counts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Amount {
    Text(String),
    Whole(i64),
    Number(f64),
}

impl Amount {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Whole(whole) => whole.to_string(),
            Self::Number(number) => number.to_string(),
        }
    }
}

type Caches<'a> = [&'a Option<Amount>; 3];

pub(super) fn read(files: &[PriceFile], faults: &mut Faults) -> Prices {
    let prices: Vec<ModelPrice> =
        files.iter().enumerate().filter_map(|(at, file)| price(&format!("prices[{}]", at + 1), file, faults)).collect();
    match Prices::new(prices) {
        Ok(prices) => prices,
        Err(error @ (PriceError::Rate(_) | PriceError::Twice(_) | PriceError::Name)) => {
            faults.add("prices", &error.to_string());
            Prices::default()
        }
    }
}

fn price(place: &str, file: &PriceFile, faults: &mut Faults) -> Option<ModelPrice> {
    let from_day = file.from.as_deref().map_or(Some(0), day_of_date);
    if from_day.is_none() {
        faults.add(&format!("{place}.from"), "must be a date like 2026-10-07");
    }
    let caches = [&file.cache_read, &file.cache_write_5m, &file.cache_write_1h];
    let usual = rates(place, (&file.input, &file.output), caches, faults);
    let above = file.above.as_ref().map(|above| {
        let caches = [&above.cache_read, &above.cache_write_5m, &above.cache_write_1h];
        let rates = rates(&format!("{place}.above"), (&above.input, &above.output), caches, faults)?;
        Some(Tier { tokens: above.tokens, rates })
    });
    let above = match above {
        None => None,
        Some(above) => Some(above?),
    };
    Some(ModelPrice { id: file.model.clone().into(), from_day: from_day?, rates: usual?, above, fast: None })
}

/// What is not said of caches is what is never too little: a read costs as much as the prompt, a write twice as much.
fn rates(place: &str, (input, output): (&Amount, &Amount), caches: Caches<'_>, faults: &mut Faults) -> Option<Rates> {
    let mut rate = |key: &str, amount: &Amount| {
        let rate = parse_rate(&amount.text());
        rate.map_err(|error| faults.add(&format!("{place}.{key}"), &error.to_string())).ok()
    };
    let (input, output) = (rate("input", input), rate("output", output));
    let [read, five_minutes, hour] = caches;
    let mut or = |key: &str, amount: &Option<Amount>, times: i64| match amount {
        Some(amount) => rate(key, amount),
        None => input.map(|input| input * times),
    };
    let cache_read = or("cache_read", read, 1);
    let cache_write_5m = or("cache_write_5m", five_minutes, 2);
    let cache_write_1h = or("cache_write_1h", hour, 2);
    Some(Rates {
        input: input?,
        output: output?,
        cache_read: cache_read?,
        cache_write_5m: cache_write_5m?,
        cache_write_1h: cache_write_1h?,
    })
}
