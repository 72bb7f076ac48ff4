//! As many cards as the real game has, made up from syllables: the same ones each time, for tests and measurements.

use magic::card::{Card, Colors, LETTERS};
use magic::formats::Legalities;

const CARDS: u64 = 35_000;
const SYLLABLES: [&str; 16] =
    ["ka", "ro", "mi", "ten", "sul", "ve", "dra", "lo", "pin", "gar", "eth", "us", "wy", "no", "bel", "far"];
const TYPES: [&str; 6] = ["Creature — Fox", "Instant", "Sorcery", "Artifact", "Enchantment", "Land"];

/// The same numbers each time.
pub struct Numbers(pub u64);

impl Numbers {
    /// One that is less than `below`.
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn one_of<T: Copy + Default>(&mut self, all: &[T]) -> T {
        let at = self.next(u64::try_from(all.len()).unwrap_or(u64::MAX));
        all.get(usize::try_from(at).unwrap_or_default()).copied().unwrap_or_default()
    }

    /// Few words are frequent and many are rare, as in a language.
    fn word(&mut self) -> String {
        let rare = self.next(64).min(self.next(64)).min(self.next(64));
        let mut left = rare * rare + self.next(16);
        let mut word = String::new();
        loop {
            let syllable = usize::try_from(left % 16).unwrap_or_default();
            word.push_str(SYLLABLES.get(syllable).copied().unwrap_or_default());
            left /= 16;
            if left == 0 {
                return word;
            }
        }
    }

    /// So many words.
    pub fn words(&mut self, count: u64) -> String {
        (0..count).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }
}

/// All of them.
pub fn cards() -> impl Iterator<Item = Card> {
    let mut numbers = Numbers(7);
    (0..CARDS).map(move |at| card(at, &mut numbers))
}

fn card(at: u64, numbers: &mut Numbers) -> Card {
    let colors = Colors::of_letter(numbers.one_of(&LETTERS.map(|(letter, _)| letter))).unwrap_or_default();
    let kind = numbers.one_of(&TYPES);
    let mut legalities = Legalities::default();
    legalities.note("modern", if numbers.next(3) == 0 { "legal" } else { "not_legal" });
    let words = 2 + numbers.next(2);
    Card {
        id: format!("id-{at}"),
        name: format!("{} {at}", numbers.words(words)),
        layout: "normal".to_owned(),
        mana_value: f64::from(u32::try_from(numbers.next(8)).unwrap_or_default()),
        colors,
        identity: colors,
        type_line: kind.to_owned(),
        text: numbers.words(30),
        legalities,
        popularity: u32::try_from(at + 1).unwrap_or(u32::MAX),
        ..Card::default()
    }
}
