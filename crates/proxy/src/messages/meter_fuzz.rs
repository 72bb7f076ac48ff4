//! Broken streams without end, made of those in `fuzz/corpus/sse`; see `fuzz/README.md`.

use super::*;
use eventsource_stream::Eventsource;
use futures_util::{FutureExt, StreamExt, stream};
use std::path::Path;
use std::time::{Duration, Instant};

const MODEL: &str = "claude-sonnet-5-5";
/// `make test` does so many, always the same.
const ROUNDS: u64 = 2_000;
const BYTES_MAX: usize = 16 << 10;
/// What a stream is made of, and what could be confused with it.
const PIECES: [&str; 18] = [
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "data",
    "data:",
    "data: ",
    "data:  {",
    ": ",
    "event: message_delta\n",
    "\u{feff}",
    "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"x\"},\"usage\":{\"output_tokens\":5}}",
    "\"usage\":{\"input_tokens\":3}",
    "{\"type\":\"content_block_delta\",",
    "{\"type\":\"message_stop\"}",
    "\\u00e9",
    "é",
    "null",
];

/// Xorshift: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/sse");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn broken(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(6) {
        let (one, two) = (dice.below(bytes.len() + 1), dice.below(bytes.len() + 1));
        let (from, to) = (one.min(two), one.max(two).min(one.min(two) + 200));
        match dice.below(7) {
            0 => drop(bytes.drain(from..to)),
            1 => {
                let again = bytes[from..to].to_vec();
                bytes.splice(to..to, again);
            }
            2 => {
                let piece = PIECES[dice.below(PIECES.len())];
                bytes.splice(from..from, piece.bytes());
            }
            3 if from < bytes.len() => bytes[from] ^= 1 << dice.below(8),
            4 => {
                let other = &corpus[dice.below(corpus.len())];
                let start = dice.below(other.len());
                bytes.splice(from..from, other[start..(start + 200).min(other.len())].iter().copied());
            }
            5 => bytes.truncate(from),
            _ => bytes[from..to].reverse(),
        }
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn read(meter: &mut Meter, chunks: &[&[u8]]) -> (Vec<Seen>, Option<Usage>) {
    let seen = chunks.iter().flat_map(|chunk| meter.push(chunk)).collect();
    (seen, meter.final_usage())
}

fn cut<'a>(dice: &mut Dice, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let longest = 1 + dice.below(100);
    let mut chunks = Vec::new();
    while !bytes.is_empty() {
        let (chunk, rest) = bytes.split_at(dice.below(longest + 1).min(bytes.len()));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks
}

fn events(chunks: &[&[u8]]) -> Vec<String> {
    let mut scanner = SseScanner::default();
    let mut events = Vec::new();
    for chunk in chunks {
        scanner.push(chunk, |data| events.push(String::from_utf8(data.to_vec()).unwrap()));
    }
    events.retain(|data| !data.is_empty());
    events
}

/// What another library reads. It passes over events without data, panics at a byte order mark, and waits at a last CR for what
/// may follow.
fn events_of_another(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = if text.ends_with('\r') { format!("{text}\n") } else { text.to_owned() };
    let bytes = stream::iter([Ok::<_, std::convert::Infallible>(text.into_bytes())]);
    let events = bytes.eventsource().map(|event| event.unwrap().data).collect::<Vec<_>>();
    let mut events = events.now_or_never().unwrap();
    events.retain(|data| !data.is_empty());
    events
}

fn check(dice: &mut Dice, bytes: &[u8]) {
    let whole = read(&mut Meter::new(MODEL), &[bytes]);
    let chunks = cut(dice, bytes);
    assert_eq!(read(&mut Meter::new(MODEL), &chunks), whole, "chunks make a difference");
    let (_, short) = read(&mut Meter::for_usage_only(MODEL), &chunks);
    if whole.1.is_some() {
        assert_eq!(short, whole.1, "the short way reads another usage");
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.starts_with("\u{feff}\u{feff}")
    {
        assert_eq!(events(&chunks), events_of_another(text), "another library reads other events");
    }
}

fn one(seed: u64, corpus: &[Vec<u8>]) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let bytes = broken(&mut dice, corpus);
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&mut dice, &bytes)));
    assert!(checked.is_ok(), "seed {seed}: {:?}", String::from_utf8_lossy(&bytes));
}

/// A fixed beginning and number, unless a person said how long (`make fuzz`).
#[test]
fn broken_streams_are_read_the_same_in_every_way() {
    let corpus = corpus();
    #[expect(clippy::disallowed_methods, reason = "a person who fuzzes says so")]
    let seconds = std::env::var("FUZZ_SECS").ok().and_then(|text| text.parse().ok());
    let Some(seconds) = seconds else { return (0..ROUNDS).for_each(|seed| one(seed, &corpus)) };
    #[expect(clippy::disallowed_methods, reason = "another beginning each time a person asks for it")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let (first, began) = (u64::try_from(now.as_micros()).unwrap(), Instant::now());
    let lasts = Duration::from_secs(seconds);
    let rounds = (first..).take_while(|_| began.elapsed() < lasts).map(|seed| one(seed, &corpus)).count();
    println!("{rounds} broken streams from seed {first}");
}
