//! An inverted index: which entries hold a word, or one that begins like it.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Words shorter than this are only found whole: too many begin with them.
const PREFIX_CHARS_MIN: usize = 3;

/// A set of entries, a bit for each.
#[derive(Clone, Debug)]
pub struct Bits(Vec<u64>);

impl Bits {
    fn none(entries: usize) -> Self {
        Self(vec![0; entries.div_ceil(64)])
    }

    fn put(&mut self, entry: u32) {
        if let Some(block) = self.0.get_mut(usize::try_from(entry / 64).unwrap_or(usize::MAX)) {
            *block |= 1 << (entry % 64);
        }
    }

    /// Whether an entry is in it.
    #[must_use]
    pub fn holds(&self, entry: u32) -> bool {
        self.0.get(usize::try_from(entry / 64).unwrap_or(usize::MAX)).is_some_and(|block| block & (1 << (entry % 64)) != 0)
    }

    /// Leaves what is in both.
    pub fn keep(&mut self, other: &Self) {
        for (block, other) in self.0.iter_mut().zip(&other.0) {
            *block &= other;
        }
    }

    /// The entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..).step_by(64).zip(&self.0).flat_map(|(first, block)| {
            let mut left = *block;
            std::iter::from_fn(move || {
                let at = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(first + at)
            })
        })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|block| *block == 0)
    }
}

/// Words and the entries that hold them.
#[derive(Debug, Default)]
pub struct Index {
    words: BTreeMap<Box<str>, Vec<u32>>,
    entries: usize,
}

impl Index {
    /// Notes the words of an entry. Entries come in order.
    pub fn add<S: AsRef<str>>(&mut self, entry: u32, words: impl IntoIterator<Item = S>) {
        self.entries = self.entries.max(usize::try_from(entry).unwrap_or(usize::MAX).saturating_add(1));
        for word in words {
            match self.words.get_mut(word.as_ref()) {
                Some(entries) if entries.last() == Some(&entry) => {}
                Some(entries) => entries.push(entry),
                None => drop(self.words.insert(word.as_ref().into(), vec![entry])),
            }
        }
    }

    /// The entries that hold a word that begins with this one. Where there is none, a plural's `s` is taken off.
    #[must_use]
    pub fn find(&self, word: &str) -> Bits {
        let found = self.beginning(word);
        match word.strip_suffix('s') {
            Some(singular) if found.is_empty() && singular.len() >= PREFIX_CHARS_MIN => self.beginning(singular),
            Some(_) | None => found,
        }
    }

    fn beginning(&self, word: &str) -> Bits {
        let mut found = Bits::none(self.entries);
        let whole_only = word.chars().count() < PREFIX_CHARS_MIN;
        let from = self.words.range::<str, _>((Bound::Included(word), Bound::Unbounded));
        let alike = from.take_while(|(known, _)| if whole_only { &***known == word } else { known.starts_with(word) });
        alike.flat_map(|(_, entries)| entries).for_each(|entry| found.put(*entry));
        found
    }

    /// The entries that hold every one of these words; all where there are no words.
    #[must_use]
    pub fn find_all<S: AsRef<str>>(&self, words: &[S]) -> Option<Bits> {
        let mut found: Option<Bits> = None;
        for word in words {
            let one = self.find(word.as_ref());
            match found.as_mut() {
                Some(found) => found.keep(&one),
                None => found = Some(one),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_by_their_beginning_and_only_together() {
        let mut index = Index::default();
        for (entry, text) in [(0, "fox runs"), (1, "foxes run far"), (2, "a fo"), (70, "fox far")] {
            index.add(entry, text.split(' '));
        }
        let found = |words: &[&str]| index.find_all(words).map(|bits| bits.entries().collect::<Vec<_>>());
        assert_eq!(found(&["fox"]), Some(vec![0, 1, 70]));
        assert_eq!(found(&["fox", "far"]), Some(vec![1, 70]));
        assert_eq!(found(&["fo"]), Some(vec![2]), "short ones are found whole only");
        assert_eq!(found(&["fars"]), Some(vec![1, 70]), "a plural");
        assert_eq!(found(&["wolf"]), Some(vec![]));
        assert_eq!(found(&[]), None);
        assert!(index.find("far").holds(70) && !index.find("far").holds(0) && !index.find("far").holds(4000));
    }
}
