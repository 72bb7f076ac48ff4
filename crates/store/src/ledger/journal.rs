//! The journal: an append-only file that remembers what was reserved and settled inside slices until the database has it.
//!
//! Invariants: a line is in the kernel's hands before [`Journal::append`] returns, so it survives the death of this process. The line of
//! an end that could not be written waits, and is there before any later line is: nobody uses the room that its call left before that.
//! No line may survive a power loss; therefore slices name the journal and the life of the machine they were taken in, and one whose
//! journal may have lost its end is charged in full.

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
/// Room for a line, as most are.
const LINE_BYTES: usize = 512;
/// What waits at most.
const WAITING_BYTES_MAX: usize = 64 << 10;

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
    /// Lines that are not in the file yet, in order.
    waiting: Vec<u8>,
}

impl Pages {
    /// Puts what waits into the file. On an error it goes on waiting: whoever comes next tries again.
    fn write(&mut self) -> std::io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let file = self.files.get_mut(self.active).ok_or(std::io::ErrorKind::NotFound)?;
        if self.cut {
            file.write_all(b"\n")?;
        }
        let written = file.write_all(&self.waiting);
        self.cut = written.is_err();
        if written.is_ok() {
            self.bytes += u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
            self.waiting.clear();
        }
        written
    }
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
        let waiting = Vec::with_capacity(WAITING_BYTES_MAX);
        let state = Pages { files, active: 0, bytes: 0, spare: true, cut: false, waiting };
        Ok(Self { id, boot: boot.to_owned(), state: Mutex::new(state) })
    }

    /// Appends one line. On an error nothing may depend on it.
    pub(super) fn append(&self, record: &Record) -> Result<(), StoreError> {
        // Outside of the lock: others append too.
        let mut line = Vec::with_capacity(LINE_BYTES);
        super::line::write(record, &mut line);
        line.push(b'\n');
        let mut state = self.state.lock();
        let before = state.waiting.len();
        state.waiting.extend_from_slice(&line);
        let written = state.write();
        // What did not happen must not be written later. An end did happen: it waits, unless there is no room for more of them.
        if written.is_err() && (matches!(record, Record::Opened(_)) || before >= WAITING_BYTES_MAX) {
            state.waiting.truncate(before);
        }
        written.map_err(unwritten)
    }

    /// Puts every line into the kernel's hands.
    pub(super) fn catch_up(&self) -> Result<(), StoreError> {
        self.state.lock().write().map_err(unwritten)
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
        emptied.map_err(unwritten)?;
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

fn unwritten(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("the ledger's journal: {error}"))
}

fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", PathBuf::from(path).display()))
}

#[cfg(test)]
mod tests {
    use super::super::record::{CallEnd, CallNotes, Ended, Opened};
    use super::*;
    use policy::{CallId, Microusd, RunId, SliceId, Usage, UserId};

    fn opened(slice: SliceId) -> Opened {
        Opened {
            id: CallId::random(),
            slice,
            run: RunId::random(),
            user: UserId::random(),
            path: "/v1/messages".into(),
            model: "m".into(),
            reserved: Microusd(5),
            at: 1,
            until: 2,
            notes: CallNotes::default(),
        }
    }

    fn end_of(call: &Opened) -> Record {
        Record::Ended(Ended {
            id: call.id,
            slice: call.slice,
            run: call.run,
            reserved: call.reserved,
            cost: Microusd(1),
            outcome: "measured".into(),
            usage: Usage::default(),
            at: 2,
            end: CallEnd::default(),
        })
    }

    /// What another life would find.
    fn found(folder: &Path) -> Vec<Record> {
        left(folder, "boot").expect("it can be read").records
    }

    #[test]
    fn a_line_is_there_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::begin(folder.path(), "boot").expect("a journal");
        let call = opened(SliceId::random());
        journal.append(&Record::Opened(call.clone())).expect("room");
        journal.append(&end_of(&call)).expect("room");
        assert_eq!(found(folder.path()), [Record::Opened(call.clone()), end_of(&call)]);
    }

    #[test]
    fn an_end_that_could_not_be_written_is_there_before_the_next_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = Journal::begin(folder.path(), "boot").expect("a journal");
        let (call, refused, next) = (opened(SliceId::random()), opened(SliceId::random()), opened(SliceId::random()));
        journal.append(&Record::Opened(call.clone())).expect("room");
        // As full as a disk can be.
        let full = OpenOptions::new().append(true).open("/dev/full").expect("a file");
        let own = std::mem::replace(journal.state.lock().files.first_mut().expect("a file"), full);
        assert!(journal.append(&end_of(&call)).is_err() && journal.append(&Record::Opened(refused)).is_err());
        *journal.state.lock().files.first_mut().expect("a file") = own;
        journal.append(&Record::Opened(next.clone())).expect("room");
        assert_eq!(found(folder.path()), [Record::Opened(call.clone()), end_of(&call), Record::Opened(next)]);
    }
}
