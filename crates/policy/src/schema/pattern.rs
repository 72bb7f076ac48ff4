//! Patterns of a schema, in bounded time: in one pass where that is possible, else with a bound on the steps back.

/// Bytes of one pattern.
const PATTERN_BYTES_MAX: usize = 1_000;
/// Bytes of what it is made into.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Steps back within one match.
const BACKTRACKS_MAX: usize = 5_000;
/// Bytes of a text in which a pattern is looked for that has to step back: each step may look at all of it.
const BOUNDED_BYTES_MAX: usize = 4_096;

/// A pattern, ready for use.
pub(super) enum Pattern {
    /// One pass over the text.
    Linear(regex::Regex),
    /// Looks around, or back at what it found.
    Bounded(fancy_regex::Regex),
}

impl Pattern {
    /// Reads a pattern as ECMA-262 means it.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err("the pattern is longer than 1,000 bytes");
        }
        let text = ascii_classes(text);
        let linear = regex::RegexBuilder::new(&text).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
        if let Ok(linear) = linear {
            return Ok(Self::Linear(linear));
        }
        let bounded = fancy_regex::RegexBuilder::new(&text)
            .backtrack_limit(BACKTRACKS_MAX)
            .delegate_size_limit(COMPILED_BYTES_MAX)
            .delegate_dfa_size_limit(COMPILED_BYTES_MAX)
            .build();
        bounded.map(Self::Bounded).map_err(|_| "the pattern can't be read, or is too large")
    }

    /// How many steps one match counts as.
    pub(super) const fn steps(&self, text: &str) -> usize {
        match self {
            Self::Linear(_) => 1 + text.len() / 32,
            Self::Bounded(_) => 200 + 2 * text.len(),
        }
    }

    /// Whether it is found in a text; none where that takes too many steps.
    pub(super) fn is_in(&self, text: &str) -> Option<bool> {
        match self {
            Self::Linear(pattern) => Some(pattern.is_match(text)),
            Self::Bounded(_) if text.len() > BOUNDED_BYTES_MAX => None,
            Self::Bounded(pattern) => pattern.is_match(text).ok(),
        }
    }
}

/// `\d` and `\w` are of ASCII there.
fn ascii_classes(text: &str) -> String {
    let (mut out, mut chars, mut inside) = (String::with_capacity(text.len()), text.chars(), false);
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        match (c, escaped, inside) {
            ('\\', Some('d'), false) => out.push_str("[0-9]"),
            ('\\', Some('d'), true) => out.push_str("0-9"),
            ('\\', Some('w'), false) => out.push_str("[0-9A-Za-z_]"),
            ('\\', Some('w'), true) => out.push_str("0-9A-Za-z_"),
            ('\\', Some('D'), false) => out.push_str("[^0-9]"),
            ('\\', Some('W'), false) => out.push_str("[^0-9A-Za-z_]"),
            ('\\', Some('/'), _) => out.push('/'),
            ('\\', Some(other), _) => out.extend(['\\', other]),
            // A set that holds an opening bracket as itself.
            ('[', None, true) => out.push_str("\\["),
            (other, _, _) => {
                inside = match other {
                    '[' => true,
                    ']' => false,
                    _ => inside,
                };
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(pattern: &str, text: &str) -> Option<bool> {
        Pattern::read(pattern).expect("a pattern").is_in(text)
    }

    #[test]
    fn patterns_mean_what_they_mean_in_a_browser() {
        for (pattern, text, found) in [
            ("b", "abc", true),
            ("^b", "abc", false),
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{0661}", false),
            (r"^[\w.-]+$", "a_b.c-d", true),
            (r"^[\w.-]+$", "\u{e4}", false),
            (r"^\/a[[]$", "/a[", true),
            (r"^(?!x)[a-z]+$", "abc", true),
            (r"^(?!x)[a-z]+$", "xbc", false),
            (r"^(a|b)\1$", "aa", true),
            (r"^(a|b)\1$", "ab", false),
            (r"^\u00e9$", "\u{e9}", true),
        ] {
            assert_eq!(is_in(pattern, text), Some(found), "{pattern} in {text}");
        }
    }

    /// It would not come to its end otherwise.
    #[test]
    fn no_pattern_takes_long() {
        let text = format!("{}!", "a".repeat(100_000));
        assert_eq!(is_in("^(a+)+$", &text), Some(false));
        assert_eq!(is_in("^(?!b)a+$", &text), None, "too long for a pattern that looks around");
        let text = format!("{}!", "a".repeat(4_000));
        assert_eq!(is_in("^(?:(a+)\\1?)+c", &text), None, "it is given up");
        for bad in ["(", "[z-a]", "(a{1000}){1000}{1000}", &"a".repeat(2_000)] {
            assert!(Pattern::read(bad).is_err(), "{bad}");
        }
    }
}
