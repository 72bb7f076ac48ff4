//! Two files in a folder, whole or not there: a new folder appears with both in it, and in a folder that was there each file takes
//! its place as a whole, the secrets first. No secret that was there is lost, so that either configuration works with them.

use super::{CONFIG, SECRETS};
use anyhow::{Context, Result, bail};
use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Says beforehand what would keep it from being written.
pub(super) fn check(dir: &Path, force: bool) -> Result<()> {
    let meta = match std::fs::symlink_metadata(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        meta => meta.with_context(|| format!("{} can't be looked at", dir.display()))?,
    };
    if !meta.is_dir() {
        bail!("{} is there and is no folder; name another one with --dir", dir.display());
    }
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        bail!(
            "{} must belong to this user and be closed to others, because secrets are kept in it: `chmod 700` it, or name another \
             one with --dir",
            dir.display()
        );
    }
    for name in [CONFIG, SECRETS] {
        let path = dir.join(name);
        if path.symlink_metadata().is_ok() && !force {
            bail!(
                "{} is there already and was not touched; --force writes the configuration anew and keeps the secrets",
                path.display()
            );
        }
    }
    Ok(())
}

/// Writes both. True if there was a configuration, which is kept beside the new one.
pub(super) fn write(dir: &Path, force: bool, config: &str, secrets: &str) -> Result<bool> {
    check(dir, force)?;
    let is_new = !dir.exists();
    if is_new { write_new(dir, config, secrets).map(|()| false) } else { write_into(dir, force, config, secrets) }
}

fn write_new(dir: &Path, config: &str, secrets: &str) -> Result<()> {
    let parent = parent_of(dir);
    let cannot = || format!("{} can't be made", dir.display());
    std::fs::create_dir_all(&parent).with_context(cannot)?;
    let folder = tempfile::Builder::new().prefix(".hexward-init-").tempdir_in(&parent).with_context(cannot)?;
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).with_context(cannot)?;
    for (name, text) in [(SECRETS, secrets), (CONFIG, config)] {
        let file = written(folder.path(), text).with_context(cannot)?;
        file.persist_noclobber(folder.path().join(name)).with_context(cannot)?;
    }
    File::open(folder.path()).and_then(|folder| folder.sync_all()).with_context(cannot)?;
    // Fails if somebody made one meanwhile that is not empty.
    std::fs::rename(folder.path(), dir).with_context(cannot)?;
    drop(folder.keep());
    File::open(&parent).and_then(|parent| parent.sync_all()).with_context(cannot)
}

fn write_into(dir: &Path, force: bool, config: &str, secrets: &str) -> Result<bool> {
    let cannot = |name: &str| format!("{} can't be written; it is as it was", dir.join(name).display());
    let put = |name: &str, text: &str| -> Result<()> {
        let file = written(dir, text).with_context(|| cannot(name))?;
        match force {
            true => file.persist(dir.join(name)).map(|_| ()).with_context(|| cannot(name)),
            false => file.persist_noclobber(dir.join(name)).map(|_| ()).with_context(|| cannot(name)),
        }
    };
    let read = |name: &str| match std::fs::read_to_string(dir.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} can't be read", dir.join(name).display())),
    };
    let (old_config, old_secrets) = (read(CONFIG)?, read(SECRETS)?);
    put(SECRETS, &old_secrets.map_or_else(|| secrets.to_owned(), |old| with_missing(&old, secrets)))?;
    if let Some(old) = &old_config {
        let file = written(dir, old).with_context(|| cannot(CONFIG))?;
        file.persist(dir.join(format!("{CONFIG}.old"))).with_context(|| cannot(CONFIG))?;
    }
    put(CONFIG, config)?;
    File::open(dir).and_then(|folder| folder.sync_all()).with_context(|| cannot(CONFIG))?;
    Ok(old_config.is_some())
}

/// The old text, and those variables of the new one that it does not set.
fn with_missing(old: &str, new: &str) -> String {
    let name = |line: &str| -> Option<String> {
        let (name, _) = line.trim_start().trim_start_matches("export ").split_once('=')?;
        (!name.starts_with('#')).then(|| name.trim().to_owned())
    };
    let known: Vec<String> = old.lines().filter_map(name).collect();
    let missing = new.lines().filter(|line| name(line).is_some_and(|name| !known.contains(&name)));
    let mut text = old.trim_end().to_owned();
    text.push('\n');
    missing.for_each(|line| {
        text.push_str(line);
        text.push('\n');
    });
    text
}

/// A file that only this user can read, with its content on the disk, under a name that nobody knows.
fn written(folder: &Path, text: &str) -> std::io::Result<NamedTempFile> {
    let mut file =
        tempfile::Builder::new().prefix(".hexward-init-").permissions(Permissions::from_mode(0o600)).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn parent_of(dir: &Path) -> PathBuf {
    match dir.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        Some(_) | None => PathBuf::from("."),
    }
}
