//! A record of the journal as a line: fields in a fixed order between tabs, and a sum over all of them at the end.
//!
//! Written twice for each call, so it is short and made without a tree. The sum is there for lines that were cut, not against
//! anybody: whoever can write the file can write the sum. What people wrote is sealed under the file's key.

use super::record::{CallEnd, CallNotes, Ended, Opened, ReadEnded, ReadOpened, Record};
use crate::vault::UserKey;
use crate::{Place, StoreError, ToolState};
use policy::{Extras, Microusd, Usage};
use std::str::FromStr;
use std::sync::Arc;

const OPENED: &[u8] = b"opened";
const ENDED: &[u8] = b"ended";
/// Begins both lines of a read.
pub(super) const SEALED: &[u8] = b"read";
const READ: &[u8] = b"read";
const READ_ENDED: &[u8] = b"read-ended";
const NOTHING: &[u8] = b"-";
/// Before a text that may be absent.
const SOMETHING: u8 = b'+';

/// Appends a record, without the end of the line. On an error the line is not to be used.
pub(super) fn write(record: &Record, key: Option<&UserKey>, line: &mut Vec<u8>) -> Result<(), StoreError> {
    let start = line.len();
    match record {
        Record::Opened(call) => write_opened(call, line),
        Record::Ended(call) => write_ended(call, line),
        Record::Read(call) => write_read(call, key.ok_or(KEYLESS)?, line)?,
        Record::ReadEnded(call) => write_read_ended(call, key.ok_or(KEYLESS)?, line)?,
    }
    let sum = line.get(start..).map_or(0, sum);
    field(line, &hexadecimal(sum));
    Ok(())
}

const KEYLESS: StoreError = StoreError::Sealed("this journal has no key");

/// Reads a line, without its end. None where it was cut or says anything else, or what is sealed in it does not open.
pub(super) fn read(line: &[u8], key: Option<&UserKey>) -> Option<Record> {
    if line.starts_with(b"{") {
        // A former version's.
        return serde_json::from_slice(line).ok();
    }
    let at = line.iter().rposition(|byte| *byte == b'\t')?;
    let (said, end) = line.split_at_checked(at)?;
    if end.strip_prefix(b"\t")? != hexadecimal(sum(said)).as_bytes() {
        return None;
    }
    let mut fields = Fields(said.split(|byte| *byte == b'\t'));
    let record = match fields.next()? {
        OPENED => Record::Opened(read_opened(&mut fields)?),
        ENDED => Record::Ended(read_ended(&mut fields)?),
        READ => Record::Read(read_read(&mut fields, key?)?),
        READ_ENDED => Record::ReadEnded(read_read_ended(&mut fields, key?)?),
        _ => return None,
    };
    fields.next().is_none().then_some(record)
}

fn write_opened(call: &Opened, line: &mut Vec<u8>) {
    line.extend_from_slice(OPENED);
    let mut buffer = [0; 36];
    field(line, call.id.encode(&mut buffer));
    field(line, call.slice.encode(&mut buffer));
    field(line, call.run.encode(&mut buffer));
    field(line, call.user.encode(&mut buffer));
    for value in [call.reserved.0, call.at, call.until] {
        number(line, value);
    }
    let notes = &call.notes;
    for said in [&call.path, &call.model, &notes.app, &notes.caller_key, &notes.labels, &notes.provider] {
        line.push(b'\t');
        text(line, said);
    }
}

fn read_opened<'a>(fields: &mut Fields<impl Iterator<Item = &'a [u8]>>) -> Option<Opened> {
    Some(Opened {
        id: fields.value()?,
        slice: fields.value()?,
        run: fields.value()?,
        user: fields.value()?,
        reserved: Microusd(fields.value()?),
        at: fields.value()?,
        until: fields.value()?,
        path: fields.text()?,
        model: fields.text()?,
        notes: CallNotes { app: fields.text()?, caller_key: fields.text()?, labels: fields.text()?, provider: fields.text()? },
    })
}

fn write_ended(call: &Ended, line: &mut Vec<u8>) {
    line.extend_from_slice(ENDED);
    let mut buffer = [0; 36];
    field(line, call.id.encode(&mut buffer));
    field(line, call.slice.encode(&mut buffer));
    field(line, call.run.encode(&mut buffer));
    for value in [call.reserved.0, call.cost.0, call.at, call.end.total_us] {
        number(line, value);
    }
    let Usage { input, output, cache_read, cache_write_5m, cache_write_1h, extras } = call.usage;
    for tokens in [input, output, cache_read, cache_write_5m, cache_write_1h, u64::from(call.end.status)] {
        number(line, tokens);
    }
    match call.end.first_byte_us {
        Some(time) => number(line, time),
        None => field(line, "-"),
    }
    // Rare, so it is written as it is elsewhere.
    match Some(extras).filter(|extras| !extras.is_none()).and_then(|extras| serde_json::to_string(&extras).ok()) {
        Some(json) => field(line, &json),
        None => field(line, "-"),
    }
    line.push(b'\t');
    text(line, &call.outcome);
    match &call.end.error {
        Some(error) => {
            line.extend_from_slice(&[b'\t', SOMETHING]);
            text(line, error);
        }
        None => field(line, "-"),
    }
}

fn read_ended<'a>(fields: &mut Fields<impl Iterator<Item = &'a [u8]>>) -> Option<Ended> {
    let (id, slice, run) = (fields.value()?, fields.value()?, fields.value()?);
    let (reserved, cost, at, total_us) = (fields.value()?, fields.value()?, fields.value()?, fields.value()?);
    let mut usage = Usage {
        input: fields.value()?,
        output: fields.value()?,
        cache_read: fields.value()?,
        cache_write_5m: fields.value()?,
        cache_write_1h: fields.value()?,
        extras: Extras::default(),
    };
    let status = fields.value()?;
    let first_byte_us = match fields.next()? {
        NOTHING => None,
        time => Some(parsed(time)?),
    };
    match fields.next()? {
        NOTHING => {}
        json => usage.extras = serde_json::from_slice(json).ok()?,
    }
    let outcome = String::from(&*fields.text()?).into_boxed_str();
    let error = match fields.next()? {
        NOTHING => None,
        said => Some(unescaped(said.strip_prefix(&[SOMETHING])?)?),
    };
    let end = CallEnd { status, first_byte_us, total_us, error };
    Some(Ended { id, slice, run, reserved: Microusd(reserved), cost: Microusd(cost), outcome, usage, at, end })
}

fn write_read(call: &ReadOpened, key: &UserKey, line: &mut Vec<u8>) -> Result<(), StoreError> {
    line.extend_from_slice(READ);
    let (mut id, mut other) = ([0; 36], [0; 36]);
    let id = call.id.encode(&mut id);
    field(line, id);
    field(line, call.run.encode(&mut other));
    field(line, call.user.encode(&mut other));
    number(line, call.at);
    field(line, &call.digest);
    for said in [&call.app, &call.tool, &call.tool_use_id] {
        line.push(b'\t');
        text(line, said);
    }
    field(line, &key.seal(sealed("arguments", id), &call.arguments)?);
    Ok(())
}

fn read_read<'a>(fields: &mut Fields<impl Iterator<Item = &'a [u8]>>, key: &UserKey) -> Option<ReadOpened> {
    let id = std::str::from_utf8(fields.next()?).ok()?;
    Some(ReadOpened {
        id: id.parse().ok()?,
        run: fields.value()?,
        user: fields.value()?,
        at: fields.value()?,
        digest: fields.value::<String>()?.into(),
        app: unescaped(fields.next()?)?.into(),
        tool: unescaped(fields.next()?)?.into(),
        tool_use_id: unescaped(fields.next()?)?.into(),
        arguments: key.open(sealed("arguments", id), std::str::from_utf8(fields.next()?).ok()?).ok()?.into(),
    })
}

fn write_read_ended(call: &ReadEnded, key: &UserKey, line: &mut Vec<u8>) -> Result<(), StoreError> {
    line.extend_from_slice(READ_ENDED);
    let mut id = [0; 36];
    let id = call.id.encode(&mut id);
    field(line, id);
    number(line, call.at);
    field(line, call.state.as_str());
    field(line, &key.seal(sealed("result", id), &call.result)?);
    Ok(())
}

fn read_read_ended<'a>(fields: &mut Fields<impl Iterator<Item = &'a [u8]>>, key: &UserKey) -> Option<ReadEnded> {
    let id = std::str::from_utf8(fields.next()?).ok()?;
    let at = fields.value()?;
    let state = std::str::from_utf8(fields.next()?).ok()?;
    let state = [ToolState::Done, ToolState::Failed, ToolState::Uncertain].into_iter().find(|known| known.as_str() == state)?;
    let result = key.open(sealed("result", id), std::str::from_utf8(fields.next()?).ok()?).ok()?;
    Some(ReadEnded { id: id.parse().ok()?, state, result: result.into(), at })
}

/// Where what a line has sealed stands.
const fn sealed<'a>(column: &'static str, id: &'a str) -> Place<'a> {
    Place { table: "calls.journal", column, row: id }
}

fn field(line: &mut Vec<u8>, text: &str) {
    line.push(b'\t');
    line.extend_from_slice(text.as_bytes());
}

fn number(line: &mut Vec<u8>, value: impl itoa::Integer) {
    field(line, itoa::Buffer::new().format(value));
}

/// A text between tabs and line ends must have none.
fn text(line: &mut Vec<u8>, text: &str) {
    let plain = |byte: &u8| !matches!(byte, b'\\' | b'\t' | b'\n');
    if text.as_bytes().iter().all(plain) {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            other => line.push(other),
        }
    }
}

fn unescaped(bytes: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b't' => b'\t',
                b'n' => b'\n',
                _ => return None,
            },
            other => *other,
        });
    }
    String::from_utf8(plain).ok()
}

fn parsed<T: FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn hexadecimal(sum: u64) -> String {
    data_encoding::HEXLOWER.encode(&sum.to_be_bytes())
}

/// Eight bytes at a time; a byte more or less, or another one, gives another sum.
fn sum(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |sum: u64, word: u64| (sum.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(u64::try_from(bytes.len()).unwrap_or(0), |sum, word| mix(sum, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |last: u64, byte| (last << 8) | u64::from(*byte));
    let sum = mix(sum, last);
    sum ^ (sum >> 29)
}

struct Fields<I>(I);

impl<'a, I: Iterator<Item = &'a [u8]>> Fields<I> {
    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next()
    }

    fn value<T: FromStr>(&mut self) -> Option<T> {
        parsed(self.next()?)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        unescaped(self.next()?).map(Arc::from)
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use policy::{CallId, RunId, SliceId, UserId};

    fn opened(labels: &str) -> Record {
        let notes = CallNotes { app: "hexmap".into(), labels: labels.into(), ..CallNotes::default() };
        Record::Opened(Opened {
            id: CallId::random(),
            slice: SliceId::random(),
            run: RunId::random(),
            user: UserId::random(),
            path: "/v1/messages".into(),
            model: "claude-haiku-4-5".into(),
            reserved: Microusd(4_000),
            at: 1_800_000_000_000_000,
            until: 1_800_000_600_000_000,
            notes,
        })
    }

    fn ended(error: Option<&str>, first_byte_us: Option<i64>) -> Record {
        let extras = Extras { us: error.is_none(), web_searches: 7, ..Extras::default() };
        let extras = if first_byte_us.is_none() { Extras::default() } else { extras };
        let end = CallEnd { status: 200, first_byte_us, total_us: 1_234, error: error.map(str::to_owned) };
        Record::Ended(Ended {
            id: CallId::random(),
            slice: SliceId::random(),
            run: RunId::random(),
            reserved: Microusd(4_000),
            cost: Microusd(1_300),
            outcome: "measured".into(),
            usage: Usage { input: 1, output: 2, cache_read: 3, cache_write_5m: 4, cache_write_1h: u64::MAX, extras },
            at: -5,
            end,
        })
    }

    fn key() -> UserKey {
        UserKey::new("journal", &[7; 32]).expect("a key")
    }

    fn reads(app: &str, said: &str) -> [Record; 2] {
        let id = CallId::random();
        let (run, user, at) = (RunId::random(), UserId::random(), 1_800_000_000_000_000);
        let (app, tool, tool_use_id, digest) = (app.into(), "look".into(), app.into(), "09".repeat(32).into());
        let opened = ReadOpened { id, run, user, app, tool, tool_use_id, digest, arguments: said.into(), at };
        let ended = ReadEnded { id, state: ToolState::Failed, result: said.into(), at };
        [Record::Read(opened), Record::ReadEnded(ended)]
    }

    fn records() -> Vec<Record> {
        let odd = ["", "-", "+", "a\tb\nc\\d", "\\t", "\t\t", "\\", "ü€😀", "\r\0"];
        let errors = odd.iter().flat_map(|text| [ended(Some(text), Some(-1)), opened(text)]);
        let errors = errors.chain([ended(None, None), ended(None, Some(i64::MAX))]);
        errors.chain(odd.iter().flat_map(|text| reads(text, text))).collect()
    }

    fn line(record: &Record) -> Vec<u8> {
        let mut line = Vec::new();
        write(record, Some(&key()), &mut line).expect("sealed");
        line
    }

    fn read(line: &[u8]) -> Option<Record> {
        super::read(line, Some(&key()))
    }

    #[test]
    fn what_is_written_is_read() {
        for record in records() {
            let line = line(&record);
            assert!(!line.contains(&b'\n'), "a line is one line");
            assert_eq!(read(&line).as_ref(), Some(&record), "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn a_line_that_was_cut_or_changed_says_nothing() {
        for record in records() {
            let line = line(&record);
            for end in 0..line.len() {
                assert_eq!(read(&line[..end]), None, "cut at {end}: {}", String::from_utf8_lossy(&line));
            }
            for at in 0..line.len() {
                let mut other = line.clone();
                other[at] ^= 1;
                assert_ne!(read(&other).as_ref(), Some(&record), "changed at {at}");
            }
            assert_eq!(read(&[line.as_slice(), b"\t"].concat()), None);
            assert_eq!(read(&[b"x", line.as_slice()].concat()), None, "behind the rest of another one");
            assert_eq!(read(&[line.as_slice(), line.as_slice()].concat()), None);
        }
    }

    #[test]
    fn what_people_wrote_is_sealed_and_opens_in_its_own_line_only() {
        let [one, other] = [reads("a", "Meet me at the mill."), reads("a", "Elsewhere.")];
        let lines: Vec<Vec<u8>> = one.iter().chain(&other).map(line).collect();
        assert!(lines.iter().all(|line| !line.windows(4).any(|part| part == b"mill")));
        let strange = UserKey::new("journal", &[8; 32]).expect("a key");
        assert!(lines.iter().all(|line| super::read(line, Some(&strange)).is_none() && super::read(line, None).is_none()));
        // All before what is sealed, and that.
        let parts = |line: &[u8]| {
            let tabs: Vec<usize> = (0..line.len()).filter(|at| line[*at] == b'\t').collect();
            let (from, to) = (tabs[tabs.len() - 2] + 1, tabs[tabs.len() - 1]);
            (line[..from].to_vec(), line[from..to].to_vec())
        };
        for (from, to) in [(0, 2), (1, 3), (0, 1)] {
            let mut moved = [parts(&lines[to]).0, parts(&lines[from]).1].concat();
            let end = sum(&moved);
            field(&mut moved, &hexadecimal(end));
            assert_eq!(read(&moved), None, "what is sealed in line {from} stands in line {to}");
        }
        assert!(write(&one[0], None, &mut Vec::new()).is_err(), "nothing is written in plain");
    }

    #[test]
    fn the_lines_of_a_former_version_are_read() {
        for record in records().into_iter().filter(|record| !record.is_sealed()) {
            let json = serde_json::to_vec(&record).expect("JSON");
            assert_eq!(read(&json).as_ref(), Some(&record));
            assert_eq!(read(&json[..json.len() - 1]), None);
        }
    }
}
