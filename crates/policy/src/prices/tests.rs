use super::*;
use crate::Extras;
use proptest::prelude::*;

const NOVEMBER: Timestamp = Timestamp::of_utc_day(20_770);
const OCTOBER_7: i64 = 20_733;

fn own(id: &'static str, from_day: i64, input: i64) -> ModelPrice {
    let rates = Rates { input, output: 5 * input, cache_read: input / 10, cache_write_5m: input, cache_write_1h: 2 * input };
    ModelPrice { id: id.into(), from_day, rates, above: None, fast: None }
}

#[test]
fn known_calls_cost_what_the_provider_says() {
    let cost = |model: &str, usage: Usage| price_of(model, NOVEMBER).cost(&usage).0;
    let million = Usage { input: 1_000_000, output: 1_000_000, ..Usage::default() };
    let cached = Usage { cache_read: 1_000_000, cache_write_5m: 1_000_000, cache_write_1h: 1_000_000, ..Usage::default() };
    // Input and output, and a read and both writes, of a million tokens each, in thousandths of a dollar.
    for (model, both, caches) in [
        ("claude-fable-5-1", 60000, 32750),
        ("claude-mythos-5-1-20260901", 60000, 32750),
        ("claude-fable-5", 60000, 33500),
        ("claude-opus-5-5", 24000, 13200),
        ("claude-opus-5", 30000, 16750),
        ("claude-opus-4-8", 30000, 16750),
        ("claude-opus-4-1", 90000, 50250),
        ("claude-sonnet-5-5", 12000, 6600),
        ("claude-sonnet-5", 12000, 6700),
        ("claude-sonnet-4-5-20250929", 18000, 10050),
        ("claude-haiku-4-5", 6000, 3350),
        ("claude-haiku-5-5", 3000, 1675),
    ] {
        assert_eq!((cost(model, million), cost(model, cached)), (both * 1000, caches * 1000), "{model}");
    }
    assert_eq!(cost("claude-opus-5-5", Usage { input: 100, output: 12, ..Usage::default() }), 640);
    assert_eq!(cost("claude-haiku-5-5", Usage { input: 100_000, output: 10, ..Usage::default() }), 10_005);
    assert_eq!(cost("claude-haiku-5-5", Usage { input: 100_001, output: 10, ..Usage::default() }), 50_026);
    let halves = Usage { input: 50_000, cache_read: 50_001, output: 10, ..Usage::default() };
    assert_eq!(cost("claude-haiku-5-5", halves), 27_526, "what was read from the cache counts for the size of the prompt");
    assert_eq!(cost("claude-haiku-5-5", Usage { input: 1, ..Usage::default() }), 1, "a fraction is rounded up, never to nothing");
}

#[test]
fn what_makes_a_call_dearer_is_paid_for() {
    let cost =
        |model: &str, extras| price_of(model, NOVEMBER).cost(&Usage { input: 1000, output: 1000, extras, ..Usage::default() }).0;
    let fast = Extras { fast: true, ..Extras::default() };
    assert_eq!((cost("claude-opus-5-5", Extras::default()), cost("claude-opus-5-5", fast)), (24_000, 48_000));
    assert_eq!(cost("claude-opus-5", fast), 48_000);
    assert_eq!(cost("claude-haiku-4-5", fast), cost("nobody-knows", Extras::default()), "a mode that has no price");
    let us = Extras { us: true, ..Extras::default() };
    assert_eq!(cost("claude-opus-5-5", us), 26_400);
    assert_eq!(cost("claude-opus-5-5", Extras { us: true, fast: true, ..us }), 52_800);
    let tools = Extras { web_searches: 3, other_server_tools: 1, ..Extras::default() };
    assert_eq!(cost("claude-opus-5-5", tools), 24_000 + 30_000 + 50_000, "$10 for 1,000 searches, an hour of a container");
}

#[test]
fn a_successor_is_not_priced_as_what_it_succeeds() {
    assert!(
        is_version_of("claude-sonnet-5-5", "claude-sonnet-5-5") && is_version_of("claude-sonnet-5-20260101", "claude-sonnet-5")
    );
    assert!(is_version_of("claude-sonnet-4-latest", "claude-sonnet-4"));
    for other in ["claude-sonnet-5-5", "claude-sonnet-5-9", "claude-sonnet-55", "claude-sonnet-5-max", "claude-sonnet"] {
        assert!(!is_version_of(other, "claude-sonnet-5"), "{other}");
    }
    assert_eq!(price_of("claude-opus-5-9", NOVEMBER), &UNKNOWN);
    assert!(!Prices::default().knows("claude-opus-5-9", NOVEMBER) && Prices::default().knows("claude-opus-5-5", NOVEMBER));
}

#[test]
fn a_price_has_a_first_day() {
    let before = Timestamp(Timestamp::of_utc_day(OCTOBER_7).0 - 1);
    assert_eq!(price_of("claude-sonnet-5-5", before).rates.cache_read, 200);
    assert_eq!(price_of("claude-sonnet-5-5", Timestamp::of_utc_day(OCTOBER_7)).rates.cache_read, 100);
}

#[test]
fn an_operators_own_price_goes_before_the_built_in_one_from_its_day_on() {
    let prices =
        Prices::new(vec![own("claude-opus-5-5", 20_800, 9000), own("claude-opus-5-5", 20_780, 8000), own("house-model", 0, 7)])
            .expect("good prices");
    let input = |model: &str, day| prices.of(model, Timestamp::of_utc_day(day)).rates.input;
    assert_eq!([20_779, 20_780, 20_799, 20_800].map(|day| input("claude-opus-5-5", day)), [4000, 8000, 8000, 9000]);
    assert_eq!(input("house-model-20260101", 0), 7);
    assert_eq!(input("claude-sonnet-5-5", 20_800), 2000, "the others stay");
    let (day_before, after) = (Timestamp::of_utc_day(20_779), Timestamp::of_utc_day(20_801));
    assert_eq!(prices.ceiling("claude-opus-5-5", day_before, day_before, 1000, 0), Microusd(8800));
    assert_eq!(prices.ceiling("claude-opus-5-5", day_before, after, 1000, 0), Microusd(19_800), "the dearest on the way");
    let table = prices.table(after);
    assert!(table.iter().filter(|price| price.id == "claude-opus-5-5").count() == 1 && table.last() == Some(&&UNKNOWN));
    assert_eq!(table.iter().filter(|price| prices.is_own(price)).count(), 2);
}

#[test]
fn bad_prices_are_refused_and_odd_ones_named() {
    let negative = ModelPrice { rates: Rates { cache_read: -1, ..own("m", 0, 10).rates }, ..own("m", 0, 10) };
    assert_eq!(Prices::new(vec![negative]), Err(PriceError::Rate("m".to_owned())));
    let tier = Some(Tier { tokens: 5, rates: Rates { output: -5, ..own("m", 0, 10).rates } });
    assert_eq!(Prices::new(vec![ModelPrice { above: tier, ..own("m", 0, 10) }]), Err(PriceError::Rate("m".to_owned())));
    assert_eq!(Prices::new(vec![own("m", 0, RATE_MAX)]), Err(PriceError::Rate("m".to_owned())), "its output is above the bound");
    assert_eq!(Prices::new(vec![own("m", 3, 1), own("m", 3, 2)]), Err(PriceError::Twice("m".to_owned())));
    assert_eq!(Prices::new(vec![own("", 0, 1)]), Err(PriceError::Name));
    assert_eq!(Prices::new(vec![own("m", 0, 10)]).expect("good").oddities(), Vec::<String>::new());
    let odd = ModelPrice { rates: Rates { cache_read: 20, output: 1, ..own("m", 0, 10).rates }, ..own("m", 0, 10) };
    assert_eq!(Prices::new(vec![odd]).expect("odd, not wrong").oddities().len(), 2);
    assert_eq!(Prices::new(vec![own("m", 0, 0)]).expect("free").oddities(), ["m: it is free"]);
}

#[test]
fn an_unknown_model_is_never_cheaper_than_a_known_one() {
    for known in PRICES {
        for rates in [Some(known.rates), known.above.map(|tier| tier.rates), known.fast].into_iter().flatten() {
            assert_eq!(UNKNOWN_RATES.dearer(rates), UNKNOWN_RATES, "{}", known.id);
            assert!(rates.all().iter().all(|rate| *rate > 0), "{}", known.id);
            assert!(rates.cache_read <= rates.input && rates.input <= rates.cache_write_5m, "{}", known.id);
            assert!(rates.cache_write_5m <= rates.cache_write_1h && rates.input <= rates.output, "{}", known.id);
        }
        let same = PRICES.iter().filter(|other| (&other.id, other.from_day) == (&known.id, known.from_day)).count();
        assert_eq!(same, 1, "{} stands twice for a day", known.id);
    }
}

fn usages() -> impl Strategy<Value = Usage> {
    let tokens = || prop_oneof![0..200_u64, 99_000..101_000_u64, any::<u64>()];
    (tokens(), tokens(), tokens(), tokens(), tokens(), any::<bool>(), any::<bool>(), tokens(), tokens()).prop_map(
        |(input, output, cache_read, cache_write_5m, cache_write_1h, us, fast, web_searches, other_server_tools)| Usage {
            input,
            output,
            cache_read,
            cache_write_5m,
            cache_write_1h,
            extras: Extras { us, fast, web_searches, other_server_tools },
        },
    )
}

const MODELS: [&str; 4] = ["claude-opus-5-5", "claude-haiku-5-5", "claude-sonnet-5-5", "something-else"];

proptest! {
    #[test]
    fn no_usage_is_negative_or_cheaper_for_being_more(usage in usages(), more in usages(), model in prop::sample::select(&MODELS[..])) {
        let price = price_of(model, NOVEMBER);
        let sum = Usage {
            input: usage.input.saturating_add(more.input),
            output: usage.output.saturating_add(more.output),
            ..usage
        };
        prop_assert!(price.cost(&usage) >= Microusd::ZERO);
        prop_assert!(price.cost(&sum) >= price.cost(&usage));
        prop_assert!(usage == Usage::default() || price.cost(&usage) > Microusd::ZERO, "nothing that was used is free");
    }

    #[test]
    fn the_ceiling_holds_for_every_split_of_the_prompt(
        prompt in prop_oneof![0..10_u64, 99_990..100_010_u64, 0..2_000_000_u64],
        cuts in [0.0..1.0_f64, 0.0..1.0, 0.0..1.0],
        output in 0..64_000_u64,
        us in any::<bool>(),
        model in prop::sample::select(&MODELS[..]),
    ) {
        let price = price_of(model, NOVEMBER);
        let ceiling = price.ceiling(prompt, output);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a small number")]
        let share = |of: u64, cut: f64| (of as f64 * cut) as u64;
        let [first, second, third] = cuts;
        let input = share(prompt, first);
        let cache_read = share(prompt - input, second);
        let cache_write_5m = share(prompt - input - cache_read, third);
        let cache_write_1h = prompt - input - cache_read - cache_write_5m;
        let extras = Extras { us, ..Extras::default() };
        let usage = Usage { input, output, cache_read, cache_write_5m, cache_write_1h, extras };
        prop_assert!(price.cost(&usage) <= ceiling, "{usage:?}");
        let fewer = Usage { input: input / 2, ..usage };
        prop_assert!(price.cost(&fewer) <= ceiling, "a smaller prompt of another tier: {fewer:?}");
    }
}

#[test]
fn absurd_reports_are_no_measure() {
    let most = Usage { input: u64::MAX, output: u64::MAX, ..Usage::default() };
    assert!(!most.is_plausible() && price_of("claude-opus-5-5", NOVEMBER).cost(&most) == Microusd(i64::MAX), "it saturates");
    assert!(!Usage { cache_read: 100_000_001, ..Usage::default() }.is_plausible());
    assert!(!Usage { extras: Extras { web_searches: u64::MAX, ..Extras::default() }, ..Usage::default() }.is_plausible());
    assert!(Usage { input: 5_000_000, output: 128_000, ..Usage::default() }.is_plausible());
}
