//! Reading what an operator downloaded: Scryfall's bulk files, MTGJSON's AtomicCards, the text of the Comprehensive Rules.
//!
//! A file is read as it comes and never held as a whole. What is read leaves in pieces for the database, under a name that nothing
//! points to; only when the file was read to its end is it put in place of what was there. So a file that is cut, wrong or half
//! nonsense changes nothing.

mod bounded;
mod mtgjson;
mod rulings;
mod scryfall;

pub use rulings::KeptRuling;
pub(crate) use scryfall::card as scryfall_card;

use crate::library::{Kind, SetRow, Writer};
use bounded::Bounded;
use serde::Serialize;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use store::{Store, StoreError};
use tokio::sync::mpsc;

/// A piece of the database: some hundred cards.
const PIECE_BYTES: usize = 128 * 1024;
/// Pieces that may wait for the database.
const PIECES_WAITING: usize = 4;
/// Entries that could not be used, of a hundred; more and it is not the file that it seems to be.
const UNUSABLE_PERCENT_MAX: u64 = 1;
const FAULTS_SHOWN: usize = 3;
const BUFFER_BYTES: usize = 256 * 1024;

/// Why nothing was imported. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file can't be read: the operator's machine.
    #[error("it can't be read: {0}")]
    Read(#[from] std::io::Error),
    /// Cut, or not what it looks like: the file.
    #[error("it is cut or damaged: {0}")]
    Json(#[from] serde_json::Error),
    /// Not a file for us.
    #[error("{0}")]
    Unknown(String),
    /// Too many entries of it can't be used.
    #[error("{unusable} of {all} entries can't be used, such as: {examples}")]
    Unusable {
        /// How many.
        unusable: u64,
        /// Of how many.
        all: u64,
        /// The first few, and what is wrong with them.
        examples: String,
    },
    /// Another import of the same kind came between.
    #[error("another import of the same kind was faster; import it again")]
    Overtaken,
    /// The database: ours or the operator's.
    #[error("the database failed: {0}")]
    Store(#[from] StoreError),
    /// A thread of ours died.
    #[error("reading stopped unexpectedly")]
    Broken,
}

/// What was counted on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// What was taken.
    pub taken: u64,
    /// Tokens, emblems, oversized cards and the like: no cards of a deck.
    pub not_for_decks: u64,
    /// In another language than English.
    pub foreign: u64,
    /// Of an id that was there before: other printings.
    pub again: u64,
    /// What could not be used, with the first few reasons.
    pub unusable: u64,
    /// The first few.
    pub examples: Vec<String>,
}

impl Counts {
    fn unusable(&mut self, place: u64, why: &str) {
        self.unusable += 1;
        if self.examples.len() < FAULTS_SHOWN {
            self.examples.push(format!("entry {place}: {}", crate::text::clip(why, 160)));
        }
    }

    const fn all(&self) -> u64 {
        self.taken + self.not_for_decks + self.foreign + self.again + self.unusable
    }

    fn check(&self) -> Result<(), ImportError> {
        let all = self.all();
        if self.unusable * 100 > all * UNUSABLE_PERCENT_MAX {
            return Err(ImportError::Unusable { unusable: self.unusable, all, examples: self.examples.join("; ") });
        }
        if self.taken == 0 {
            return Err(ImportError::Unknown("there is nothing in it that could be taken".to_owned()));
        }
        Ok(())
    }
}

/// A file's end: what it was and what was counted.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What stands in the database now.
    pub set: SetRow,
    /// What was counted.
    pub counts: Counts,
}

/// What a reader found out about its file.
struct Outcome {
    kind: Kind,
    format: &'static str,
    /// The file's own date, where it has one.
    as_of: Option<String>,
    counts: Counts,
}

/// Where entries go: pieces of JSON lines.
struct Sink {
    piece: String,
    pieces: mpsc::Sender<(Kind, String)>,
    seen: HashSet<Box<str>>,
}

impl Sink {
    /// Whether this id did not come before.
    fn is_new(&mut self, id: &str) -> bool {
        self.seen.insert(id.into())
    }

    fn put(&mut self, kind: Kind, entry: &impl Serialize) -> Result<(), ImportError> {
        self.piece.push_str(&serde_json::to_string(entry)?);
        self.piece.push('\n');
        if self.piece.len() >= PIECE_BYTES { self.flush(kind) } else { Ok(()) }
    }

    fn flush(&mut self, kind: Kind) -> Result<(), ImportError> {
        if self.piece.is_empty() {
            return Ok(());
        }
        // Who takes pieces ends early only when the database failed, and says so itself.
        self.pieces.blocking_send((kind, std::mem::take(&mut self.piece))).map_err(|_| ImportError::Broken)
    }
}

/// Reads one file to its end and puts it in place of what there was of its kind. `modified` is its date where it has none in it.
///
/// # Errors
/// [`ImportError`]: then everything is as before.
pub async fn import(
    store: &Store,
    file: impl Read + Send + 'static,
    modified: &str,
    now: policy::Timestamp,
) -> Result<Imported, ImportError> {
    let (sender, mut pieces) = mpsc::channel(PIECES_WAITING);
    let reading = tokio::task::spawn_blocking(move || {
        let mut sink = Sink { piece: String::new(), pieces: sender, seen: HashSet::new() };
        let read = read(file, &mut sink)?;
        sink.flush(read.kind)?;
        read.counts.check()?;
        Ok::<Outcome, ImportError>(read)
    });
    let mut writer = Writer::new(store.clone(), now);
    let mut failed = None;
    while let Some((kind, piece)) = pieces.recv().await {
        if let Err(error) = writer.put(kind, piece).await {
            failed = Some(error);
            break;
        }
    }
    drop(pieces);
    let read = reading.await.map_err(|_| ImportError::Broken).flatten();
    match (failed, read) {
        (None, Ok(read)) => {
            let as_of = read.as_of.unwrap_or_else(|| modified.to_owned());
            let items = i64::try_from(read.counts.taken).unwrap_or(i64::MAX);
            let set = writer.put_in_place(read.kind, read.format, &as_of, items).await?;
            Ok(Imported { set, counts: read.counts })
        }
        (failed, read) => {
            writer.give_up().await;
            Err(failed.map(ImportError::Store).or_else(|| read.err()).unwrap_or(ImportError::Broken))
        }
    }
}

/// Finds out what a file is by how it begins, and reads it.
fn read(file: impl Read, sink: &mut Sink) -> Result<Outcome, ImportError> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, Bounded::new(file));
    let skipped = match file.fill_buf()? {
        [] => return Err(ImportError::Unknown("it is empty".to_owned())),
        [0x1f, 0x8b, ..] => return Err(unknown("it is compressed with gzip: `gunzip -c FILE | hexward cards import -`")),
        [b'P', b'K', 3, 4, ..] => return Err(unknown("it is a zip archive: unpack it first")),
        [0xfd, b'7', b'z', ..] => return Err(unknown("it is compressed with xz: `xz -dc FILE | hexward cards import -`")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err(unknown("it is UTF-16: convert it to UTF-8")),
        [0xef, 0xbb, 0xbf, ..] => 3,
        _ => 0,
    };
    file.consume(skipped);
    skip_blanks(&mut file)?;
    match file.fill_buf()?.first() {
        Some(b'[') => array(file, sink),
        Some(b'{') => mtgjson::read(file, sink),
        Some(_) => rules_text(file, sink),
        None => Err(unknown("it is empty")),
    }
}

fn unknown(why: &str) -> ImportError {
    ImportError::Unknown(why.to_owned())
}

fn skip_blanks(file: &mut impl BufRead) -> Result<(), ImportError> {
    loop {
        let buffer = file.fill_buf()?;
        let blanks = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let all = blanks == buffer.len() && blanks > 0;
        file.consume(blanks);
        if !all {
            return Ok(());
        }
    }
}

/// Scryfall's files are arrays; the first entry says of what.
fn array<R: Read>(file: BufReader<Bounded<R>>, sink: &mut Sink) -> Result<Outcome, ImportError> {
    let meter = file.get_ref().meter();
    let mut elements = scryfall::Elements { sink, kind: None, counts: Counts::default(), meter, failed: None };
    let mut json = serde_json::Deserializer::from_reader(file);
    let walked = serde::Deserializer::deserialize_seq(&mut json, &mut elements).and_then(|()| json.end());
    elements.finish(walked)
}

fn rules_text(file: impl BufRead, sink: &mut Sink) -> Result<Outcome, ImportError> {
    let mut counts = Counts::default();
    let effective = crate::rules::parse(file, &mut |entry| {
        counts.taken += 1;
        sink.put(Kind::Rules, &entry)
    })?;
    Ok(Outcome { kind: Kind::Rules, format: "comprehensive-rules", as_of: Some(effective), counts })
}
