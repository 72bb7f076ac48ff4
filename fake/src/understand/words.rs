//! A sentence as words that remember their quotes and the punctuation behind them.

/// One word, or one quoted title.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Without quotes and the punctuation around it.
    pub text: String,
    /// The same in lower case.
    pub low: String,
    pub quoted: bool,
    /// The first punctuation mark behind it.
    pub ends: Option<char>,
}

impl Word {
    pub fn is(&self, any: &[&str]) -> bool {
        !self.quoted && any.contains(&self.low.as_str())
    }

    /// Nothing said after this word belongs to the same title.
    pub fn closes(&self) -> bool {
        self.ends.is_some_and(|mark| matches!(mark, '.' | '?' | '!' | ';' | ':'))
    }
}

const PUNCTUATION: [char; 10] = [',', '.', ':', ';', '?', '!', '(', ')', '\u{2026}', '*'];

/// Splits a text into words. A quote that is never closed is an ordinary letter.
pub fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = quoted(first, rest).unwrap_or_else(|| plain(rest));
        words.extend(word);
        rest = after.trim_start();
    }
    words
}

fn quoted(first: char, rest: &str) -> Option<(Option<Word>, &str)> {
    let close: &[char] = match first {
        '"' => &['"'],
        '\u{201c}' => &['\u{201d}', '"'],
        '\u{201e}' => &['\u{201c}', '\u{201d}'],
        '\u{ab}' => &['\u{bb}'],
        _ => return None,
    };
    let (inside, after) = rest.get(first.len_utf8()..)?.split_once(close)?;
    let text = inside.trim().to_owned();
    let marks = after.len() - after.trim_start_matches(PUNCTUATION).len();
    let (marks, after) = after.split_at_checked(marks)?;
    let ends = marks.chars().next().or_else(|| inside.ends_with(['.', '!', '?']).then_some('.'));
    Some((Some(Word { low: text.to_lowercase(), text, quoted: true, ends }), after))
}

fn plain(rest: &str) -> (Option<Word>, &str) {
    let starts_quote = |(place, letter): (usize, char)| {
        letter.is_whitespace() || (place > 0 && matches!(letter, '"' | '\u{201c}' | '\u{201e}' | '\u{ab}'))
    };
    let end = rest.char_indices().find(|found| starts_quote(*found)).map_or(rest.len(), |(place, _)| place);
    let (raw, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let text = raw.trim_matches(PUNCTUATION).to_owned();
    if text.is_empty() {
        return (None, after);
    }
    let ends = raw.chars().rev().take_while(|letter| PUNCTUATION.contains(letter)).last();
    (Some(Word { low: text.to_lowercase(), text, quoted: false, ends }), after)
}

/// Numbers a person writes as words.
pub fn number(word: &str) -> Option<u64> {
    const WORDS: [&str; 11] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    let spelled = WORDS.iter().position(|known| *known == word).and_then(|place| u64::try_from(place).ok());
    spelled.or_else(|| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_make_one_word_and_punctuation_is_remembered() {
        let split: Vec<(String, bool, Option<char>)> =
            words("Add \u{201c}North Star\u{201d}, (now) called:\"A b\" it's 5\" wide!")
                .into_iter()
                .map(|word| (word.text, word.quoted, word.ends))
                .collect();
        let expected = [
            ("Add", false, None),
            ("North Star", true, Some(',')),
            ("now", false, Some(')')),
            ("called", false, Some(':')),
            ("A b", true, None),
            ("it's", false, None),
            ("5", false, None),
            ("\" wide", false, None),
        ];
        let expected: Vec<_> = expected.into_iter().map(|(text, quoted, ends)| (text.to_owned(), quoted, ends)).collect();
        assert_eq!(split.len(), 9);
        assert_eq!(split.get(..7), expected.get(..7));
    }
}
