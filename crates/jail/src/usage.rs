//! What a sandbox has used, read from outside of it: the counters of its control groups, and how full its folders are.
//! Nothing in the sandbox can reach either.
//!
//! The two versions of control groups have files of different names, so whichever is there is read.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use jail::Usage;
use rustix::fs::fstatvfs;

/// A folder that the agent may write to: its name in the plan, and the mounted file system.
pub type Folder = (String, OwnedFd);

/// Everything that can be known now.
pub fn read(groups: &[PathBuf], folders: &[Folder]) -> Usage {
    let full = folders.iter().filter(|(_, folder)| is_full(folder)).map(|(name, _)| name.clone()).collect();
    Usage { cpu_us: cpu_us(groups), oom_kills: oom_kills(groups), forks_refused: forks_refused(groups), full }
}

/// Processes that were killed for want of memory (cgroup-v1/memory.rst, 10; cgroup-v2.rst, `memory.events`).
pub fn oom_kills(groups: &[PathBuf]) -> Option<u64> {
    counter(groups, "memory.oom_control", "oom_kill").or_else(|| counter(groups, "memory.events", "oom_kill"))
}

/// Processor time of members, those that have ended included (cgroup-v1/cpuacct.rst; cgroup-v2.rst, `cpu.stat`).
pub fn cpu_us(groups: &[PathBuf]) -> Option<u64> {
    let nanoseconds = first(groups, "cpuacct.usage").and_then(|text| text.trim().parse::<u64>().ok());
    nanoseconds.map(|nanoseconds| nanoseconds / 1000).or_else(|| counter(groups, "cpu.stat", "usage_usec"))
}

/// Forks that failed at the limit (cgroup-v2.rst, `pids.events`; version 1 has the same file).
fn forks_refused(groups: &[PathBuf]) -> Option<u64> {
    counter(groups, "pids.events", "max")
}

fn is_full(folder: &OwnedFd) -> bool {
    fstatvfs(folder).is_ok_and(|stat| stat.f_bavail == 0 || stat.f_favail == 0)
}

fn counter(groups: &[PathBuf], file: &str, name: &str) -> Option<u64> {
    number(&first(groups, file)?, name)
}

/// The file of whichever folder has it.
fn first(groups: &[PathBuf], file: &str) -> Option<String> {
    groups.iter().find_map(|folder| fs::read_to_string(folder.join(file)).ok())
}

/// One line of `name number` pairs.
fn number(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.split_once(' ').filter(|(found, _)| *found == name)?.1.trim().parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with files like those of a control group.
    fn group(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("hexward-usage-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        files.iter().for_each(|(file, text)| fs::write(folder.join(file), text).expect("a file"));
        folder
    }

    #[test]
    fn counters_of_both_versions_are_understood() {
        let events = "low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 0\n";
        let two = [("memory.events", events), ("pids.events", "max 7\n"), ("cpu.stat", "usage_usec 1500\nuser_usec 1\n")];
        let two = [group("two", &two)];
        let oom = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        let one = [
            group("memory", &[("memory.oom_control", oom)]),
            group("pids", &[("pids.events", "max 7\n")]),
            group("cpu", &[("cpu.stat", "nr_periods 5\nnr_throttled 0\nthrottled_time 0\n")]),
            group("cpuacct", &[("cpuacct.usage", "1500999\n")]),
        ];
        let expected = Usage { cpu_us: Some(1500), oom_kills: Some(2), forks_refused: Some(7), full: Vec::new() };
        assert_eq!((read(&two, &[]), read(&one, &[])), (expected.clone(), expected));
        assert_eq!(read(&[], &[]), Usage::default());
        for folder in two.iter().chain(&one) {
            fs::remove_dir_all(folder).expect("removed");
        }
    }
}
