//! What root believes: files that nobody can change but root and whoever this program belongs to. Somebody else's folder is a
//! place where root may stand, and no reason to do as it says.

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Who may have written what root reads.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    owner: u32,
}

impl Trust {
    /// Root, and the owner of this program, who had root execute it; none where this is not root, who has nothing to lose.
    ///
    /// # Errors
    /// If this program's own file is not known.
    pub fn of_root() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let own = std::fs::metadata("/proc/self/exe").context("this program's own file is not known")?;
        Ok(Some(Self { owner: own.uid() }))
    }

    /// A file that is to be read or executed, and the way to it. One that is missing is none to be afraid of.
    ///
    /// # Errors
    /// Who could change it.
    pub fn file(&self, path: &Path) -> Result<()> {
        let Ok(real) = path.canonicalize() else { return Ok(()) };
        // Whoever could change what stands beside this program could have changed the program, which root is executing.
        let own = std::fs::read_link("/proc/self/exe").ok();
        if own.as_deref().and_then(Path::parent) == real.parent() {
            return Ok(());
        }
        let meta = std::fs::metadata(&real).with_context(|| format!("{} can't be looked at", real.display()))?;
        self.judge(&real, &meta)?;
        self.way(&real)
    }

    /// The folders on the way to something, as it is written and as it is.
    ///
    /// # Errors
    /// The first that others could change.
    pub fn way(&self, path: &Path) -> Result<()> {
        let written = std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?;
        let real = written.parent().and_then(|parent| parent.canonicalize().ok());
        let ways = written.ancestors().skip(1).chain(real.iter().flat_map(|real| real.ancestors()));
        for step in ways {
            if let Ok(meta) = std::fs::symlink_metadata(step) {
                self.judge(step, &meta)?;
            }
        }
        Ok(())
    }

    fn judge(&self, path: &Path, meta: &Metadata) -> Result<()> {
        const STICKY: u32 = 0o1000;
        const OTHERS_WRITE: u32 = 0o002;
        const GROUP_WRITES: u32 = 0o020;
        let is_shared = meta.is_dir() && meta.mode() & STICKY != 0 && meta.uid() == 0;
        let is_open = meta.mode() & OTHERS_WRITE != 0 || meta.mode() & GROUP_WRITES != 0 && meta.gid() != 0;
        let is_open = is_open && !meta.is_symlink();
        if is_shared || [0, self.owner].contains(&meta.uid()) && !is_open {
            return Ok(());
        }
        bail!(
            "{} could have been changed by others than root (owner {}, mode {:o}), and root does not do as they say. Start in a folder \
             of root's own, name other files, or start as an ordinary user",
            path.display(),
            meta.uid(),
            meta.mode() & 0o7777
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_what_root_or_the_programs_owner_can_change_is_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("x.toml"), folder.path().join("link"));
        std::fs::write(&file, "").expect("written");
        symlink(&file, &link).expect("linked");
        let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("changed");
        let trust = Trust { owner: geteuid().as_raw() };
        mode(&file, 0o644);
        for path in [&file, &link] {
            trust.file(path).expect("ours");
        }
        trust.file(&folder.path().join("missing")).expect("nothing there");
        for open in [0o666, 0o662] {
            mode(&file, open);
            assert!(trust.file(&file).is_err() && trust.file(&link).is_err(), "{open:o}");
        }
        mode(&file, 0o644);
        mode(folder.path(), 0o777);
        let error = trust.file(&link).expect_err("somebody else could put another one there").to_string();
        assert!(error.contains("could have been changed by others"), "{error}");
        mode(folder.path(), 0o700);
        let stranger = Trust { owner: 1_234_567 };
        assert_eq!(stranger.file(&file).is_ok(), geteuid().is_root());
    }
}
