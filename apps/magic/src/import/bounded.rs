//! A file that gives up where one entry of it never ends: what a parser keeps of it in memory is bounded so.

use std::io::{Error, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that one entry may have: no card has a hundredth of it.
pub(super) const ENTRY_BYTES_MAX: u64 = 4 << 20;

/// Bytes since the last entry.
#[derive(Clone, Default)]
pub(super) struct Meter(Arc<AtomicU64>);

impl Meter {
    /// An entry is over.
    pub(super) fn next(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A file with a bound on each of its entries.
pub(super) struct Bounded<R> {
    file: R,
    meter: Meter,
}

impl<R> Bounded<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file, meter: Meter::default() }
    }

    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        let bytes = u64::try_from(count).unwrap_or(u64::MAX);
        // What is read ahead counts too, so the bound holds within one buffer.
        if self.meter.0.fetch_add(bytes, Ordering::Relaxed) > ENTRY_BYTES_MAX {
            return Err(Error::new(ErrorKind::InvalidData, format!("one entry has more than {} MiB", ENTRY_BYTES_MAX >> 20)));
        }
        Ok(count)
    }
}
