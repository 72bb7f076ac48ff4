//! What there is of everything that a sandbox could leave behind.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The kernel counts its objects roughly, and frees some of them late.
const ROUGHLY: u64 = 256;
/// As `/proc/slabinfo` names them, where it is there at all.
const OBJECTS: [&str; 6] = ["net_namespace", "pid_namespace", "user_namespace", "mnt_namespace", "uts_namespace", "mem_cgroup"];

/// What belongs to this run: its programs, and the namespaces in which its sandboxes were seen.
pub struct Ours {
    /// A copy of the program that confines.
    pub jail: PathBuf,
    /// The program inside.
    pub probe: PathBuf,
    files: [(u64, u64); 2],
    namespaces: Mutex<BTreeSet<String>>,
}

impl Ours {
    pub fn new(jail: PathBuf, probe: PathBuf) -> Result<Self> {
        let files = [identity(&jail).context("the jail's copy")?, identity(&probe).context("the probe")?];
        Ok(Self { jail, probe, files, namespaces: Mutex::default() })
    }

    /// Remembers in which namespaces a sandbox's first process is.
    pub fn remember(&self, init: u32) {
        // The host's own can't leak.
        let fresh = namespaces_of(&init.to_string()).difference(&namespaces_of("self")).cloned().collect::<Vec<_>>();
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).extend(fresh);
    }

    /// Whether a process runs one of the programs. The file counts, not its name, which is another inside.
    pub fn runs(&self, pid: &str) -> bool {
        identity(&Path::new("/proc").join(pid).join("exe")).is_some_and(|file| self.files.contains(&file))
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// One moment.
#[derive(Default)]
pub struct Census {
    things: BTreeSet<String>,
    objects: BTreeMap<String, u64>,
}

impl Census {
    /// Looks at everything.
    pub fn take(ours: &Ours, folder: &Path) -> Result<Self> {
        let mut things = BTreeSet::new();
        for pid in pids() {
            let (runs, child) = (ours.runs(&pid), parent(&pid) == Some(std::process::id()));
            if runs || child {
                things.insert(format!("process {pid}"));
            }
            let known = ours.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
            things.extend(namespaces_of(&pid).intersection(&known).map(|name| format!("namespace {name} of process {pid}")));
        }
        things.extend(groups(ours).into_iter().map(|group| format!("control group {}", group.display())));
        things.extend(fs::read_to_string("/proc/self/mountinfo")?.lines().map(|line| format!("mount {line}")));
        things.extend(descriptors()?);
        walk(folder, &mut things)?;
        Ok(Self { things, objects: objects() })
    }

    /// Nothing but what belongs to no sandbox whatever: mounts, files and descriptors of this moment.
    pub fn default_of(ours: &Ours, folder: &Path) -> Result<Self> {
        let mut census = Self::take(ours, folder)?;
        census.things.retain(|thing| ["mount ", "descriptor ", "file "].iter().any(|kind| thing.starts_with(kind)));
        Ok(census)
    }

    /// What was not there before.
    pub fn beyond(&self, before: &Self) -> Vec<String> {
        let mut beyond: Vec<String> = self.things.difference(&before.things).cloned().collect();
        for (name, count) in &self.objects {
            let was = before.objects.get(name).copied().unwrap_or(*count);
            if *count > was + ROUGHLY {
                beyond.push(format!("{} of the kernel's {name} ({was} before)", count - was));
            }
        }
        beyond
    }
}

/// Every process of the machine.
pub fn pids() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Its parent: the second word after the name, which stands in parentheses and may hold any.
pub fn parent(pid: &str) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn namespaces_of(pid: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned())).collect()
}

/// Groups whose supervisor is gone or of this run. Its number stands in the name (`crates/jail/src/cgroups.rs`).
fn groups(ours: &Ours) -> Vec<PathBuf> {
    let (mut left, mut found) = (vec![PathBuf::from("/sys/fs/cgroup")], Vec::new());
    while let Some(folder) = left.pop() {
        // A folder that goes away meanwhile is none.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.strip_prefix("jail-").and_then(|rest| rest.split_once('-')) {
                Some((pid, _)) if ours.runs(pid) || !Path::new("/proc").join(pid).exists() => found.push(entry.path()),
                Some(_) => {}
                None => left.push(entry.path()),
            }
        }
    }
    found
}

/// This process's own, numbered by what they are: which socket it is differs from one moment to the next.
fn descriptors() -> Result<Vec<String>> {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind).to_owned();
        *kinds.entry(kind).or_default() += 1;
    }
    Ok(kinds.into_iter().flat_map(|(kind, count)| (1..=count).map(move |at| format!("descriptor {at} of {kind}"))).collect())
}

fn walk(folder: &Path, things: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        things.insert(format!("file {}", entry.path().display()));
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), things)?;
        }
    }
    Ok(())
}

/// What no list in `/proc` shows, because nobody is in it any more, the kernel still counts.
fn objects() -> BTreeMap<String, u64> {
    let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let count = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().filter(|name| OBJECTS.contains(name))?;
        Some((name.to_owned(), words.next()?.parse().ok()?))
    };
    let mut objects: BTreeMap<String, u64> = slabs.lines().filter_map(count).collect();
    // Version 1 with one line per controller: its name, its tree, its groups, dying ones included (cgroups(7)).
    for line in fs::read_to_string("/proc/cgroups").unwrap_or_default().lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_ascii_whitespace();
        if let (Some(name), Some(groups)) = (words.next(), words.nth(1).and_then(|word| word.parse().ok())) {
            objects.insert(format!("{name} groups"), groups);
        }
    }
    objects
}
