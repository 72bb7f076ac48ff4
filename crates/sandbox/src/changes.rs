//! What a program changed in its project folder: the upper layer of its overlay compared with the real folder.
//!
//! Names, links and kinds of files in the upper layer were chosen by whoever ran there. Every step into either tree is one
//! `openat2` from that tree's own descriptor that follows no link and leaves the tree by no way.

use crate::danger::Dangers;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fgetxattr, fstat, major, minor, openat2, readlinkat, statat,
};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Entries looked at in the upper layer, and in real folders that were deleted.
const ENTRIES_MAX: usize = 500_000;
const COMPARE_BYTES: usize = 64 << 10;
const INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There was nothing of this name, or something of another sort.
    Added,
    /// Its content or its right to be executed.
    Changed,
    /// It is gone.
    Deleted,
}

/// What it is now; what it was, if deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A file of so many bytes.
    File {
        /// How many.
        bytes: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link, and where it leads.
    Link(PathBuf),
    /// Something else, which is only ever deleted.
    Other,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Within the project.
    pub path: PathBuf,
    /// What happened.
    pub kind: Kind,
    /// To what.
    pub what: What,
    /// Why it must not be applied without being looked at.
    pub danger: Option<String>,
}

/// All differences, in an order in which they can be applied.
#[derive(Debug, Default)]
pub struct Changes {
    /// They.
    pub list: Vec<Change>,
    /// What is never applied, and why.
    pub left_out: Vec<(PathBuf, String)>,
}

/// Compares.
///
/// # Errors
/// If one of the two trees can't be read at its root, or holds too much.
pub fn collect(upper: &OwnedFd, project: &OwnedFd, dangers: &Dangers) -> io::Result<Changes> {
    let mut walk = Walk { upper, project, dangers, changes: Changes::default(), seen: 0, folders: vec![PathBuf::new()] };
    while let Some(folder) = walk.folders.pop() {
        match walk.folder(&folder) {
            Err(errno) if errno == TOO_MANY || folder.as_os_str().is_empty() => return Err(errno.into()),
            Err(errno) => walk.changes.left_out.push((folder, format!("can't be read: {}", io::Error::from(errno)))),
            Ok(()) => {}
        }
    }
    Ok(walk.changes)
}

const TOO_MANY: Errno = Errno::TOOBIG;

/// Opens something below a root, and nothing else.
pub(crate) fn open_inside(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    // A pipe in the place of a file must not keep anybody waiting.
    let wait = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NONBLOCK };
    openat2(root, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | wait, Mode::empty(), INSIDE)
}

pub(crate) fn open_folder(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    open_inside(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// What is there, without following a last link; nothing if a part of the way is no folder.
pub(crate) fn look(root: &OwnedFd, path: &Path) -> Result<Option<Stat>, Errno> {
    match open_inside(root, path, OFlags::PATH) {
        Ok(found) => fstat(&found).map(Some),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(crate) fn link_of(root: &OwnedFd, path: &Path) -> Result<PathBuf, Errno> {
    let link = open_inside(root, path, OFlags::PATH)?;
    readlinkat(&link, "", Vec::new()).map(|text| PathBuf::from(OsString::from_vec(text.into_bytes())))
}

fn names(folder: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

/// The kernel's mark on a folder below which nothing of the real one shows.
fn is_opaque(folder: &OwnedFd) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        let mut value = [0_u8; 4];
        fgetxattr(folder, *name, &mut value[..]).is_ok_and(|length| value.get(..length) == Some(b"y"))
    })
}

struct Walk<'a> {
    upper: &'a OwnedFd,
    project: &'a OwnedFd,
    dangers: &'a Dangers,
    changes: Changes,
    seen: usize,
    folders: Vec<PathBuf>,
}

impl Walk<'_> {
    fn count(&mut self, more: usize) -> Result<(), Errno> {
        self.seen = self.seen.saturating_add(more);
        if self.seen > ENTRIES_MAX { Err(TOO_MANY) } else { Ok(()) }
    }

    fn folder(&mut self, path: &Path) -> Result<(), Errno> {
        let folder = open_folder(self.upper, path)?;
        let names = names(&folder)?;
        self.count(names.len())?;
        if is_opaque(&folder) {
            self.hidden_below(path, &names)?;
        }
        for name in names {
            let stat = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            let inside = path.join(&name);
            match self.entry(&inside, &stat) {
                Err(TOO_MANY) => return Err(TOO_MANY),
                Err(errno) => self.changes.left_out.push((inside, format!("can't be compared: {}", io::Error::from(errno)))),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// What the real folder has and the new one does not.
    fn hidden_below(&mut self, path: &Path, kept: &[OsString]) -> Result<(), Errno> {
        let real = match open_folder(self.project, path) {
            Ok(real) => self::names(&real)?,
            // The folder is new altogether.
            Err(_) => return Ok(()),
        };
        let kept: HashSet<&OsString> = kept.iter().collect();
        real.iter().filter(|name| !kept.contains(name)).try_for_each(|name| self.deleted(&path.join(name)))
    }

    fn entry(&mut self, path: &Path, stat: &Stat) -> Result<(), Errno> {
        let real = look(self.project, path)?;
        let same_sort = real.as_ref().is_some_and(|real| kind_of(real) == kind_of(stat));
        let whiteout = kind_of(stat) == FileType::CharacterDevice && (major(stat.st_rdev), minor(stat.st_rdev)) == (0, 0);
        let wanted = matches!(kind_of(stat), FileType::RegularFile | FileType::Directory | FileType::Symlink);
        if whiteout {
            return real.map_or(Ok(()), |_| self.deleted(path));
        }
        if !wanted {
            let why = format!("is a {:?}, which is never applied", kind_of(stat));
            self.changes.left_out.push((path.to_owned(), why));
            return Ok(());
        }
        if real.is_some() && !same_sort {
            self.deleted(path)?;
        }
        let real = real.filter(|_| same_sort);
        let kind = if real.is_some() { Kind::Changed } else { Kind::Added };
        match kind_of(stat) {
            // Left out above.
            FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {}
            FileType::Directory => {
                self.folders.push(path.to_owned());
                if real.is_none() {
                    self.push(path, kind, What::Folder);
                }
            }
            FileType::Symlink => {
                let leads_to = link_of(self.upper, path)?;
                if real.is_none() || link_of(self.project, path)? != leads_to {
                    self.push(path, kind, What::Link(leads_to));
                }
            }
            FileType::RegularFile => {
                if !real.is_some_and(|real| self.same_file(path, stat, &real)) {
                    self.push(path, kind, What::File { bytes: u64::try_from(stat.st_size).unwrap_or(0) });
                }
            }
        }
        Ok(())
    }

    /// Copied up and the same: the program only opened it for writing, or touched it.
    fn same_file(&self, path: &Path, ours: &Stat, real: &Stat) -> bool {
        let executable = |stat: &Stat| stat.st_mode & 0o100;
        ours.st_size == real.st_size && executable(ours) == executable(real) && self.same_bytes(path).unwrap_or(false)
    }

    fn same_bytes(&self, path: &Path) -> io::Result<bool> {
        let open = |root| open_inside(root, path, OFlags::RDONLY).map(File::from);
        let (mut ours, mut real) = (open(self.upper)?, open(self.project)?);
        let (mut left, mut right) = (Vec::new(), Vec::new());
        loop {
            left.clear();
            right.clear();
            let bytes = u64::try_from(COMPARE_BYTES).unwrap_or(u64::MAX);
            ours.by_ref().take(bytes).read_to_end(&mut left)?;
            real.by_ref().take(bytes).read_to_end(&mut right)?;
            if left != right || left.is_empty() {
                return Ok(left == right);
            }
        }
    }

    /// A real thing with everything below it, the deepest first.
    fn deleted(&mut self, top: &Path) -> Result<(), Errno> {
        let (mut found, mut open) = (Vec::new(), vec![top.to_owned()]);
        while let Some(path) = open.pop() {
            let Some(stat) = look(self.project, &path)? else { continue };
            let what = match kind_of(&stat) {
                FileType::Directory => {
                    let names = names(&open_folder(self.project, &path)?)?;
                    self.count(names.len())?;
                    open.extend(names.iter().map(|name| path.join(name)));
                    What::Folder
                }
                FileType::RegularFile => What::File { bytes: u64::try_from(stat.st_size).unwrap_or(0) },
                FileType::Symlink => What::Link(link_of(self.project, &path)?),
                FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
                    What::Other
                }
            };
            found.push((path, what));
        }
        found.into_iter().rev().for_each(|(path, what)| self.push(&path, Kind::Deleted, what));
        Ok(())
    }

    fn push(&mut self, path: &Path, kind: Kind, what: What) {
        let danger = self.dangers.of(path, &what).filter(|_| what != What::Folder || kind == Kind::Deleted);
        self.changes.list.push(Change { path: path.to_owned(), kind, what, danger });
    }
}
