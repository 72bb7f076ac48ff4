//! A record of the journal as a line: fields in a fixed order between tabs, and a sum over all of them at the end.
//!
//! Written twice for each call, so it is short and made without a tree. The sum is there for lines that were cut, not against
//! anybody: whoever can write the file can write the sum.

use super::record::{CallEnd, CallNotes, Ended, Opened, Record};
use policy::{Extras, Microusd, Usage};
use std::str::FromStr;
use std::sync::Arc;

const OPENED: &[u8] = b"opened";
const ENDED: &[u8] = b"ended";
const NOTHING: &[u8] = b"-";
/// Before a text that may be absent.
const SOMETHING: u8 = b'+';

/// Appends a record, without the end of the line.
pub(super) fn write(record: &Record, line: &mut Vec<u8>) {
    let start = line.len();
    match record {
        Record::Opened(call) => write_opened(call, line),
        Record::Ended(call) => write_ended(call, line),
    }
    let sum = line.get(start..).map_or(0, sum);
    field(line, &hexadecimal(sum));
}

/// Reads a line, without its end. None where it was cut or says anything else.
pub(super) fn read(line: &[u8]) -> Option<Record> {
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

    fn records() -> Vec<Record> {
        let odd = ["", "-", "+", "a\tb\nc\\d", "\\t", "\t\t", "\\", "ü€😀", "\r\0"];
        let errors = odd.iter().flat_map(|text| [ended(Some(text), Some(-1)), opened(text)]);
        errors.chain([ended(None, None), ended(None, Some(i64::MAX))]).collect()
    }

    fn line(record: &Record) -> Vec<u8> {
        let mut line = Vec::new();
        write(record, &mut line);
        line
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
    fn the_lines_of_a_former_version_are_read() {
        for record in records() {
            let json = serde_json::to_vec(&record).expect("JSON");
            assert_eq!(read(&json).as_ref(), Some(&record));
            assert_eq!(read(&json[..json.len() - 1]), None);
        }
    }
}
