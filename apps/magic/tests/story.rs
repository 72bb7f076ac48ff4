//! What is imported, on SQLite and on PostgreSQL. Each story gets tables of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use magic::library::{Kind, sets};
use magic::{Imported, Library, SetRow};
use policy::{Clock, Timestamp};
use std::io::Cursor;
use std::sync::Arc;
use store::{Statement, Store};

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
const CARDS: &str = include_str!("../data/cards.json");
const RULES: &str = include_str!("../data/rules.txt");

async fn sqlite() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("magic.db").display());
    (Store::open(&url, &[&magic::SCHEMA]).await.unwrap(), folder)
}

async fn postgres() -> Store {
    let url = tokio::task::spawn_blocking(|| testkit::Postgres::shared().fresh_database()).await.unwrap();
    Store::open(&url, &[&magic::SCHEMA]).await.unwrap()
}

/// Always the same moment.
struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        NOW.plus_secs(3 * 86_400)
    }
}

/// Tells a story on every engine.
macro_rules! stories {
    ($($name:ident)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let (store, _folder) = super::sqlite().await;
                super::story::$name(store).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::story::$name(super::postgres().await).await;
            }
        }
    )*};
}

stories! {
    every_kind_of_file_is_taken_and_looked_into
    what_can_t_be_taken_changes_nothing
    a_new_set_takes_the_place_of_the_old_one_and_leaves_nothing
}

async fn import(store: &Store, text: impl Into<Vec<u8>>) -> Result<Imported, String> {
    magic::import(store, Cursor::new(text.into()), "2026-11-01", NOW).await.map_err(|error| error.to_string())
}

const PIECES: Statement = Statement("SELECT COUNT(*) FROM magic_pieces");

async fn pieces(store: &Store) -> i64 {
    store.read(|tx| tx.query_one(PIECES, &[])?.int(0)).await.unwrap()
}

/// A few cards as MTGJSON writes them; invented too.
const MTGJSON: &str = r#"{"meta": {"date": "2026-10-30", "version": "5.2.2"}, "data": {
    "Plain Fox": [{"name": "Plain Fox", "layout": "normal", "manaCost": "{1}{G}", "manaValue": 2.0, "type": "Creature — Fox", "text": "Reach",
        "power": "2", "toughness": "1", "colors": ["G"], "colorIdentity": ["G"], "keywords": ["Reach"], "legalities": {"modern": "Legal", "vintage": "Restricted"},
        "rulings": [{"date": "2026-01-02", "text": "It is a fox."}], "identifiers": {"scryfallOracleId": "0c0ffee0-0000-4000-8000-000000000001"}, "printings": ["XYZ"]}],
    "Left // Right": [
        {"name": "Left // Right", "faceName": "Left", "side": "a", "layout": "split", "manaCost": "{R}", "manaValue": 3.0, "type": "Instant", "text": "Left does one.", "colors": ["R"], "colorIdentity": ["R", "U"], "legalities": {}, "identifiers": {}},
        {"name": "Left // Right", "faceName": "Right", "side": "b", "layout": "split", "manaCost": "{1}{U}", "manaValue": 3.0, "type": "Sorcery", "text": "Right does two.", "colors": ["U"], "colorIdentity": ["R", "U"], "legalities": {}, "identifiers": {}}]
}}"#;

mod story {
    use super::*;

    async fn library(store: &Store) -> Library {
        let library = Library::new(store.clone(), Arc::new(Then));
        assert!(library.refresh().await.unwrap());
        library
    }

    fn kinds(sets: &[SetRow]) -> Vec<(Kind, i64)> {
        sets.iter().map(|set| (set.kind, set.items)).collect()
    }

    pub(super) async fn every_kind_of_file_is_taken_and_looked_into(store: Store) {
        let library = library(&store).await;
        let data = library.data().await.unwrap();
        assert!(data.sets.is_empty() && data.catalog.find("burrowkit").is_some(), "without an import there is the invented set");
        assert!(!library.refresh().await.unwrap(), "nothing is read again as long as nothing changed");

        let taken = import(&store, CARDS).await.unwrap();
        assert_eq!((taken.set.format.as_str(), taken.set.as_of.as_str(), taken.counts.taken), ("scryfall", "2026-11-01", 44));
        let fox = r#"[{"object": "ruling", "oracle_id": "0c0ffee0-0000-4000-8000-000000000001", "source": "wotc", "published_at": "2026-02-02", "comment": "Still a fox."}]"#;
        assert_eq!(import(&store, fox).await.unwrap().set.kind, Kind::Rulings);
        let rules = import(&store, RULES).await.unwrap();
        assert_eq!((rules.set.kind, rules.set.as_of.as_str()), (Kind::Rules, "November 1, 2026"));
        let mtgjson = import(&store, MTGJSON).await.unwrap();
        assert_eq!((mtgjson.set.format.as_str(), mtgjson.set.as_of.as_str(), mtgjson.counts.taken), ("mtgjson", "2026-10-30", 2));

        assert!(library.refresh().await.unwrap());
        let data = library.data().await.unwrap();
        assert_eq!(kinds(&data.sets), [(Kind::Cards, 2), (Kind::Rules, rules.set.items), (Kind::Rulings, 1)]);
        assert_eq!(data.sets[0].age_days(Then.now()), 3);
        let found = data.catalog.find("PLAIN FOX").unwrap();
        assert_eq!((found.stats.as_str(), found.colors.letters(), found.mana_value), ("2/1", vec!["G".to_owned()], 2.0));
        assert_eq!(
            found.rulings.iter().map(|ruling| ruling.text.as_str()).collect::<Vec<_>>(),
            ["Still a fox."],
            "a file of rulings goes before"
        );
        let split = data.catalog.find("right").unwrap();
        assert_eq!((split.name.as_str(), split.faces.len(), split.colors.letters().len()), ("Left // Right", 2, 2));
        assert!(data.catalog.find("Burrowkit").is_none(), "the invented cards are gone");
        assert_eq!(data.rules.numbered("310.1a").len(), 1);

        assert!(magic::library::forget(&store, Kind::Cards).await.unwrap());
        assert!(!magic::library::forget(&store, Kind::Cards).await.unwrap());
        assert!(library.refresh().await.unwrap());
        assert!(library.data().await.unwrap().catalog.find("Burrowkit").is_some(), "and back");
    }

    pub(super) async fn what_can_t_be_taken_changes_nothing(store: Store) {
        import(&store, MTGJSON).await.unwrap();
        let (before, held) = (sets(&store).await.unwrap(), pieces(&store).await);
        let unnamed = format!("[{}]", [r#"{"oracle_id": "x"}"#; 3].join(","));
        let half_bad: String = CARDS.replacen("\"cmc\": 1.0", "\"cmc\": \"one\"", 3);
        let big = format!("[{{\"name\": \"{}\"}}]", "x".repeat(6 << 20));
        let doubled = CARDS.replacen("\"lang\": \"en\"", "\"lang\": \"en\", \"lang\": \"en\"", 1);
        for (file, why) in [
            (Vec::new(), "empty"),
            (b"   \n".to_vec(), "empty"),
            (b"[]".to_vec(), "empty array"),
            (b"[1, 2]".to_vec(), "neither of Scryfall's cards"),
            (unnamed.into_bytes(), "neither of Scryfall's cards"),
            (br#"[{"object": "bulk_data", "download_uri": "https://example.com"}]"#.to_vec(), "the list of bulk files"),
            (b"{}".to_vec(), "no `data`"),
            (br#"{"object": "error", "status": 404}"#.to_vec(), "no `data`"),
            (br#"{"data": {}, "data": {}}"#.to_vec(), "twice"),
            (br#"{"data": {"A": {"cards": []}}}"#.to_vec(), "1 of 1 entries can't be used, such as: entry 1: A: invalid type"),
            (b"\x1f\x8b\x08\x00rest".to_vec(), "gunzip -c"),
            (b"PK\x03\x04rest".to_vec(), "zip archive"),
            (b"\xff\xfe[\x00".to_vec(), "UTF-16"),
            (CARDS.as_bytes()[..CARDS.len() / 2].to_vec(), "cut or damaged: EOF"),
            (CARDS.trim_end().trim_end_matches(']').as_bytes().to_vec(), "EOF while parsing a list"),
            (MTGJSON.as_bytes()[..MTGJSON.len() - 3].to_vec(), "EOF"),
            (format!("{CARDS} trailing").into_bytes(), "trailing characters"),
            (half_bad.into_bytes(), "3 of 44 entries can't be used"),
            (doubled.into_bytes(), "1 of 44 entries can't be used, such as: entry 1: duplicate field `lang`"),
            (big.into_bytes(), "more than 4 MiB"),
            (RULES.as_bytes()[..RULES.len() - 200].to_vec(), "it is cut"),
            (b"Dear reader,\nthese are no rules.\n".to_vec(), "no date"),
            (b"\xff\xff\x00\x01".to_vec(), "no date"),
        ] {
            let error = import(&store, file).await.unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
        assert_eq!(sets(&store).await.unwrap(), before);
        assert_eq!(pieces(&store).await, held, "no piece of what failed is left");
    }

    pub(super) async fn a_new_set_takes_the_place_of_the_old_one_and_leaves_nothing(store: Store) {
        let library = library(&store).await;
        // Large enough for several pieces, with every printing twice and some that nobody plays.
        let card = |at: usize, extra: &str| {
            format!(
                r#"{{"oracle_id": "id-{}", "name": "Card {:05}", "layout": "normal", "type_line": "Creature", "oracle_text": "{}", "cmc": 1{extra}}}"#,
                at,
                at,
                "words of it ".repeat(20)
            )
        };
        let mut all: Vec<String> = (0..2000).map(|at| card(at, "")).collect();
        all.extend((0..2000).map(|at| card(at, "")));
        all.push(card(9001, r#", "lang": "de""#));
        all.push(card(9002, "").replace("\"normal\"", "\"token\""));
        all.push(card(9003, r#", "legalities": {"standard": "perhaps"}"#));
        let taken = import(&store, format!("[\n{}\n]\n", all.join(",\n"))).await.unwrap();
        let counts = taken.counts;
        assert_eq!((counts.taken, counts.again, counts.foreign, counts.not_for_decks, counts.unusable), (2000, 2000, 1, 1, 1));
        assert!(counts.examples[0].contains("\"perhaps\" in standard"), "{:?}", counts.examples);
        let first = pieces(&store).await;
        assert!(first > 3, "it is written piece by piece: {first}");
        library.refresh().await.unwrap();
        let old = library.data().await.unwrap();
        assert_eq!(old.catalog.len(), 2000);

        let other = import(&store, MTGJSON).await.unwrap();
        assert_eq!(pieces(&store).await, 1, "nothing of the old set is left");
        assert_eq!(sets(&store).await.unwrap(), [other.set]);
        assert_eq!(old.catalog.len(), 2000, "who was looking still sees the old one whole");
        library.refresh().await.unwrap();
        assert_eq!(library.data().await.unwrap().catalog.len(), 2);
    }
}
