#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::*;
use crate::formats;
use crate::library::Data;

fn data() -> Data {
    Data::invented().unwrap()
}

fn lines(deck: &Deck<'_>) -> Vec<String> {
    let known = |entry: &Entry<'_>| if entry.card.is_some() { "" } else { " ?" };
    deck.entries.iter().map(|entry| format!("{} {} {}{}", entry.section.word(), entry.count, entry.name, known(entry))).collect()
}

#[test]
fn arena_lists_are_read_with_their_sections() {
    let data = data();
    let list = "About\nName Tides\n\nCommander\n1 Ione, Keeper of Tides (VAE) 12\n\nDeck\n4 Burrowkit (VAE) 101a\n20 Mossy Hollow\n\n\
                Sideboard\n2 Refuse the Tide (VAE) 7 *F*\n";
    let deck = Deck::parse(list, &data.catalog).unwrap();
    assert_eq!(deck.name.as_deref(), Some("Tides"));
    assert_eq!(
        lines(&deck),
        ["commander 1 Ione, Keeper of Tides", "deck 4 Burrowkit", "deck 20 Mossy Hollow", "sideboard 2 Refuse the Tide"]
    );
    assert!(deck.problems.is_empty() && deck.notes.is_empty(), "{:?}", deck.problems);
}

#[test]
fn plain_lists_are_read_however_they_are_written() {
    let data = data();
    let list = "\u{feff}// my deck\r\nCreatures (3)\r\n2x burrowkit\r\nGlassfin Scholar\r\nLands:\r\n10 quiet meadow [vae]\r\nSB: 1 Kindlebright/Quenchfall\r\n\
                1 seance of the ninth bell #nice\r\n3 Æther cask\r\n2 Burrowkit\r\n1 Moonlit Courier\r\n";
    let deck = Deck::parse(list, &data.catalog).unwrap();
    assert_eq!(
        lines(&deck),
        [
            "deck 4 burrowkit",
            "deck 1 Glassfin Scholar",
            "deck 10 quiet meadow",
            "deck 1 seance of the ninth bell",
            "deck 3 Æther cask",
            "deck 1 Moonlit Courier",
            "sideboard 1 Kindlebright/Quenchfall",
        ]
    );
    assert_eq!(deck.problems, Vec::<String>::new());
    assert_eq!(deck.entries[5].card.unwrap().name, "Moonlit Courier // Herald of the Full Moon");
}

#[test]
fn a_small_second_block_is_the_sideboard_of_a_whole_deck_only() {
    let data = data();
    let whole = Deck::parse("56 Mossy Hollow\n4 Burrowkit\n\n3 Sudden Bramble\n2 Burrowkit", &data.catalog).unwrap();
    assert_eq!((whole.count(Section::Main), whole.count(Section::Sideboard)), (60, 5));
    assert_eq!(whole.notes.len(), 1);
    let part = Deck::parse("4 Burrowkit\n\n3 Sudden Bramble", &data.catalog).unwrap();
    assert_eq!((part.count(Section::Main), part.count(Section::Sideboard)), (7, 0));
    let three = Deck::parse("40 Mossy Hollow\n\n4 Burrowkit\n\n3 Sudden Bramble", &data.catalog).unwrap();
    assert_eq!(three.count(Section::Sideboard), 0);
}

#[test]
fn what_is_not_understood_is_named_and_nothing_is_lost() {
    let data = data();
    let deck = Deck::parse("4 Burowkit\n0 Gravewort\n99999999999 Gravewort\n4\n!!!\n2 Hollowback Bear", &data.catalog).unwrap();
    assert_eq!(lines(&deck), ["deck 4 Burowkit ?", "deck 1 4 ?", "deck 2 Hollowback Bear"]);
    let problems = deck.problems.join("\n");
    for part in ["line 2", "line 3", "line 5", "\"Burowkit\". Did they mean Burrowkit"] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
    let many: String = (0..300).map(|at| format!("1 Nothing{at}\n")).collect();
    let deck = Deck::parse(&many, &data.catalog).unwrap();
    assert_eq!((deck.problems.len(), deck.problems.last().unwrap().as_str()), (PROBLEMS_MAX + 1, "and 280 more"));
}

#[test]
fn absurd_lists_are_refused_with_a_sentence() {
    let data = data();
    let fault = |list: &str| Deck::parse(list, &data.catalog).unwrap_err().to_string();
    assert!(fault(&"1 Burrowkit\n".repeat(10_000)).contains("1000 lines; this one has 10000"));
    assert!(fault(&"x".repeat(50_000)).contains("40000 characters"));
    assert!(fault(&(0..500).map(|at| format!("1 Card {at}\n")).collect::<String>()).contains("400 different"));
    for nothing in ["", "\n\n", "Deck\nSideboard\n", "// only\n# comments"] {
        assert!(fault(nothing).contains("no card"), "{nothing:?}");
    }
}

#[test]
fn figures_are_counted() {
    let data = data();
    let list = "Commander\n1 Ione, Keeper of Tides\nDeck\n17 Mossy Hollow\n7 Tidal Shelf\n4 Burrowkit\n4 Glassfin Scholar\n4 Thornmane Colossus\n24 Sudden Bramble";
    let deck = Deck::parse(list, &data.catalog).unwrap();
    let told = analysis::analyze(&deck);
    assert_eq!(told["cards"]["deck"], 60);
    assert_eq!(told["lands"]["count"], 24);
    assert_eq!(
        (&told["curve"]["1"], &told["curve"]["2"], &told["curve"]["3"], &told["curve"]["7+"]),
        (&4.into(), &24.into(), &5.into(), &4.into())
    );
    assert_eq!(told["types"]["Instant"], 24);
    // G: Burrowkit 4, Colossus 8, Bramble 24, Ione 1; U: Scholar 4, Ione 1.
    assert_eq!((&told["colors"]["cost_symbols"]["G"], &told["colors"]["cost_symbols"]["U"]), (&37.into(), &5.into()));
    assert_eq!((&told["colors"]["mana_sources"]["G"], &told["colors"]["mana_sources"]["U"]), (&21.into(), &7.into()));
    let hands = told["draws"]["lands_in_opening_hand_percent"].as_object().unwrap();
    let all: f64 = hands.values().map(|percent| percent.as_f64().unwrap()).sum();
    assert!((all - 100.0).abs() < 0.5, "{hands:?}");
    assert_eq!(told["draws"]["any_one_of_4_copies_in_opening_hand_percent"], 39.9);
    let small = Deck::parse("3 Burrowkit", &data.catalog).unwrap();
    assert!(analysis::analyze(&small)["draws"].is_string());
}

fn verdict(list: &str, format: &str) -> (String, String) {
    let data = data();
    let (at, format) = formats::find(format).unwrap();
    let deck = Deck::parse(list, &data.catalog).unwrap();
    let told = legality::judge(&deck, &data.catalog, at, format);
    (told["verdict"].as_str().unwrap().to_owned(), told["problems"].to_string())
}

#[test]
fn decks_are_judged_by_format() {
    let legal = "40 Mossy Hollow\n4 Burrowkit\n16 Swarm of Paper Gulls";
    assert_eq!(verdict(legal, "standard").0, "legal");
    for (list, format, why) in [
        ("30 Mossy Hollow", "standard", "30 cards; standard asks for at least 60"),
        ("55 Mossy Hollow\n5 Burrowkit", "modern", "5 of Burrowkit; modern allows 4"),
        ("57 Mossy Hollow\n2 Burrowkit\n1 Crown of Borrowed Hours", "legacy", "Crown of Borrowed Hours is banned in legacy"),
        ("56 Mossy Hollow\n2 Burrowkit\n2 Crown of Borrowed Hours", "vintage", "2 of Crown of Borrowed Hours; vintage allows 1"),
        ("59 Mossy Hollow\n1 Half a Promise", "standard", "Half a Promise is not legal in standard"),
        ("60 Mossy Hollow\nSideboard\n16 Mossy Hollow", "standard", "16 cards in the sideboard"),
        ("54 Mossy Hollow\n3 Burrowkit\nSideboard\n3 Burrowkit", "standard", "6 of Burrowkit"),
        ("100 Mossy Hollow", "commander", "no commander"),
        (
            "Commander\n1 Ione, Keeper of Tides\nDeck\n98 Mossy Hollow\n1 Gravewort",
            "commander",
            "Gravewort is outside the commander's colours (UG)",
        ),
        ("Commander\n1 Burrowkit\nDeck\n99 Mossy Hollow", "EDH", "Burrowkit can't lead a deck"),
        (
            "Commander\n1 Ione, Keeper of Tides\nDeck\n97 Mossy Hollow\n2 Burrowkit",
            "commander",
            "2 of Burrowkit; commander allows 1",
        ),
    ] {
        let (said, problems) = verdict(list, format);
        assert_eq!(said, "illegal", "{list}: {problems}");
        assert!(problems.contains(why), "{why}: {problems}");
    }
    let led = "Commander\n1 Ione, Keeper of Tides\nDeck\n98 Mossy Hollow\n1 Kindlebright // Quenchfall";
    assert!(verdict(led, "commander").1.contains("Kindlebright // Quenchfall is outside"), "half of it is red");
    assert_eq!(
        verdict("Commander\n1 Ione, Keeper of Tides\nDeck\n99 Mossy Hollow", "commander"),
        ("legal".to_owned(), "[]".to_owned())
    );
    assert_eq!(verdict("59 Mossy Hollow\n1 Nobody Knows", "standard").0, "unknown", "never legal by ignorance");
    let (said, why) = verdict("60 Mossy Hollow", "premodern");
    assert!(said == "unknown" && why.contains("says nothing about premodern"), "{why}");
}

#[test]
fn advice_gets_its_inputs() {
    let data = data();
    let deck =
        Deck::parse("10 Mossy Hollow\n4 Thornmane Colossus\n4 Sparkfinger Jab\n42 Hollowback Bear", &data.catalog).unwrap();
    let told = advice::inputs(&deck, &data.catalog, None);
    let findings = told["findings"].to_string();
    assert!(
        findings.contains("10 lands are few") && findings.contains("4 red symbols in costs, and nothing that makes red mana"),
        "{findings}"
    );
    let draw = told["roles"].as_array().unwrap().iter().find(|role| role["role"] == "card draw").unwrap();
    assert_eq!((&draw["has"], &draw["usual"]), (&0.into(), &6.into()));
    let removal = told["roles"].as_array().unwrap().iter().find(|role| role["role"] == "removal").unwrap();
    assert_eq!(removal["has"], 4);
    for card in draw["candidates"].as_array().unwrap() {
        let card = data.catalog.find(card.as_str().unwrap()).unwrap();
        assert!(!card.colors.letters().iter().any(|letter| ["W", "U", "B"].contains(&letter.as_str())), "{}", card.name);
    }
}
