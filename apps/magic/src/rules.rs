//! The rules of the game: reading their text, and looking something up in it.

use crate::import::ImportError;
use crate::index::Index;
use crate::text::{fold, words};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Read};

/// Lines of the real text have at most a few thousand.
const LINE_BYTES_MAX: usize = 64 * 1024;
const ENTRY_BYTES_MAX: usize = 64 * 1024;
/// The real text has some three thousand rules.
const ENTRIES_MAX: usize = 50_000;
const DATE_INTRODUCTION: &str = "These rules are effective as of ";

/// One rule, a title, or an entry of the glossary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `1`, `102`, `102.3`, `102.3a`; or the term that is explained.
    pub key: String,
    /// The text, examples included.
    pub text: String,
    /// Which of them it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// The name of a section or a chapter.
    Title,
    /// A rule.
    Rule,
    /// A term of the glossary.
    Term,
}

/// Where the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Introduction and contents, whose titles come again.
    Front,
    Rules,
    Glossary,
    Credits,
}

/// Reads the text line by line and gives each entry away as it ends; returns the date that the rules are effective from.
///
/// # Errors
/// [`ImportError`]: not that text, cut before its end, or a number that stands in it twice.
pub fn parse(mut file: impl BufRead, give: &mut dyn FnMut(Entry) -> Result<(), ImportError>) -> Result<String, ImportError> {
    let mut reading = Reading { part: Part::Front, open: None, seen: HashMap::new(), titles: BTreeMap::new(), line: 0, give };
    let mut effective: Option<String> = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read =
            Read::by_ref(&mut file).take(u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX)).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        reading.line += 1;
        if read == LINE_BYTES_MAX {
            return Err(reading.wrong("is too long"));
        }
        let text = decoded(&line);
        let text = text.trim_start_matches('\u{feff}').trim();
        if let Some((_, date)) = text.split_once(DATE_INTRODUCTION).filter(|_| effective.is_none()) {
            effective = Some(date.trim_end_matches('.').to_owned());
            continue;
        }
        if effective.is_none() && reading.line > 200 {
            break;
        }
        reading.line(text)?;
    }
    let what = "it is not the text of the Comprehensive Rules";
    let effective =
        effective.ok_or_else(|| ImportError::Unknown(format!("{what}: it says no date that they are effective from")))?;
    match reading.part {
        Part::Front => Err(ImportError::Unknown(format!("{what}: there is no rule in it"))),
        Part::Rules | Part::Glossary => {
            Err(ImportError::Unknown("it is cut: the text ends with a glossary and credits, and this one does not".to_owned()))
        }
        Part::Credits => Ok(effective),
    }
}

/// UTF-8, or else Windows-1252, in which the text was published for years.
fn decoded(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(text) => text.to_owned(),
        Err(_) => line
            .iter()
            .map(|byte| match byte {
                0x85 => '…',
                0x91 => '‘',
                0x92 => '’',
                0x93 => '“',
                0x94 => '”',
                0x96 => '–',
                0x97 => '—',
                0x99 => '™',
                other => char::from(*other),
            })
            .collect(),
    }
}

struct Reading<'g> {
    part: Part,
    open: Option<Entry>,
    /// Where each key stood.
    seen: HashMap<String, usize>,
    /// The contents have them too; the last one counts.
    titles: BTreeMap<String, String>,
    line: usize,
    give: &'g mut dyn FnMut(Entry) -> Result<(), ImportError>,
}

impl Reading<'_> {
    fn wrong(&self, what: &str) -> ImportError {
        ImportError::Unknown(format!("line {} {what}", self.line))
    }

    fn line(&mut self, text: &str) -> Result<(), ImportError> {
        if self.part == Part::Credits {
            return Ok(());
        }
        if self.part != Part::Front && text == "Credits" {
            self.close()?;
            self.part = Part::Credits;
            let titles = std::mem::take(&mut self.titles);
            return titles.into_iter().try_for_each(|(key, text)| (self.give)(Entry { key, text, kind: EntryKind::Title }));
        }
        if self.part == Part::Rules && text == "Glossary" {
            self.close()?;
            self.part = Part::Glossary;
            return Ok(());
        }
        if self.part == Part::Glossary {
            return self.glossary(text);
        }
        match numbered(text) {
            Some((key, title)) if !key.contains('.') => {
                self.close()?;
                self.titles.insert(key, title.to_owned());
                Ok(())
            }
            Some((key, rule)) => {
                self.part = Part::Rules;
                self.begin(key, rule, EntryKind::Rule)
            }
            None => self.go_on(text),
        }
    }

    fn glossary(&mut self, text: &str) -> Result<(), ImportError> {
        match (text.is_empty(), self.open.is_some()) {
            (true, _) => self.close(),
            (false, false) => self.begin(text.to_owned(), "", EntryKind::Term),
            (false, true) => self.go_on(text),
        }
    }

    fn begin(&mut self, key: String, text: &str, kind: EntryKind) -> Result<(), ImportError> {
        self.close()?;
        if let Some(before) = self.seen.insert(key.clone(), self.line) {
            return Err(self.wrong(&format!("begins {key:?} again, which stands in line {before} already")));
        }
        if self.seen.len() > ENTRIES_MAX {
            return Err(self.wrong(&format!("begins more than {ENTRIES_MAX} entries")));
        }
        self.open = Some(Entry { key, text: text.to_owned(), kind });
        Ok(())
    }

    /// Further lines of what is open: examples, numbered definitions.
    fn go_on(&mut self, text: &str) -> Result<(), ImportError> {
        let Some(open) = self.open.as_mut().filter(|_| !text.is_empty()) else { return Ok(()) };
        if !open.text.is_empty() {
            open.text.push('\n');
        }
        open.text.push_str(text);
        if open.text.len() > ENTRY_BYTES_MAX { Err(self.wrong("makes an entry too long")) } else { Ok(()) }
    }

    fn close(&mut self) -> Result<(), ImportError> {
        self.open.take().map_or(Ok(()), |entry| (self.give)(entry))
    }
}

/// `1. Title`, `102. Title`, `102.3. Rule`, `102.3a Rule`: the number without its last dot, and the rest.
fn numbered(text: &str) -> Option<(String, &str)> {
    let (number, rest) = text.split_once(' ')?;
    let key = number.strip_suffix('.').unwrap_or(number);
    if !is_number(key) || (key == number && !key.ends_with(|c: char| c.is_ascii_lowercase())) {
        return None;
    }
    Some((key.to_owned(), rest.trim()))
}

/// Whether a text is a section's, a chapter's or a rule's number.
fn is_number(key: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    match key.split_once('.') {
        None => digits(key) && key.len() != 2,
        Some((chapter, rule)) => {
            chapter.len() == 3
                && digits(chapter)
                && digits(rule.trim_end_matches(|c: char| c.is_ascii_lowercase()))
                && rule.len() <= 5
        }
    }
}

/// Numbers in their order: 102.3, 102.3a, 102.10.
fn order(key: &str) -> (u32, u32, &str) {
    let (chapter, rule) = key.split_once('.').unwrap_or((key, ""));
    let letters = rule.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = rule.strip_suffix(letters).unwrap_or(rule);
    let chapter = if chapter.len() == 1 { format!("{chapter}00") } else { chapter.to_owned() };
    (chapter.parse().unwrap_or(u32::MAX), number.parse().unwrap_or_default(), letters)
}

/// All rules, ready to be looked up.
#[derive(Debug, Default)]
pub struct Rules {
    /// The date that they are effective from, as the text says it.
    pub effective: String,
    /// Rules and titles by number, then terms by name.
    entries: Vec<Entry>,
    index: Index,
}

impl Rules {
    /// Notes an entry; nothing is found before [`Rules::ready`].
    pub fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Orders and indexes everything.
    #[must_use]
    pub fn ready(mut self) -> Self {
        self.entries.sort_by(|one, other| {
            let term = |entry: &Entry| entry.kind == EntryKind::Term;
            (term(one), order(&one.key), &one.key).cmp(&(term(other), order(&other.key), &other.key))
        });
        for (number, entry) in (0_u32..).zip(&self.entries) {
            self.index.add(number, words(&entry.key).into_iter().chain(words(&entry.text)));
        }
        self
    }

    /// How many rules there are, without titles and terms.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.kind == EntryKind::Rule).count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A rule and all below it: `702` is a chapter, `702.9` a rule with its letters. A final dot or bracket is no harm.
    #[must_use]
    pub fn numbered(&self, number: &str) -> Vec<&Entry> {
        let key = number.trim().trim_end_matches(['.', ')']).to_ascii_lowercase();
        if !is_number(&key) {
            return Vec::new();
        }
        let below = |entry: &&Entry| {
            entry.kind != EntryKind::Term
                && entry.key.strip_prefix(&key).is_some_and(|rest| match rest.chars().next() {
                    None | Some('.') => true,
                    // A section's number is a chapter's beginning; 702.9 is not the beginning of 702.90.
                    Some(next) if key.len() == 1 => next.is_ascii_digit() && !rest.contains('.'),
                    Some(next) => key.contains('.') && next.is_ascii_lowercase(),
                })
        };
        self.entries.iter().filter(below).collect()
    }

    /// What is about something: its entry in the glossary, the rule that is called so, and what else holds every word.
    #[must_use]
    pub fn about(&self, keyword: &str) -> Vec<&Entry> {
        let asked = words(keyword);
        let Some(found) = self.index.find_all(&asked) else { return Vec::new() };
        let whole = fold(keyword);
        let at = |number: u32| self.entries.get(usize::try_from(number).ok()?);
        let mut entries: Vec<(u8, &Entry)> = found.entries().filter_map(at).map(|entry| (rank(entry, &whole), entry)).collect();
        // Stable: within a rank they stay in the order of the rules.
        entries.sort_by_key(|(rank, _)| *rank);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }
}

fn rank(entry: &Entry, whole: &str) -> u8 {
    let (key, text) = (fold(&entry.key), fold(&entry.text));
    match entry.kind {
        EntryKind::Term if key == *whole => 0,
        EntryKind::Rule if text.trim_end_matches('.') == whole => 1,
        EntryKind::Title if text == *whole => 1,
        EntryKind::Rule if text.starts_with(whole) => 2,
        EntryKind::Term if key.starts_with(whole) => 2,
        EntryKind::Rule => 3,
        EntryKind::Term => 4,
        EntryKind::Title => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Magic: The Gathering Comprehensive Rules\n\nThese rules are effective as of May 1, 2026.\n\nContents\n\
        1. First Things\n100. General\n102. Players\nGlossary\nCredits\n\n1. First Things\n\n100. General\n\n100.1. All of it.\n\
        100.1a A part.\nExample: This one.\nAnd on.\n\n100.10. Ten.\n\n100.2. Two.\n\n102. Players\n\n102.1. Hovering\n\n\
        102.1a What hovers is not touched.\n\nGlossary\n\nHovering\nNot touching the ground. See rule 102.1.\n\nMiller\n1. One.\n2. Two.\n\n\
        Credits\n\nSomebody: 100.9. No rule.\n";

    fn rules(text: &[u8]) -> Result<Rules, ImportError> {
        let mut rules = Rules::default();
        let effective = parse(text, &mut |entry| {
            rules.add(entry);
            Ok(())
        })?;
        rules.effective = effective;
        Ok(rules.ready())
    }

    fn keys(entries: Vec<&Entry>) -> Vec<&str> {
        entries.into_iter().map(|entry| entry.key.as_str()).collect()
    }

    #[test]
    fn rules_are_read_with_their_titles_examples_and_glossary() -> Result<(), ImportError> {
        let rules = rules(TEXT.as_bytes())?;
        assert_eq!((rules.effective.as_str(), rules.len()), ("May 1, 2026", 6));
        assert_eq!(keys(rules.numbered("100")), ["100", "100.1", "100.1a", "100.2", "100.10"]);
        assert_eq!(keys(rules.numbered("100.1.")), ["100.1", "100.1a"], "not 100.10");
        assert_eq!(keys(rules.numbered("100.1A")), ["100.1a"]);
        assert_eq!(keys(rules.numbered("1")), ["1", "100", "102"]);
        assert_eq!(
            rules.numbered("100.1a").first().map(|entry| entry.text.as_str()),
            Some("A part.\nExample: This one.\nAnd on.")
        );
        assert_eq!(keys(rules.about("hovering")), ["Hovering", "102.1"], "the glossary, then the rule of that name");
        assert_eq!(keys(rules.about("touch ground")), ["Hovering"]);
        for nothing in ["", "9", "100.9", "'; DROP", "100.1zz9"] {
            assert_eq!(rules.numbered(nothing), Vec::<&Entry>::new(), "{nothing}");
        }
        assert!(rules.about("").is_empty() && rules.about("somebody").is_empty(), "credits are no rules");
        Ok(())
    }

    #[test]
    fn the_same_text_in_other_clothes() -> Result<(), ImportError> {
        let crlf = format!("\u{feff}{}", TEXT.replace('\n', "\r\n"));
        assert_eq!(rules(crlf.as_bytes())?.len(), 6);
        let old: Vec<u8> = TEXT
            .replace("hovers is", "hovers (the owner\u{1}s) is")
            .bytes()
            .map(|byte| if byte == 1 { 0x92 } else { byte })
            .collect();
        let read = rules(&old)?;
        assert!(read.numbered("102.1a").first().is_some_and(|entry| entry.text.contains("owner’s")));
        Ok(())
    }

    #[test]
    fn what_is_cut_or_something_else_is_refused() {
        let fault = |text: &str| rules(text.as_bytes()).err().map(|error| error.to_string()).unwrap_or_default();
        for (text, why) in [
            (TEXT.split("Miller").next().unwrap_or_default().to_owned(), "it is cut"),
            (TEXT.split("102.1.").next().unwrap_or_default().to_owned(), "it is cut"),
            ("A recipe.\n1. Water\n2. Salt\n".to_owned(), "no date"),
            ("These rules are effective as of today.\nGlossary\nCredits\n".to_owned(), "there is no rule"),
            (TEXT.replace("100.2. Two", "100.1. Two"), "line 23 begins \"100.1\" again, which stands in line 16"),
            (format!("{}{}", TEXT, "x".repeat(70_000)), "too long"),
        ] {
            assert!(fault(&text).contains(why), "{why}: {}", fault(&text));
        }
    }
}
