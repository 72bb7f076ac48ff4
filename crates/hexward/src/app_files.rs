//! An app's own files, which its sandboxes find at `/app`: looked through before the first of them starts.

use std::fs::{Metadata, symlink_metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const ENTRIES_MAX: usize = 20_000;
/// The Agent SDK has 5 MiB; the agent's executable, which belongs to the gateway, has hundreds.
const BYTES_MAX: u64 = 128 << 20;
/// The npm packages that bring an executable of the agent, for any machine.
const NATIVE_PACKAGES: &str = "@anthropic-ai/claude-agent-sdk-";

/// Checks a folder and resolves its name. The text says what is wrong with it and what to do.
pub fn check(folder: &Path) -> Result<PathBuf, String> {
    let root = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let (mut left, mut entries, mut bytes) = (vec![root.clone()], 0, 0);
    while let Some(path) = left.pop() {
        let meta = symlink_metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        (entries, bytes) = (entries + 1, bytes + meta.len());
        if path.strip_prefix(&root).is_ok_and(|inside| inside.to_string_lossy().contains(NATIVE_PACKAGES)) {
            return Err(format!(
                "{} is an agent of the app's own; the one that this gateway verified is used. Remove it: `npm ci --omit=optional`",
                path.display()
            ));
        }
        if entries > ENTRIES_MAX || bytes > BYTES_MAX {
            return Err(format!("{} has more than {ENTRIES_MAX} files or {} MiB", root.display(), BYTES_MAX >> 20));
        }
        if meta.is_symlink() {
            stays_inside(&root, &path)?;
            continue;
        }
        only_read(&path, &meta)?;
        if meta.is_dir() {
            let listed = std::fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            left.extend(listed.flatten().map(|entry| entry.path()));
        } else if !meta.is_file() {
            return Err(format!("{} is neither a file nor a folder", path.display()));
        }
    }
    Ok(root)
}

/// npm makes links in `node_modules/.bin`. One that is absolute or leads elsewhere would lead to something else inside.
fn stays_inside(root: &Path, link: &Path) -> Result<(), String> {
    let target = std::fs::read_link(link).map_err(|error| format!("{}: {error}", link.display()))?;
    let inside = link.canonicalize().is_ok_and(|real| real.starts_with(root));
    if target.is_absolute() || !inside {
        return Err(format!("{} is a symbolic link to {}, outside of the app's files", link.display(), target.display()));
    }
    Ok(())
}

/// Sandboxes have users of their own: they must be able to read, and nobody but the operator may write.
fn only_read(path: &Path, meta: &Metadata) -> Result<(), String> {
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != own || meta.mode() & 0o022 != 0 {
        return Err(format!(
            "{} can be changed by others than root and this user (owner {}, mode {:o}): chown and chmod go-w",
            path.display(),
            meta.uid(),
            meta.mode() & 0o7777
        ));
    }
    let needed = if meta.is_dir() { 0o005 } else { 0o004 };
    if meta.mode() & needed != needed {
        return Err(format!("{} can't be read by a sandbox's user: chmod -R a+rX", path.display()));
    }
    Ok(())
}
