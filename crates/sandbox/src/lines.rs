//! Lines from an untrusted writer: bounded each and in sum.

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line that is kept; the rest of a longer one is thrown away.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// The next line, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// Longer than [`LINE_BYTES_MAX`]: its bytes are gone.
    TooLong,
    /// The writer closed.
    End,
    /// The writer wrote more than it may.
    TooMuch,
}

/// Reads lines and keeps at most one and a buffer of them.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    line: Vec<u8>,
    overlong: bool,
    total: u64,
    total_max: u64,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Reads at most `total_max` bytes between one [`Lines::count_anew`] and the next.
    pub fn new(reader: R, total_max: u64) -> Self {
        Self { reader, buffer: Vec::new(), line: Vec::new(), overlong: false, total: 0, total_max }
    }

    /// What was written before does not count any more.
    pub const fn count_anew(&mut self) {
        self.total = 0;
    }

    /// Cancel-safe: what was read stays for the next call.
    pub async fn next(&mut self) -> Line {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let head = std::mem::replace(&mut self.buffer, rest);
                self.keep(head.get(..end).unwrap_or_default());
                let line = std::mem::take(&mut self.line);
                return if std::mem::take(&mut self.overlong) { Line::TooLong } else { Line::Whole(line) };
            }
            let unfinished = std::mem::take(&mut self.buffer);
            self.keep(&unfinished);
            match self.reader.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Line::End,
                Ok(count) => self.total = self.total.saturating_add(u64::try_from(count).unwrap_or(u64::MAX)),
            }
            if self.total > self.total_max {
                return Line::TooMuch;
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.overlong || self.line.len() + bytes.len() > LINE_BYTES_MAX {
            self.overlong = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_whole_or_thrown_away() {
        let mut text = b"one\n\ntwo".to_vec();
        text.push(b'\n');
        text.extend(vec![b'x'; LINE_BYTES_MAX + 1]);
        text.extend(b"\nthree\nunfinished");
        let mut lines = Lines::new(text.as_slice(), 1 << 30);
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(lines.next().await, whole("one"));
        assert_eq!(lines.next().await, whole(""));
        assert_eq!(lines.next().await, whole("two"));
        assert_eq!(lines.next().await, Line::TooLong);
        assert_eq!(lines.next().await, whole("three"));
        assert_eq!(lines.next().await, Line::End);
    }

    #[tokio::test]
    async fn endless_output_ends() {
        let mut lines = Lines::new(tokio::io::repeat(b'x'), 1 << 20);
        assert_eq!(lines.next().await, Line::TooMuch);
    }

    #[tokio::test]
    async fn what_was_written_before_does_not_count() {
        let text = b"0123456789\n".repeat(4);
        let mut lines = Lines::new(text.as_slice().take(22).chain(text.as_slice().take(22)), 30);
        for _ in 0..2 {
            lines.count_anew();
            assert_eq!(
                (lines.next().await, lines.next().await),
                (Line::Whole(b"0123456789".to_vec()), Line::Whole(b"0123456789".to_vec()))
            );
        }
    }
}
