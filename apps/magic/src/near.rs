//! Names that are nearly the one somebody wrote.

use std::collections::HashMap;

/// How many names that share the most letters are compared in full.
const COMPARED_MAX: usize = 48;
/// Nobody misspells a longer one.
const CHARS_MAX: usize = 150;

/// Every three letters in a row of every name.
#[derive(Debug, Default)]
pub struct Near {
    threes: HashMap<[char; 3], Vec<u32>>,
    lengths: Vec<usize>,
}

fn threes(name: &str) -> Vec<[char; 3]> {
    let padded: Vec<char> = [' ', ' '].into_iter().chain(name.chars().take(CHARS_MAX)).chain([' ']).collect();
    let mut all: Vec<[char; 3]> = padded.windows(3).filter_map(|three| three.try_into().ok()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl Near {
    /// Notes a name; they are numbered as they come.
    pub fn add(&mut self, name: &str) {
        let number = u32::try_from(self.lengths.len()).unwrap_or(u32::MAX);
        let all = threes(name);
        self.lengths.push(all.len());
        for three in all {
            self.threes.entry(three).or_default().push(number);
        }
    }

    /// The numbers of the names nearest to this one, the nearest first. `name_of` tells a name by its number.
    pub fn find<'n>(&self, name: &str, wanted: usize, name_of: impl Fn(u32) -> Option<&'n str>) -> Vec<u32> {
        let asked = threes(name);
        let mut shared: HashMap<u32, usize> = HashMap::new();
        for three in &asked {
            for number in self.threes.get(three).into_iter().flatten() {
                *shared.entry(*number).or_default() += 1;
            }
        }
        // Twice the shared ones over all of both: 1000 is the same name.
        let likeness = |number: u32, shared: usize| {
            let length = self.lengths.get(usize::try_from(number).unwrap_or(usize::MAX)).copied().unwrap_or(usize::MAX);
            2000 * shared / asked.len().saturating_add(length).max(1)
        };
        let alike = shared.into_iter().map(|(number, shared)| (likeness(number, shared), number));
        let mut alike: Vec<(usize, u32)> = alike.filter(|(likeness, _)| *likeness >= 250).collect();
        alike.sort_unstable_by_key(|(likeness, number)| (std::cmp::Reverse(*likeness), *number));
        alike.truncate(COMPARED_MAX);
        let mut near: Vec<(usize, usize, u32)> = Vec::new();
        for (likeness, number) in alike {
            let Some(known) = name_of(number) else { continue };
            // Somebody who writes only the beginning of a long name made no mistakes.
            let far = if known.starts_with(name) { 0 } else { distance(name, known) };
            near.push((far, 1000_usize.saturating_sub(likeness), number));
        }
        near.sort_unstable();
        near.into_iter().map(|(_, _, number)| number).take(wanted).collect()
    }
}

/// Levenshtein's: letters to add, remove or replace.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(CHARS_MAX).collect();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().take(CHARS_MAX).enumerate() {
        let mut row = Vec::with_capacity(above.len());
        let mut left = at + 1;
        row.push(left);
        for (pair, known) in above.windows(2).zip(&other) {
            let [diagonal, up] = pair else { continue };
            left = (diagonal + usize::from(letter != *known)).min(up + 1).min(left + 1);
            row.push(left);
        }
        above = row;
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        let names = ["lantern fox", "lantern wolf", "river sentinel", "emberfall", "ember // quench"];
        let mut near = Near::default();
        names.iter().for_each(|name| near.add(name));
        let first = |asked: &str| {
            let found = near.find(asked, 1, |number| names.get(usize::try_from(number).ok()?).copied());
            found.first().and_then(|number| names.get(usize::try_from(*number).ok()?).copied())
        };
        assert_eq!(first("lantren fox"), Some("lantern fox"));
        assert_eq!(first("rivr sentinal"), Some("river sentinel"));
        assert_eq!(first("emberfal"), Some("emberfall"));
        assert_eq!(first("zzzz"), None);
        assert_eq!(first(""), None);
    }

    #[test]
    fn distances() {
        assert_eq!((distance("", "abc"), distance("abc", "abc"), distance("kitten", "sitting")), (3, 0, 3));
    }
}
