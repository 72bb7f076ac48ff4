//! The journal: an append-only file that remembers what was reserved and settled inside slices until the database has it.
//!
//! Invariants: a line is in the kernel's hands before [`Journal::append`] returns, so it survives the death of this process. The line of
//! a model call's end that could not be written waits, and is there before any later line is: nobody uses the room that it left before that.
//! No line may survive a power loss; therefore slices name the journal and the life of the machine they were taken in, and one whose
//! journal may have lost its end is charged in full. What people wrote is sealed in its line, under a key of the file's that a master
//! key wraps and that goes with what the file held.

use super::record::Record;
use crate::StoreError;
use crate::masters::{Masters, random};
use crate::vault::UserKey;
use data_encoding::BASE64URL_NOPAD;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// After so many bytes the other file is written, and this one emptied once the database has what it says.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;
/// A file that can't be left, because reads come faster than they are moved, takes no further ones after so many.
const READS_BYTES_MAX: u64 = 16 * FILE_BYTES_MAX;
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
    /// Under which what people wrote is sealed.
    #[serde(default)]
    key: Option<Wrapped>,
}

/// A file's key.
#[derive(Serialize, Deserialize)]
struct Wrapped {
    /// The name of the master key.
    master: String,
    /// In base64url.
    wrapped: String,
}

impl Wrapped {
    /// A new key for a journal, and how it is kept.
    fn new(masters: &Masters, journal: &str) -> Result<(UserKey, Self), StoreError> {
        let (bytes, owner) = (random()?, owner(journal));
        let (master, wrapped) = masters.wrap(&owner, &bytes)?;
        Ok((UserKey::new(&owner, &bytes)?, Self { master: master.to_owned(), wrapped: BASE64URL_NOPAD.encode(&wrapped) }))
    }

    fn open(&self, masters: &Masters, journal: &str) -> Result<UserKey, StoreError> {
        masters.has(&self.master)?;
        let owner = owner(journal);
        let broken = |_| StoreError::Sealed("the key of the ledger's journal is not as it was written");
        let wrapped = BASE64URL_NOPAD.decode(self.wrapped.as_bytes()).map_err(broken)?;
        UserKey::new(&owner, &masters.unwrap(&owner, &self.master, &wrapped)?)
    }
}

/// Whose data key a file's is. No user is called so.
fn owner(journal: &str) -> String {
    format!("journal {journal}")
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
    /// Without, nothing is sealed.
    masters: Option<Arc<Masters>>,
    state: Mutex<Pages>,
}

/// A record as it will stand in a file.
pub(super) struct Line {
    bytes: Vec<u8>,
    /// What it is sealed under.
    key: Option<Arc<UserKey>>,
}

struct Pages {
    files: [File; 2],
    keys: [Option<Arc<UserKey>>; 2],
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
    fn key(&self) -> Option<Arc<UserKey>> {
        self.keys.get(self.active).cloned().flatten()
    }

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
        // A part may stand there.
        self.bytes += u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        if written.is_ok() {
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
    pub(super) fn begin(folder: &Path, boot: &str, masters: Option<Arc<Masters>>) -> Result<Self, StoreError> {
        let id = Uuid::now_v7().to_string();
        let create = |name: &str| {
            let path = folder.join(name);
            let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(|e| io(&path, &e))?;
            let key = empty(&mut file, &id, boot, masters.as_deref())?;
            Ok::<_, StoreError>((file, key))
        };
        let [a, b] = FILES;
        let ((a, key_of_a), (b, key_of_b)) = (create(a)?, create(b)?);
        let (files, keys, waiting) = ([a, b], [key_of_a, key_of_b], Vec::with_capacity(WAITING_BYTES_MAX));
        let state = Pages { files, keys, active: 0, bytes: 0, spare: true, cut: false, waiting };
        Ok(Self { id, boot: boot.to_owned(), masters, state: Mutex::new(state) })
    }

    /// A record as it will stand in the file that is written now.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] where something has to be sealed and can't be.
    pub(super) fn line(&self, record: &Record) -> Result<Line, StoreError> {
        let key = record.is_sealed().then(|| self.state.lock().key()).flatten();
        line_of(record, key)
    }

    /// Appends the line of a record. On an error nothing may depend on it.
    pub(super) fn append(&self, record: &Record, line: Line) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let line = match (&line.key, state.key()) {
            // The other file was turned to meanwhile.
            (Some(key), Some(now)) if !Arc::ptr_eq(key, &now) => line_of(record, Some(now))?,
            _ => line,
        };
        let before = state.waiting.len();
        state.waiting.extend_from_slice(&line.bytes);
        let written = state.write();
        // What did not happen must not be written later. What was spent was: it waits, unless there is no room for more of that.
        if written.is_err() && (!matches!(record, Record::Ended(_)) || before >= WAITING_BYTES_MAX) {
            state.waiting.truncate(before);
        }
        written.map_err(unwritten)
    }

    /// Puts every line into the kernel's hands.
    pub(super) fn catch_up(&self) -> Result<(), StoreError> {
        self.state.lock().write().map_err(unwritten)
    }

    /// Turns to the other file when this one is longer than `bytes_max`. Call it with everything appended so far in hand; what
    /// [`Journal::drained`] is told of afterwards empties the file that was left. True where nothing of before stands in the one that is
    /// written now.
    pub(super) fn turn(&self, bytes_max: u64) -> bool {
        let mut state = self.state.lock();
        // What waits is sealed for the file that it waits for.
        if state.bytes > bytes_max && state.spare && state.waiting.is_empty() {
            (state.active, state.bytes, state.spare) = (1 - state.active, 0, false);
        }
        state.bytes == 0 && state.waiting.is_empty()
    }

    /// Whether its file has become so long that reads have to wait until the database has caught up: the disk is for money too.
    pub(super) fn is_long(&self) -> bool {
        self.state.lock().bytes >= READS_BYTES_MAX
    }

    /// As if so much had been read that reads have to wait.
    #[cfg(test)]
    pub(super) fn lengthen(&self) {
        self.state.lock().bytes = READS_BYTES_MAX;
    }

    /// Whether the other file still holds something.
    pub(super) fn has_turned(&self) -> bool {
        !self.state.lock().spare
    }

    /// The database has everything that was in the file before the last turn.
    pub(super) fn drained(&self) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let Pages { files, keys, active, .. } = &mut *state;
        let other = 1 - *active;
        let (Some(file), Some(key)) = (files.get_mut(other), keys.get_mut(other)) else { return Err(StoreError::Closed) };
        *key = empty(file, &self.id, &self.boot, self.masters.as_deref())?;
        state.spare = true;
        Ok(())
    }
}

fn line_of(record: &Record, key: Option<Arc<UserKey>>) -> Result<Line, StoreError> {
    let mut bytes = Vec::with_capacity(LINE_BYTES);
    super::line::write(record, key.as_deref(), &mut bytes)?;
    bytes.push(b'\n');
    Ok(Line { bytes, key })
}

/// Leaves of a file only its head, with a new key.
fn empty(file: &mut File, journal: &str, boot: &str, masters: Option<&Masters>) -> Result<Option<Arc<UserKey>>, StoreError> {
    let (key, kept) = masters.map(|masters| Wrapped::new(masters, journal)).transpose()?.unzip();
    let begun = name_of(file).and_then(|name| {
        let head = Head { journal: journal.to_owned(), boot: boot.to_owned(), file: name, key: kept };
        let mut line = serde_json::to_vec(&head)?;
        line.push(b'\n');
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&line)
    });
    begun.map_err(unwritten)?;
    Ok(key.map(Arc::new))
}

/// Whether what a former life left in `folder` holds something that people wrote: then its master key is still needed.
///
/// # Errors
/// [`StoreError::Unavailable`] when it can't be read.
pub fn journal_is_sealed(folder: &Path) -> Result<bool, StoreError> {
    for path in FILES.map(|name| folder.join(name)) {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io(&path, &error)),
        };
        for line in BufReader::new(file).split(b'\n') {
            if line.map_err(|error| io(&path, &error))?.starts_with(super::line::SEALED) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Reads what a former life left in `folder`. A line that was cut is one that nobody acted upon. The master keys are needed where
/// something is sealed.
pub(crate) fn left(folder: &Path, boot: &str, masters: Option<&Masters>) -> Result<Left, StoreError> {
    std::fs::create_dir_all(folder).map_err(|error| io(folder, &error))?;
    let mut left = Left { records: Vec::new(), whole: Vec::new() };
    let mut heads = Vec::new();
    for path in FILES.map(|name| folder.join(name)) {
        match File::open(&path) {
            Ok(file) => heads.push(read(file, &path, &mut left.records, masters)?),
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

fn read(file: File, path: &Path, records: &mut Vec<Record>, masters: Option<&Masters>) -> Result<Option<Head>, StoreError> {
    let name = name_of(&file).map_err(|error| io(path, &error))?;
    let mut lines = BufReader::new(file).split(b'\n').map(|line| line.map_err(|error| io(path, &error)));
    let head = lines.next().transpose()?.and_then(|line| serde_json::from_slice::<Head>(&line).ok());
    let mut key = None;
    for line in lines {
        let line = line?;
        if line.starts_with(super::line::SEALED) && key.is_none() {
            key = Some(head.as_ref().map(|head| key_of(head, path, masters)).transpose()?.flatten());
        }
        records.extend(super::line::read(&line, key.as_ref().and_then(Option::as_ref)));
    }
    Ok(head.filter(|head| head.file == name))
}

/// What a file's lines are sealed under. A master key that is missing is asked for; what is damaged opens never again, and must not
/// keep money from being counted.
fn key_of(head: &Head, path: &Path, masters: Option<&Masters>) -> Result<Option<UserKey>, StoreError> {
    let Some(wrapped) = &head.key else { return Ok(None) };
    let masters = masters.ok_or(StoreError::Sealed("this database was opened without a master key"))?;
    match wrapped.open(masters, &head.journal) {
        Ok(key) => Ok(Some(key)),
        Err(StoreError::MasterKey(why)) => Err(StoreError::MasterKey(format!("{}: {why}", path.display()))),
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "the key in the journal's first line is damaged, so the reads in it are lost");
            Ok(None)
        }
    }
}

fn unwritten(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("the ledger's journal: {error}"))
}

fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", PathBuf::from(path).display()))
}

#[cfg(test)]
mod tests {
    use super::super::record::{CallEnd, Ended, Opened, ReadOpened};
    use super::super::testing::model_call;
    use super::*;
    use policy::{CallId, Microusd, RunId, Usage, UserId};

    fn begun(folder: &Path, masters: Option<Masters>) -> Journal {
        Journal::begin(folder, "boot", masters.map(Arc::new)).expect("a journal")
    }

    fn append(journal: &Journal, record: &Record) -> Result<(), StoreError> {
        journal.append(record, journal.line(record)?)
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
        left(folder, "boot", None).expect("it can be read").records
    }

    #[test]
    fn a_line_is_there_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = begun(folder.path(), None);
        let call = model_call();
        append(&journal, &Record::Opened(call.clone())).expect("room");
        append(&journal, &end_of(&call)).expect("room");
        assert_eq!(found(folder.path()), [Record::Opened(call.clone()), end_of(&call)]);
    }

    #[test]
    fn an_end_that_could_not_be_written_is_there_before_the_next_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = begun(folder.path(), None);
        let (call, refused, next) = (model_call(), model_call(), model_call());
        append(&journal, &Record::Opened(call.clone())).expect("room");
        // As full as a disk can be.
        let full = OpenOptions::new().append(true).open("/dev/full").expect("a file");
        let own = std::mem::replace(journal.state.lock().files.first_mut().expect("a file"), full);
        assert!(append(&journal, &end_of(&call)).is_err() && append(&journal, &Record::Opened(refused)).is_err());
        *journal.state.lock().files.first_mut().expect("a file") = own;
        append(&journal, &Record::Opened(next.clone())).expect("room");
        assert_eq!(found(folder.path()), [Record::Opened(call.clone()), end_of(&call), Record::Opened(next)]);
    }

    const MASTER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn masters(current: &str, old: &str) -> Masters {
        Masters::parse(current, old).expect("keys")
    }

    fn read_of(said: &str) -> Record {
        Record::Read(ReadOpened {
            id: CallId::random(),
            run: RunId::random(),
            user: UserId::random(),
            app: "hexmap".into(),
            tool: "look".into(),
            tool_use_id: "".into(),
            digest: "09".into(),
            arguments: said.into(),
            at: 1,
        })
    }

    #[test]
    fn what_is_sealed_opens_with_its_master_key_and_goes_with_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = begun(folder.path(), Some(masters(MASTER, "")));
        let (first, late, second) = (read_of("at the mill"), read_of("under way at the turn"), read_of("at the well"));
        append(&journal, &first).expect("room");
        let line = journal.line(&late).expect("sealed");
        let before = journal.state.lock().key().expect("a key");
        journal.turn(0);
        journal.append(&late, line).expect("room");
        append(&journal, &second).expect("room");
        assert!(!Arc::ptr_eq(&before, &journal.state.lock().key().expect("a key")), "each file has its own");
        let found = |masters: &Masters| left(folder.path(), "boot", Some(masters)).map(|left| left.records);
        let all = [first, late.clone(), second.clone()];
        assert_eq!(found(&masters(MASTER, "")).expect("it opens"), all);
        assert_eq!(found(&masters(OTHER, MASTER)).expect("it opens with a former one"), all);
        assert!(matches!(found(&masters(OTHER, "")), Err(StoreError::MasterKey(_))), "nothing is passed over in silence");
        assert!(left(folder.path(), "boot", None).is_err() && journal_is_sealed(folder.path()).expect("read"));
        journal.drained().expect("emptied");
        assert_eq!(found(&masters(MASTER, "")).expect("it opens"), [late, second]);
        journal.turn(0);
        journal.drained().expect("emptied");
        assert!(!journal_is_sealed(folder.path()).expect("read"), "what the database has is not kept here");
        assert_eq!(found(&masters(OTHER, "")).expect("nothing needs a key"), []);
    }

    #[test]
    fn without_a_master_key_nothing_of_people_s_is_written_and_what_could_not_be_is_not_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = begun(folder.path(), None);
        assert!(matches!(append(&journal, &read_of("x")), Err(StoreError::Sealed(_))) && !journal.is_long());
        journal.state.lock().bytes = READS_BYTES_MAX;
        assert!(journal.is_long());
        let journal = begun(folder.path(), Some(masters(MASTER, "")));
        let full = OpenOptions::new().append(true).open("/dev/full").expect("a file");
        let own = std::mem::replace(journal.state.lock().files.first_mut().expect("a file"), full);
        assert!(append(&journal, &read_of("x")).is_err());
        *journal.state.lock().files.first_mut().expect("a file") = own;
        let next = model_call();
        append(&journal, &Record::Opened(next.clone())).expect("room");
        let found = left(folder.path(), "boot", Some(&masters(MASTER, ""))).expect("read").records;
        assert_eq!(found, [Record::Opened(next)]);
    }
}
