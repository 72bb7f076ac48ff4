//! How long a search takes over as many cards as the real game has. The figure is printed; the bound is what was promised.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "many/generated.rs"]
mod generated;

use generated::Numbers;
use magic::card::Colors;
use magic::catalog::{Catalog, ColorMatch, Filters};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const SEARCHES: usize = 1_000;
const P50_MAX: Duration = Duration::from_millis(2);

fn generated() -> Catalog {
    Catalog::new(generated::cards().collect(), HashMap::new())
}

fn percentile(times: &mut [Duration], of_hundred: usize) -> Duration {
    times.sort_unstable();
    times[times.len() * of_hundred / 100]
}

#[test]
fn a_search_over_35000_cards_takes_less_than_two_milliseconds() {
    let begun = Instant::now();
    let catalog = generated();
    let built = begun.elapsed();
    let mut numbers = Numbers(11);
    let (mut times, mut found) = (Vec::with_capacity(SEARCHES), 0);
    for at in 0..SEARCHES {
        // Words alone, words with filters, filters alone (which look at every card), and a late page.
        let query = if at % 4 == 2 {
            String::new()
        } else {
            let count = 1 + numbers.next(3);
            numbers.words(count)
        };
        let filters = match at % 4 {
            0 => Filters::default(),
            1 => Filters { types: vec!["creature".to_owned()], mana_value_max: Some(3.0), ..Filters::default() },
            2 => Filters {
                colors: Colors::of_word("R").map(|red| (red, ColorMatch::Exactly)),
                format: Some(6),
                ..Filters::default()
            },
            _ => Filters { identity: Colors::of_word("WU"), ..Filters::default() },
        };
        let skip = if at % 8 == 7 { 500 } else { 0 };
        let begun = Instant::now();
        let result = catalog.search(&query, &filters, skip, 10);
        times.push(begun.elapsed());
        assert!(result.cards.len() <= 10);
        found += result.total;
    }
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!(
        "mtg.search.p50_ms {:.3} p99_ms {:.3} cards {} built in {built:?}",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        catalog.len()
    );
    assert!(found > SEARCHES, "searches that find nothing measure nothing");
    assert!(p50 < P50_MAX, "{p50:?}");
}

#[test]
fn near_names_of_35000_are_found_at_once() {
    let catalog = generated();
    let name = catalog.cards().nth(12_345).unwrap().name.clone();
    let misspelt: String = name.chars().enumerate().filter(|(at, _)| *at != 2).map(|(_, c)| c).collect();
    let begun = Instant::now();
    let near = catalog.near(&misspelt, 5);
    println!("mtg.near_ms {:.3}", begun.elapsed().as_secs_f64() * 1e3);
    assert!(near.contains(&name.as_str()), "{misspelt}: {near:?}");
}
