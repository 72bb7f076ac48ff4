//! The whole assistant over the real game's cards. They are nobody's to pass on, so they are never in this repository: `make cards`
//! installs a package that has them, and runs this. Everything else is tested without.

#![cfg(feature = "corpus")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "many/corpus.rs"]
mod corpus;

use magic::catalog::{ColorMatch, Filters};
use magic::deck::{Deck, legality};
use magic::library::Data;
use magic::{Imported, Library};
use policy::{Clock, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
/// Entries of the package's pinned version, and those that no deck has: planes, schemes, vanguards.
const ENTRIES: usize = 35_033;
const NOT_FOR_DECKS: u64 = 416;
const SEARCHES: usize = 1_000;
const P50_MAX: Duration = Duration::from_millis(2);

/// Always the same moment.
struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        NOW
    }
}

struct Corpus {
    names: Vec<String>,
    imported: Imported,
    data: Arc<Data>,
    _folder: tempfile::TempDir,
}

/// The package's cards, taken by the importer that operators use, and read from the database as a gateway does.
async fn opened() -> Corpus {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = corpus::installed(&root).expect("the corpus is not installed: scripts/setup.sh cards");
    let text = std::fs::read(file).unwrap();
    let names: Vec<Value> = serde_json::from_slice(&text).unwrap();
    // The package says of no card where it may be played; these few are said here.
    let legalities = BTreeMap::from([
        ("Black Lotus", json!({"vintage": "restricted", "legacy": "banned", "modern": "not_legal"})),
        ("Lightning Bolt", json!({"vintage": "legal", "legacy": "legal", "modern": "legal"})),
        ("Mountain", json!({"vintage": "legal", "legacy": "legal", "modern": "legal"})),
    ]);
    let file = corpus::as_scryfall(&text, &legalities).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("magic.db").display());
    let store = Store::open(&url, &[&magic::SCHEMA]).await.unwrap();
    let begun = Instant::now();
    let imported = magic::import(&store, Cursor::new(file), "2026-11-01", NOW).await.unwrap();
    let library = Library::new(store, Arc::new(Then));
    let read = begun.elapsed();
    assert!(library.refresh().await.unwrap());
    println!("imported in {read:?}, read and indexed in {:?}", begun.elapsed() - read);
    let data = library.data().await.unwrap();
    let names = names.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect();
    Corpus { names, imported, data, _folder: folder }
}

fn found(data: &Data, query: &str, filters: &Filters) -> (usize, Vec<String>) {
    let found = data.catalog.search(query, filters, 0, 10);
    (found.total, found.cards.iter().map(|card| card.name.clone()).collect())
}

fn verdict(data: &Data, list: &str, format: &str) -> (String, String) {
    let (at, format) = magic::formats::find(format).unwrap();
    let told = legality::judge(&Deck::parse(list, &data.catalog).unwrap(), &data.catalog, at, format);
    (told["verdict"].as_str().unwrap().to_owned(), told["problems"].to_string())
}

#[tokio::test]
async fn the_real_games_cards_are_imported_counted_found_and_judged() {
    let Corpus { names, imported, data, _folder } = opened().await;
    assert_eq!(names.len(), ENTRIES);
    let counts = &imported.counts;
    assert_eq!((counts.not_for_decks, counts.foreign, counts.again), (NOT_FOR_DECKS, 0, 0));
    assert!(counts.unusable <= 5, "{:?}", counts.examples);
    assert_eq!(counts.taken + counts.unusable + counts.not_for_decks, u64::try_from(ENTRIES).unwrap());
    assert_eq!(u64::try_from(data.catalog.len()).unwrap(), counts.taken);

    // Each card that was taken is found by its name, and no name leads to another card.
    let known: Vec<&str> = names.iter().map(String::as_str).filter(|name| data.catalog.find(name).is_some()).collect();
    let missing = names.len() - known.len();
    assert!(missing <= usize::try_from(NOT_FOR_DECKS + counts.unusable).unwrap(), "{missing} names are not found");
    let others: Vec<_> = known.iter().filter(|name| data.catalog.find(name).unwrap().name != **name).take(10).collect();
    println!("{missing} names are of no card in a deck; found under another card's name: {others:?}");
    assert!(others.len() < 10);

    let card = |name: &str| data.catalog.find(name).unwrap_or_else(|| panic!("{name} is not there"));
    for (name, cost, value, stats) in [
        ("lightning bolt", "{R}", 1.0, ""),
        ("Llanowar Elves", "{G}", 1.0, "1/1"),
        ("tarmogoyf", "{1}{G}", 2.0, "*/1+*"),
        ("Reaper King", "{2/W}{2/U}{2/B}{2/R}{2/G}", 10.0, "6/6"),
        ("Gitaxian Probe", "{U/P}", 1.0, ""),
        ("Jace, the Mind Sculptor", "{2}{U}{U}", 4.0, "3"),
        ("Black Lotus", "{0}", 0.0, ""),
        ("JÖTUN GRUNT", "{1}{W}", 2.0, "4/4"),
    ] {
        let card = card(name);
        assert_eq!((card.mana_cost.as_str(), card.mana_value, card.stats.as_str()), (cost, value, stats), "{name}");
    }
    assert_eq!(card("Delver of Secrets").name, "Delver of Secrets // Insectile Aberration", "by the name of a face");
    assert_eq!(card("Fire // Ice").identity.letters(), ["U", "R"]);
    assert_eq!(data.catalog.near("Lihgtning Bolt", 3).first(), Some(&"Lightning Bolt"));

    let sixty = "56 Mountain\n4 Lightning Bolt";
    assert_eq!(verdict(&data, sixty, "modern"), ("legal".to_owned(), "[]".to_owned()));
    for (list, format, why) in [
        ("59 Mountain\n1 Black Lotus", "legacy", "Black Lotus is banned in legacy"),
        ("58 Mountain\n2 Black Lotus", "vintage", "2 of Black Lotus; vintage allows 1"),
        ("59 Mountain\n1 Tarmogoyf", "modern", "Tarmogoyf is not legal in modern"),
        ("55 Mountain\n5 Lightning Bolt", "modern", "5 of Lightning Bolt; modern allows 4"),
    ] {
        let (said, problems) = verdict(&data, list, format);
        assert!(said == "illegal" && problems.contains(why), "{list}: {said} {problems}");
    }
    let (said, why) = verdict(&data, sixty, "standard");
    assert!(said == "unknown" && why.contains("says nothing about standard"), "what is not in the data is never legal: {why}");
}

#[tokio::test]
async fn searches_over_the_real_games_cards_find_what_they_should_in_less_than_two_milliseconds() {
    let Corpus { names, data, _folder, .. } = opened().await;
    let any = Filters::default();
    assert_eq!(
        found(&data, "lightning bolt", &any).1.first().map(String::as_str),
        Some("Lightning Bolt"),
        "the name itself comes first"
    );
    let (total, _) = found(&data, "counter target spell", &any);
    assert!(total > 300, "{total}");
    let wrath = Filters { mana_value_max: Some(4.0), types: vec!["sorcery".to_owned()], ..Filters::default() };
    let all: Vec<&str> =
        data.catalog.search("destroy all creatures", &wrath, 0, 500).cards.iter().map(|card| card.name.as_str()).collect();
    for name in ["Wrath of God", "Day of Judgment"] {
        assert!(all.contains(&name), "{name}");
    }
    let holds = |name: &&str| data.catalog.find(name).is_some_and(|card| card.is("Sorcery") && card.mana_value <= 4.0);
    assert!(all.iter().all(holds), "nothing that does not pass the filters: {all:?}");
    let red = magic::card::Colors::of_word("R").unwrap();
    let dragons = Filters { colors: Some((red, ColorMatch::Exactly)), types: vec!["dragon".to_owned()], ..Filters::default() };
    let found_dragons = data.catalog.search("", &dragons, 0, 1_000);
    assert!(found_dragons.total > 100 && found_dragons.cards.iter().all(|card| card.is("Dragon") && card.colors == red));
    assert_eq!(found(&data, "xyzzyplugh", &any).0, 0);

    let mut times = Vec::with_capacity(SEARCHES);
    let mut hits = 0;
    for at in 0..SEARCHES {
        // A name, two words of one, words of a text with filters, filters alone: always the same ones.
        let name = &names[at * 31 % names.len()];
        let text = data.catalog.find(name).map(magic::card::Card::whole_text).unwrap_or_default();
        let (query, filters): (String, Filters) = match at % 4 {
            0 => (name.chars().take(90).collect(), Filters::default()),
            1 => (name.split(' ').take(2).collect::<Vec<_>>().join(" "), Filters::default()),
            2 => (text.split(' ').skip(2).take(3).collect::<Vec<_>>().join(" "), wrath.clone()),
            _ => (String::new(), dragons.clone()),
        };
        let begun = Instant::now();
        hits += data.catalog.search(&query, &filters, 0, 10).total;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let of_hundred = |percent: usize| times[times.len() * percent / 100];
    println!("searches over {} cards: p50 {:?}, p99 {:?}", data.catalog.len(), of_hundred(50), of_hundred(99));
    assert!(hits > SEARCHES, "searches that find nothing measure nothing");
    assert!(of_hundred(50) < P50_MAX, "{:?}", of_hundred(50));
}
