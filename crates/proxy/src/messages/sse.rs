//! Server-sent events, read as they pass. Bytes in, event data out; nothing is held back from the stream itself.
//!
//! Follows the WHATWG event stream format as far as a meter needs it: lines end with LF, CR or CRLF; a byte order mark may come
//! first; `data` lines of one event are joined; everything else (names, ids, comments) is passed over, because the data's own
//! `type` decides. An event that lies within one chunk, as nearly all do, is read where it lies.

use memchr::memchr2;

/// The longest line or event that is read. What is longer can't be metered: its call is charged at the ceiling.
pub const EVENT_BYTES_MAX: usize = 8 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The state between two chunks.
#[derive(Debug, Default)]
pub struct SseScanner {
    /// The part of a line that came with earlier chunks.
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    /// The first line is over; before it a byte order mark may stand.
    begun: bool,
    overflow: bool,
    /// The rest of a line that was too long. What stands in its middle must not be taken for the beginning of another.
    in_overlong: bool,
}

impl SseScanner {
    /// Whether something was too long to be read; then the data seen is not the whole truth.
    #[must_use]
    pub const fn overflowed(&self) -> bool {
        self.overflow
    }

    /// Reads the next chunk and hands the data of every event that ends in it to `on_event`.
    pub fn push(&mut self, mut chunk: &[u8], mut on_event: impl FnMut(&[u8])) {
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
        }
        while let Some(end) = memchr2(b'\n', b'\r', chunk) {
            let (head, rest) = chunk.split_at(end);
            chunk = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
            if self.line.is_empty() && !self.in_overlong && head.len() <= EVENT_BYTES_MAX {
                // The usual event: one line of data, and the empty line behind it.
                if let ([b'\n', rest @ ..], false) = (chunk, self.has_data)
                    && self.begun
                    && let Some(value) = data_of(head)
                {
                    chunk = rest;
                    on_event(value);
                } else {
                    self.end_line(head, &mut on_event);
                }
            } else {
                self.extend_line(head);
                let line = std::mem::take(&mut self.line);
                if !std::mem::take(&mut self.in_overlong) {
                    self.end_line(&line, &mut on_event);
                }
                self.line = line;
                self.line.clear();
            }
        }
        self.extend_line(chunk);
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        if self.in_overlong || self.line.len() + bytes.len() > EVENT_BYTES_MAX {
            self.overflow = true;
            self.in_overlong = true;
            self.line.clear();
            return;
        }
        self.line.extend_from_slice(bytes);
    }

    fn end_line(&mut self, mut line: &[u8], on_event: &mut impl FnMut(&[u8])) {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                on_event(&self.data);
            }
            self.data.clear();
        } else if let Some(value) = data_of(line) {
            self.extend_data(value);
        }
    }

    fn extend_data(&mut self, value: &[u8]) {
        if self.data.len() + value.len() > EVENT_BYTES_MAX {
            self.overflow = true;
            self.data.clear();
            self.has_data = false;
            return;
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.has_data = true;
    }
}

/// The value of a line whose field is `data`.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        [] => Some(&[]),
        [_, ..] => None,
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let mut scanner = SseScanner::default();
        let mut out = Vec::new();
        for chunk in chunks {
            scanner.push(chunk, |data| out.push(String::from_utf8_lossy(data).into_owned()));
        }
        out
    }

    #[test]
    fn events_end_with_an_empty_line_whatever_the_line_ends() {
        assert_eq!(
            events(&[b"event: a\ndata: 1\n\ndata:2\r\n\r\ndata: 3\r\rdata: x\ndata: y\n\n: hi\n\ndata: cut"]),
            ["1", "2", "3", "x\ny"]
        );
        assert_eq!(events(&[b"data: 1\r", b"\n\r", b"\ndata: 2\n\n"]), ["1", "2"]);
        assert_eq!(events(&[b"database: 1\n\nid: data\n\n"]), [] as [&str; 0]);
    }

    #[test]
    fn what_is_too_long_is_noticed() {
        let mut scanner = SseScanner::default();
        let chunk = vec![b'x'; EVENT_BYTES_MAX / 2 + 1];
        scanner.push(b"data: ", |_| {});
        for _ in 0..3 {
            scanner.push(&chunk, |_| {});
        }
        assert!(scanner.overflowed());
    }

    proptest! {
        #[test]
        fn where_chunks_are_split_makes_no_difference(text in "(data: [a-c]{0,3}|event: x|:c|)(\n|\r\n|\r){1,2}(data: [a-c]{0,3})(\n|\r\n|\r){1,3}(data: z)(\n\n|\r\r)", at in 0usize..40, and in 0usize..40) {
            let bytes = text.as_bytes();
            let (one, two) = (at.min(bytes.len()), and.min(bytes.len()));
            let (first, second) = (one.min(two), one.max(two));
            let whole = events(&[bytes]);
            let split = events(&[&bytes[..first], &bytes[first..second], &bytes[second..]]);
            prop_assert_eq!(whole, split);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut scanner = SseScanner::default();
            for chunk in bytes.chunks(7) {
                scanner.push(chunk, |_| {});
            }
        }
    }
}
