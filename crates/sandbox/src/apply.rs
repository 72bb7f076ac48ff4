//! Carries changes over into the real project folder, one by one, each only if nobody else changed the same thing meanwhile.

use crate::changes::{Change, Kind, What, kind_of, look, open_folder, open_inside};
use policy::{SandboxId, Timestamp};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, fstat, mkdirat, openat, renameat_with, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What became of one change.
#[derive(Debug)]
pub enum Applied {
    /// The real folder has it.
    Done,
    /// Somebody else changed the same thing after the program was started; theirs stays.
    Conflict,
    /// The file system said no.
    Failed(io::Error),
}

/// Applies one change. `since` is the moment before the program was started.
#[must_use]
pub fn apply(upper: &OwnedFd, project: &OwnedFd, change: &Change, since: Timestamp) -> Applied {
    match Place::of(project, &change.path).and_then(|place| place.apply(upper, project, change, since)) {
        Ok(true) => Applied::Done,
        Ok(false) => Applied::Conflict,
        Err(error) => Applied::Failed(error),
    }
}

/// Where a change goes: the folder above it, held open, and its name.
struct Place<'a> {
    folder: OwnedFd,
    name: &'a OsStr,
}

impl<'a> Place<'a> {
    fn of(project: &OwnedFd, path: &'a Path) -> io::Result<Self> {
        let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::INVAL)?;
        Ok(Self { folder: open_folder(project, parent)?, name })
    }

    /// False when it is somebody else's now.
    fn apply(&self, upper: &OwnedFd, project: &OwnedFd, change: &Change, since: Timestamp) -> io::Result<bool> {
        let real = look(project, &change.path)?;
        match (change.kind, &change.what, real) {
            (Kind::Deleted, _, None) => Ok(true),
            (Kind::Deleted, What::Folder, Some(real)) if kind_of(&real) == FileType::Directory => {
                match unlinkat(&self.folder, self.name, AtFlags::REMOVEDIR) {
                    Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
                    result => Ok(result.map(|()| true)?),
                }
            }
            (Kind::Added, What::Folder, Some(real)) if kind_of(&real) == FileType::Directory => Ok(true),
            (Kind::Added, _, Some(_)) => Ok(false),
            (_, _, Some(real)) if kind_of(&real) == FileType::Directory || changed_after(&real, since) => Ok(false),
            (Kind::Deleted, _, Some(_)) => Ok(unlinkat(&self.folder, self.name, AtFlags::empty()).map(|()| true)?),
            // It was there when the program started, and somebody took it away.
            (Kind::Changed, _, None) => Ok(false),
            (_, What::Folder, _) => self.make_folder(),
            (_, What::Link(to), real) => self.put(real.is_some(), |name| Ok(symlinkat(to, &self.folder, name)?)),
            (_, What::File { .. }, real) => self.put(real.is_some(), |name| self.copy(upper, &change.path, real.as_ref(), name)),
            (_, What::Other, _) => Err(Errno::INVAL.into()),
        }
    }

    fn make_folder(&self) -> io::Result<bool> {
        mkdirat(&self.folder, self.name, Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&self.folder, self.name, flags, Mode::empty())?;
        let above = fstat(&self.folder)?;
        own(&made, &above)?;
        fchmod(&made, Mode::from_raw_mode(above.st_mode & 0o777))?;
        Ok(true)
    }

    /// Makes the new thing under a name of its own, then gives it the right one in one step.
    fn put(&self, replaces: bool, make: impl FnOnce(&str) -> io::Result<()>) -> io::Result<bool> {
        let name = format!(".hexward-{}", SandboxId::random());
        let flags = if replaces { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let put = make(&name).and_then(|()| match renameat_with(&self.folder, &name, &self.folder, self.name, flags) {
            Err(Errno::EXIST) => Ok(false),
            // A file system that can't promise it: looked at just before is the best there is.
            Err(Errno::INVAL) if statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW).is_err() => {
                Ok(rustix::fs::renameat(&self.folder, &name, &self.folder, self.name).map(|()| true)?)
            }
            result => Ok(result.map(|()| true)?),
        });
        if !matches!(put, Ok(true)) {
            // It may not have been made at all.
            let _gone = unlinkat(&self.folder, &name, AtFlags::empty());
        }
        put
    }

    fn copy(&self, upper: &OwnedFd, path: &Path, real: Option<&Stat>, name: &str) -> io::Result<()> {
        let mut from = File::from(open_inside(upper, path, OFlags::RDONLY)?);
        let stat = fstat(&from)?;
        if kind_of(&stat) != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut to = File::from(openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?);
        io::copy(&mut from, &mut to)?;
        let above = fstat(&self.folder)?;
        own(&to, real.unwrap_or(&above))?;
        Ok(fchmod(&to, Mode::from_raw_mode(mode_of(&stat, real, &above)))?)
    }
}

/// Nothing that is made here belongs to a sandbox's user; only root has a choice.
fn own(made: impl AsFd, like: &Stat) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        fchown(made, Some(Uid::from_raw(like.st_uid)), Some(Gid::from_raw(like.st_gid)))?;
    }
    Ok(())
}

/// A file keeps the rights it had, a new one is as open as the folder it stands in; the program decides about execution
/// only, and never about setuid.
fn mode_of(new: &Stat, real: Option<&Stat>, above: &Stat) -> u32 {
    let base = real.map_or(above.st_mode, |real| real.st_mode) & 0o666 | 0o600;
    let execute = if new.st_mode & 0o100 == 0 { 0 } else { (base & 0o444) >> 2 };
    base | execute
}

/// By the time that no program can set.
fn changed_after(real: &Stat, since: Timestamp) -> bool {
    let nanos = i64::try_from(real.st_ctime_nsec).unwrap_or(0);
    let changed = real.st_ctime.saturating_mul(1_000_000).saturating_add(nanos / 1000);
    changed > since.0
}
