//! What was verified once is recognised again: a file that was replaced or written since has another identity.

use crate::error::SandboxError;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files whose content somebody verified, with the identity they had then.
#[derive(Clone, Debug)]
pub struct Seal(Vec<(PathBuf, Identity)>);

/// The change time is the kernel's own: unlike the time of modification, nobody but a superuser sets it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Seal {
    /// Takes the files' identities. Do so before their content is read: what is written meanwhile then breaks the seal.
    ///
    /// # Errors
    /// An I/O error when one is not there.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> std::io::Result<Self> {
        let sealed = files.into_iter().map(|path| identity(&path).map(|identity| (path, identity)));
        sealed.collect::<std::io::Result<_>>().map(Self)
    }

    /// Whether every file still is what was verified.
    ///
    /// # Errors
    /// [`SandboxError::AgentChanged`] with the first that is not.
    pub fn check(&self) -> Result<(), SandboxError> {
        self.changed().map_or(Ok(()), |path| Err(SandboxError::AgentChanged { path: path.display().to_string() }))
    }

    /// The first that is not what was verified.
    #[must_use]
    pub fn changed(&self) -> Option<&Path> {
        self.0.iter().find(|(path, was)| identity(path).ok() != Some(*was)).map(|(path, _)| path.as_path())
    }
}

fn identity(path: &Path) -> std::io::Result<Identity> {
    let meta = std::fs::symlink_metadata(path)?;
    Ok(Identity { device: meta.dev(), inode: meta.ino(), size: meta.size(), changed: (meta.ctime(), meta.ctime_nsec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_or_replaced_breaks_the_seal() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("agent"), folder.path().join("other"));
        let seal = |text: &str| {
            std::fs::write(&path, text).expect("written");
            Seal::of([path.clone()]).expect("sealed")
        };
        let written = seal("one");
        written.check().expect("as it was");
        std::fs::write(&path, "two").expect("written");
        assert!(matches!(written.check(), Err(SandboxError::AgentChanged { .. })));
        let replaced = seal("one");
        std::fs::write(&other, "one").expect("written");
        std::fs::rename(&other, &path).expect("replaced");
        assert!(matches!(replaced.check(), Err(SandboxError::AgentChanged { .. })));
        let removed = seal("one");
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(removed.check(), Err(SandboxError::AgentChanged { .. })));
    }
}
