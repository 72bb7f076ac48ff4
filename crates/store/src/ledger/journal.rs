//! The journal: an append-only file that remembers what was reserved and settled inside slices until the database has it.
//!
//! Invariant: a line is in the kernel's hands before [`Journal::append`] returns, so it survives the death of this process. It
//! may not survive a power loss; therefore slices name the journal and the life of the machine they were taken in, and one
//! whose journal may have lost its end is charged in full.

use super::record::Record;
use crate::StoreError;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// After so many bytes the other file is written, and this one emptied once the database has what it says.
const FILE_BYTES_MAX: u64 = 4 << 20;
const FILES: [&str; 2] = ["calls-a.journal", "calls-b.journal"];

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Head {
    journal: String,
    boot: String,
    /// Which file it stands in: of a copy, the original may have gone on.
    #[serde(default)]
    file: String,
}

impl Head {
    fn of(file: &File, journal: &str, boot: &str) -> std::io::Result<Vec<u8>> {
        let head = Self { journal: journal.to_owned(), boot: boot.to_owned(), file: name_of(file)? };
        let mut line = serde_json::to_vec(&head)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// Device and inode, which a copy does not have.
fn name_of(file: &File) -> std::io::Result<String> {
    let about = file.metadata()?;
    Ok(format!("{}:{}", about.dev(), about.ino()))
}

/// The files being written.
pub(crate) struct Journal {
    /// Names this journal: another life of the gateway has another one.
    pub id: String,
    /// Names this life of the machine.
    pub boot: String,
    state: Mutex<Pages>,
}

struct Pages {
    files: [File; 2],
    active: usize,
    bytes: u64,
    /// The other file is empty.
    spare: bool,
    /// The last line may have been cut by a full disk: the next one must not continue it.
    cut: bool,
    line: Vec<u8>,
}

/// What a former life left: its journal, and whether that is whole.
pub(crate) struct Left {
    /// What was written, in order within each file.
    pub records: Vec<Record>,
    /// The journals (of the same life of the machine) that can have lost nothing.
    pub whole: Vec<String>,
}

impl Journal {
    /// Begins a new journal over what is in `folder`, which must have been read and taken over before.
    pub(super) fn begin(folder: &Path, boot: &str) -> Result<Self, StoreError> {
        let id = Uuid::now_v7().to_string();
        let create = |name: &str| {
            let path = folder.join(name);
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(|e| io(&path, &e))?;
            Head::of(&file, &id, boot).and_then(|head| empty(&mut file, &head)).map_err(|error| io(&path, &error))?;
            Ok::<_, StoreError>(file)
        };
        let [a, b] = FILES;
        let files = [create(a)?, create(b)?];
        let state = Pages { files, active: 0, bytes: 0, spare: true, cut: false, line: Vec::with_capacity(1024) };
        Ok(Self { id, boot: boot.to_owned(), state: Mutex::new(state) })
    }

    /// Appends one line. On an error nothing may depend on it.
    pub(super) fn append(&self, record: &Record) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let Pages { files, active, bytes, cut, line, .. } = &mut *state;
        line.clear();
        if *cut {
            line.push(b'\n');
        }
        super::line::write(record, line);
        line.push(b'\n');
        let file = files.get_mut(*active).ok_or(StoreError::Closed)?;
        let written = file.write_all(line);
        *cut = written.is_err();
        written.map_err(|error| StoreError::Unavailable(format!("the ledger's journal: {error}")))?;
        *bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Turns to the other file when this one is long. Call it with everything appended so far in hand; what [`Journal::drained`]
    /// is told of afterwards empties the file that was left.
    pub(super) fn turn(&self) {
        let mut state = self.state.lock();
        if state.bytes >= FILE_BYTES_MAX && state.spare {
            (state.active, state.bytes, state.spare) = (1 - state.active, 0, false);
        }
    }

    /// Whether the other file still holds something.
    pub(super) fn has_turned(&self) -> bool {
        !self.state.lock().spare
    }

    /// The database has everything that was in the file before the last turn.
    pub(super) fn drained(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let other = 1 - state.active;
        let file = state.files.get_mut(other).ok_or(StoreError::Closed)?;
        let emptied = Head::of(file, &self.id, &self.boot).and_then(|head| empty(file, &head));
        emptied.map_err(|error| StoreError::Unavailable(format!("the ledger's journal: {error}")))?;
        state.spare = true;
        Ok(())
    }
}

fn empty(file: &mut File, head: &[u8]) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(head)
}

/// Reads what a former life left in `folder`. A line that was cut is one that nobody acted upon.
pub(crate) fn left(folder: &Path, boot: &str) -> Result<Left, StoreError> {
    std::fs::create_dir_all(folder).map_err(|error| io(folder, &error))?;
    let mut left = Left { records: Vec::new(), whole: Vec::new() };
    let mut heads = Vec::new();
    for path in FILES.map(|name| folder.join(name)) {
        match File::open(&path) {
            Ok(file) => heads.push(read(file, &mut left.records).map_err(|error| io(&path, &error))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => heads.push(None),
            Err(error) => return Err(io(&path, &error)),
        }
    }
    // Both files must be there, be themselves and of one journal: one that is missing may have held anything.
    if let [Some(a), Some(b)] = heads.as_slice()
        && a.journal == b.journal
        && [a, b].iter().all(|head| head.boot == boot)
    {
        left.whole.push(a.journal.clone());
    }
    Ok(left)
}

fn read(file: File, records: &mut Vec<Record>) -> std::io::Result<Option<Head>> {
    let name = name_of(&file)?;
    let mut lines = BufReader::new(file).split(b'\n');
    let head = lines.next().transpose()?.and_then(|line| serde_json::from_slice::<Head>(&line).ok());
    let head = head.filter(|head| head.file == name);
    for line in lines {
        records.extend(super::line::read(&line?));
    }
    Ok(head)
}

fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", PathBuf::from(path).display()))
}
