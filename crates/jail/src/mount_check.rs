//! What the kernel says is mounted in the sandbox, held against what was meant.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use jail::{Failure, Mount, Plan, Step};
use rustix::fs::{Mode, OFlags, openat};

use crate::failure::{Because, failure};

/// Compares the kernel's list of mounts with what was meant. A mount that came along unasked, or a flag that did not
/// stick, ends the sandbox before its agent begins.
pub fn verify(plan: &Plan, host_proc: &OwnedFd) -> Result<(), Failure> {
    let table = read_table(host_proc).because(Step::Mount, || "the list of mounts can't be read".into())?;
    let writable: Vec<PathBuf> = plan
        .mounts
        .iter()
        .filter(|mount| matches!(mount, Mount::Tmpfs { .. } | Mount::Overlay { .. }))
        .map(|mount| mount.target().to_owned())
        .chain(["/proc".into(), "/dev/shm".into()])
        .collect();
    for line in table.lines() {
        let mut fields = line.split(' ').skip(4);
        let (at, options) = fields.next().zip(fields.next()).ok_or_else(|| failure(Step::Mount, "unreadable list of mounts"))?;
        let has = |option: &str| options.split(',').any(|given| given == option);
        let at = Path::new(at);
        let device = at.parent() == Some(Path::new("/dev")) && !at.ends_with("shm");
        let sound = has("nosuid") && (has("nodev") || device) && (has("ro") || writable.iter().any(|path| path == at));
        if !sound {
            return Err(failure(Step::Mount, format!("mount {} has unexpected rights {options}", at.display())));
        }
    }
    Ok(())
}

fn read_table(host_proc: &OwnedFd) -> std::io::Result<String> {
    let name = CString::from(c"self/mountinfo");
    let file = openat(host_proc, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    std::io::read_to_string(std::fs::File::from(file))
}
