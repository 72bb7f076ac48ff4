//! The folder of installed agents: staged beside what is in use, switched in one step, the one before kept.

use super::lock::Lock;
use super::{EXECUTABLE, Installed, KNOWN, LOCK, fetch, image, say};
use crate::pinned::write_lock;
use crate::secrets;
use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";

/// The folder, held by this process alone.
pub struct Shelf {
    folder: PathBuf,
    _held: File,
}

/// A version that is complete but not in use.
pub struct Staged {
    /// It.
    pub installed: Installed,
    /// Removed on every way out.
    _staging: Staging,
}

struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(%error, "what was staged could not be removed; the next install will");
        }
    }
}

impl Shelf {
    /// Opens the folder, made if it is missing.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{} can't be made; choose another --folder", folder.display()))?;
        let folder = folder.canonicalize().with_context(|| format!("{} can't be entered", folder.display()))?;
        let held = secrets::open_private(&folder.join("lock"))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another `hexward agent` works on {}; wait for its end", folder.display()),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{} can't be locked", folder.display()));
            }
        }
        // A sandbox's user must be able to reach what is in here.
        image::open(&folder)?;
        Ok(Self { folder, _held: held })
    }

    /// Whether this version is in use, sound by its lock's list, and has all that today's profile wants. Its content is verified
    /// when a gateway starts it.
    pub fn is_current(&self, version: &str) -> bool {
        let Ok(folder) = self.folder.join(CURRENT).canonicalize() else { return false };
        let wanted = image::wanted().unwrap_or_default();
        let complete = |lock: &Lock| lock.version == version && wanted.iter().all(|path| lock.files.contains_key(path));
        !wanted.is_empty() && Lock::read(&folder).is_ok_and(|lock| complete(&lock)) && Installed::verify(&folder).is_ok()
    }

    /// What is in use.
    pub fn current(&self) -> Result<Installed> {
        let link = self.folder.join(CURRENT);
        let folder =
            link.canonicalize().with_context(|| format!("{} leads nowhere: run `hexward agent install`", link.display()))?;
        Installed::verify(&folder)
    }

    /// Makes a version beside what is in use.
    pub async fn stage(&self, version: &str, package: Option<&Path>) -> Result<Staged> {
        let staging = Staging(self.folder.join("staging"));
        // What an interrupted install left.
        remove(&staging.0)?;
        let folder = staging.0.join(version);
        make_open(&folder)?;
        let executable = match package {
            Some(package) => fetch::executable(package, version)?,
            None => {
                say(&format!("getting the agent {version} (a large download) ..."))?;
                fetch::executable(&fetch::from_npm(&staging.0.join("package"), version).await?, version)?
            }
        };
        image::assemble(&folder.join("image"), &executable, package.is_some())?;
        let lock = Lock::of(&folder.join("image"), version, fetch::PACKAGE)?;
        let digest = lock.files.get(EXECUTABLE).cloned().unwrap_or_default();
        say(&compare_with_known(KNOWN, version, &digest)?)?;
        write_lock(&folder.join(LOCK), &lock)?;
        Ok(Staged { installed: Installed::verify(&folder)?, _staging: staging })
    }

    /// Puts a staged version in use.
    pub fn switch(&self, staged: Staged) -> Result<()> {
        let version = &staged.installed.lock.version;
        make_open(&self.folder.join("versions"))?;
        let (from, to) = (&staged.installed.folder, self.folder.join("versions").join(version));
        // A damaged one of the same version changes places with the new one, and is removed with the staging.
        let how = if to.exists() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        renameat_with(CWD, from, CWD, &to, how).with_context(|| format!("{} can't be put in place", to.display()))?;
        self.point_at(version)
    }

    /// Puts the version before in use; what was in use becomes the one before.
    pub fn roll_back(&self) -> Result<String> {
        let previous = self.version_of(PREVIOUS).context("there is no version before the one in use")?;
        Installed::verify(&self.folder.join("versions").join(&previous))?;
        self.point_at(&previous)?;
        Ok(previous)
    }

    /// Points `current` at a version, and `previous` at the one before; removes those before that.
    fn point_at(&self, version: &str) -> Result<()> {
        let before = self.version_of(CURRENT).filter(|before| before != version);
        self.link(CURRENT, version)?;
        if let Some(before) = before {
            self.link(PREVIOUS, &before)?;
        }
        let kept = [self.version_of(CURRENT), self.version_of(PREVIOUS)];
        for entry in std::fs::read_dir(self.folder.join("versions")).context("the versions can't be listed")? {
            let entry = entry.context("the versions can't be listed")?;
            if !kept.iter().flatten().any(|kept| entry.file_name() == kept.as_str()) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn version_of(&self, link: &str) -> Option<String> {
        std::fs::read_link(self.folder.join(link)).ok()?.file_name()?.to_str().map(str::to_owned)
    }

    /// A link is replaced in one step: readers see the old or the new one.
    fn link(&self, name: &str, version: &str) -> Result<()> {
        let (link, new) = (self.folder.join(name), self.folder.join(format!("{name}.new")));
        let failed = || format!("{} can't be switched", link.display());
        remove(&new)?;
        std::os::unix::fs::symlink(Path::new("versions").join(version), &new).with_context(failed)?;
        std::fs::rename(&new, &link).with_context(failed)
    }
}

/// What is known of a version beforehand must hold; of another, the digest found now is what later ones are compared with.
fn compare_with_known(known: &str, version: &str, digest: &str) -> Result<String> {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let mut lines = known.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let expected = lines.find_map(|words| match words.as_slice() {
        [known, its, sha256] if *known == version && *its == machine => Some((*sha256).to_owned()),
        _ => None,
    });
    match expected {
        None => Ok(format!("note  hash: {digest} (this gateway knows none for {version}; pinned as it was found)")),
        Some(expected) if expected == digest => Ok(format!("ok    hash: {digest}, as expected")),
        Some(expected) => bail!(
            "the executable's SHA-256 is {digest}, but {version} is known to have {expected}: the package was tampered with or damaged"
        ),
    }
}

fn make_open(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let parent = folder.parent().unwrap_or(folder);
    image::open(parent)?;
    image::open(folder)
}

/// Removes a file, a link or a folder; nothing there is fine.
fn remove(path: &Path) -> Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} can't be removed", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_digest_must_hold() {
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let known = format!("1.2.3 {machine} aa\n1.2.4 {machine} bb\n");
        assert!(compare_with_known(&known, "1.2.4", "bb").expect("known").contains("as expected"));
        assert!(compare_with_known(&known, "1.2.4", "aa").expect_err("another").to_string().contains("tampered"));
        assert!(compare_with_known(&known, "1.2.5", "cc").expect("unknown").contains("pinned as it was found"));
    }
}
