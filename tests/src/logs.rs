//! Everything the gateways of this process log, at every level of our own rooms, kept to be searched for secrets.

use parking_lot::Mutex;
use std::io::Write;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

static KEPT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Writes to the kept bytes, and to standard error when a test prints what it does.
struct Kept;

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        KEPT.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct MakeKept;

impl MakeWriter<'_> for MakeKept {
    type Writer = Kept;

    fn make_writer(&self) -> Kept {
        Kept
    }
}

/// Starts keeping, once a process.
pub fn keep() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let ours = ["hexward", "web", "runs", "proxy", "sandbox", "store", "hexmap", "policy", "fake"];
        let filter = ours.iter().map(|room| format!("{room}=trace")).collect::<Vec<_>>().join(",");
        let filter = EnvFilter::new(format!("debug,{filter}"));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(MakeKept).with_ansi(false).init();
    });
}

/// Whether something stands in what was logged so far.
#[must_use]
pub fn contain(needle: &str) -> bool {
    has(&KEPT.lock(), needle)
}

/// The last lines that mention something, for the message of a failed test.
#[must_use]
pub fn lines_about(needle: &str) -> String {
    let kept = KEPT.lock();
    let text = String::from_utf8_lossy(&kept);
    let mut lines: Vec<&str> = text.lines().filter(|line| line.contains(needle)).collect();
    lines.drain(..lines.len().saturating_sub(20));
    lines.join("\n")
}

/// Whether `needle` stands in `bytes`.
#[must_use]
pub fn has(bytes: &[u8], needle: &str) -> bool {
    !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Whether a secret stands in any file below a folder: the database, its log, what the gateway keeps for itself.
pub(crate) fn files_hold(folder: &std::path::Path, secret: &str) -> bool {
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        } else if std::fs::read(&path).is_ok_and(|bytes| has(&bytes, secret)) {
            return true;
        }
    }
    false
}
