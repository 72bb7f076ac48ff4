//! What runs on this machine, as far as it concerns a test.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A process that can't be mistaken for a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    began: u64,
}

/// The fields of /proc/PID/stat that matter (proc_pid_stat(5)): parent, state, start.
fn stat(pid: u32) -> Option<(u32, char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, also parentheses and blanks; what follows the last one is plain.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let began = fields.nth(17)?.parse().ok()?;
    Some((parent, state, began))
}

impl Process {
    /// The process of this number that runs now.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        stat(pid).map(|(_, _, began)| Self { pid, began })
    }

    /// What its memory holds, region by region: everything resident that is not a file's. Empty where that may not be read.
    #[must_use]
    pub fn memory(self) -> Vec<Vec<u8>> {
        const REGION_BYTES_MAX: u64 = 256 << 20;
        let Ok(mut memory) = fs::File::open(format!("/proc/{}/mem", self.pid)) else { return Vec::new() };
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.pid)).unwrap_or_default();
        let (mut regions, mut range) = (Vec::new(), None);
        for line in smaps.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("Rss:"), Some(kilobytes)) if kilobytes != "0" => {
                    let Some((from, to)) = range.take() else { continue };
                    let mut bytes = vec![0; usize::try_from(u64::min(to - from, REGION_BYTES_MAX)).unwrap()];
                    let read = memory.seek(SeekFrom::Start(from)).and_then(|_| memory.read(&mut bytes));
                    bytes.truncate(read.unwrap_or(0));
                    regions.push(bytes);
                }
                (Some(first), Some(rights)) if rights.len() == 4 && rights.starts_with('r') => {
                    let anonymous = words.nth(2).is_some_and(|inode| inode == "0");
                    let number = |text: &str| u64::from_str_radix(text, 16).ok();
                    range = first.split_once('-').and_then(|(from, to)| Some((number(from)?, number(to)?))).filter(|_| anonymous);
                }
                _ => {}
            }
        }
        regions
    }

    /// Who started it.
    #[must_use]
    pub fn parent(self) -> Option<u32> {
        stat(self.pid).map(|(parent, ..)| parent)
    }

    /// Whether it still runs. One that ended and only waits to be noticed does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|(_, state, began)| began == self.began && state != 'Z')
    }
}

/// Every process below this one.
#[must_use]
pub fn descendants(of: u32) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some((parent, _, began)) = stat(pid) {
            children.entry(parent).or_default().push(Process { pid, began });
        }
    }
    let (mut found, mut left) = (Vec::new(), vec![of]);
    while let Some(pid) = left.pop() {
        for process in children.get(&pid).into_iter().flatten() {
            found.push(*process);
            left.push(process.pid);
        }
    }
    found
}

/// The name of the control groups that a process of a sandbox is in.
#[must_use]
pub fn control_group_of(process: Process) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).ok()?;
    let mut names = groups.lines().filter_map(|line| line.rsplit('/').next());
    names.find(|name| name.starts_with("jail-")).map(str::to_owned)
}

/// Control groups of this name, wherever this host keeps them.
#[must_use]
pub fn control_groups(name: &str) -> Vec<PathBuf> {
    const DEPTH_MAX: usize = 8;
    let mut found = Vec::new();
    let mut left = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((folder, depth)) = left.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if !is_folder(&path) {
                continue;
            }
            if entry.file_name().to_str() == Some(name) {
                found.push(path.clone());
            }
            if depth < DEPTH_MAX {
                left.push((path, depth + 1));
            }
        }
    }
    found
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// A stopped program. Goes on when dropped.
pub struct Frozen(u32);

impl Frozen {
    /// Stops it now.
    pub(crate) fn of(pid: u32) -> Self {
        signal(pid, "STOP");
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(sent.success(), "{pid} could not be sent {name}");
}
