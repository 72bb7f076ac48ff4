//! What an agent's sandbox takes beside the agent itself.

use crate::statistics::number;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const MEGABYTE: f64 = 1_000_000.0;
/// Where the sandbox has the agent.
const AGENT_INSIDE: &str = "/opt/agent/agent";

/// For each agent below this gateway: the proportional share (PSS, proc_pid_smaps(5)) of the processes that guard it, and what lies in
/// its folders in memory; in megabytes, the mean. What the agent itself takes it takes without a sandbox too.
pub fn extra_of_each(gateway: u32) -> Result<f64> {
    let below = descendants(gateway)?;
    let is_agent = |pid: &&u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(AGENT_INSIDE));
    let (agents, guards): (Vec<u32>, Vec<u32>) = below.iter().partition(is_agent);
    if agents.is_empty() {
        bail!("no agent runs below the gateway");
    }
    let mut bytes = 0;
    for pid in guards {
        bytes +=
            proportional_bytes(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?).context("no Pss in smaps_rollup")?;
    }
    for pid in &agents {
        for folder in ["agent", "work", "tmp"] {
            bytes += used_below(&Path::new("/proc").join(pid.to_string()).join("root").join(folder))?;
        }
    }
    Ok(number(bytes) / MEGABYTE / number(u64::try_from(agents.len())?))
}

pub fn descendants(of: u32) -> Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name stands in parentheses and may hold anything.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse::<u32>().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let (mut found, mut next) = (Vec::new(), vec![of]);
    while let Some(parent) = next.pop() {
        let direct = children.remove(&parent).unwrap_or_default();
        next.extend(&direct);
        found.extend(direct);
    }
    Ok(found)
}

fn proportional_bytes(rollup: &str) -> Option<u64> {
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix("kB")?;
    Some(kib.trim().parse::<u64>().ok()? * 1024)
}

/// Bytes of all files below a folder; one that vanishes meanwhile takes nothing.
fn used_below(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("{} can't be read: run as root", folder.display()))?.flatten() {
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        total += if metadata.is_dir() { used_below(&entry.path())? } else { metadata.len() };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_from_the_kernels_words() {
        assert_eq!(proportional_bytes("0-1 ---p [rollup]\nRss:  9 kB\nPss:     4 kB\nPss_Dirty: 1 kB\n"), Some(4096));
        assert_eq!(proportional_bytes("Rss: 9 kB\n"), None);
    }

    #[test]
    fn a_child_is_found_below_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let found = descendants(std::process::id()).expect("/proc");
        child.kill().and_then(|()| child.wait()).expect("it ends");
        assert!(found.contains(&child.id()), "{found:?}");
    }
}
