//! The lock beside an installed agent: which files its image holds, with the digest of each. An image that differs from its lock
//! is not started.

use super::{EXECUTABLE, LOCK, PLACES};
use anyhow::{Context, Result, bail};
use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use sandbox::Seal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const BUFFER_BYTES: usize = 1 << 20;
/// Entries of an image at most; it has a dozen.
const ENTRIES_MAX: usize = 256;

/// `agent.lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The agent's version.
    pub version: String,
    /// The package it came from.
    pub package: String,
    /// Paths inside, and the SHA-256 of each.
    pub files: BTreeMap<String, String>,
}

/// An installed agent whose image is what its lock says.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Its folder.
    pub folder: PathBuf,
    /// Its lock.
    pub lock: Lock,
    /// Recognises the verified files.
    pub seal: Seal,
}

/// What this process verified already. The executable has hundreds of megabytes, and a seal tells for nothing that it is the same.
static VERIFIED: Mutex<Vec<Installed>> = Mutex::new(Vec::new());

impl Installed {
    /// The image's folder.
    pub fn image(&self) -> PathBuf {
        self.folder.join("image")
    }

    /// The executable.
    pub fn executable(&self) -> PathBuf {
        self.image().join(EXECUTABLE)
    }

    /// The installed agent that an executable belongs to; none for one that somebody put elsewhere.
    ///
    /// # Errors
    /// An installed one that is not what its lock says, or has none.
    pub fn of(executable: &Path) -> Result<Option<Self>> {
        let Ok(real) = executable.canonicalize() else { return Ok(None) };
        let folder = real.ends_with(Path::new("image").join(EXECUTABLE)).then(|| real.ancestors().nth(4)).flatten();
        let Some(folder) = folder else { return Ok(None) };
        let installed = PLACES.iter().any(|place| folder.parent().is_some_and(|parent| parent.ends_with(place)));
        if installed || folder.join(LOCK).exists() { Self::verify(folder).map(Some) } else { Ok(None) }
    }

    /// Compares an image with its lock: the list of files, who may write them, and their content.
    ///
    /// # Errors
    /// What differs and what to do.
    pub fn verify(folder: &Path) -> Result<Self> {
        let lock = Lock::read(folder)?;
        let mut verified = VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
        let known = verified.iter().find(|known| known.folder == folder && known.lock == lock && known.seal.check().is_ok());
        if let Some(known) = known {
            check_entries(&known.image(), &lock)?;
            return Ok(known.clone());
        }
        let installed = Self::verify_anew(folder, lock)?;
        verified.retain(|known| known.folder != folder);
        verified.push(installed.clone());
        Ok(installed)
    }

    fn verify_anew(folder: &Path, lock: Lock) -> Result<Self> {
        let image = folder.join("image");
        check_entries(&image, &lock)?;
        let seal = Seal::of(lock.files.keys().map(|path| image.join(path))).context("the agent's image")?;
        for (path, pinned) in &lock.files {
            let found = sha256(&image.join(path))?;
            if found != *pinned {
                bail!(
                    "{} was changed after it was installed: its SHA-256 is {found}, the lock says {pinned}. \
                     Find out who wrote it, then run `hexward agent install`",
                    image.join(path).display()
                );
            }
        }
        Ok(Self { folder: folder.to_owned(), lock, seal })
    }
}

impl Lock {
    /// Makes the lock of an image.
    pub fn of(image: &Path, version: &str, package: &str) -> Result<Self> {
        let files = entries(image)?.into_iter().filter(|entry| !entry.is_folder);
        let files = files.map(|entry| sha256(&image.join(&entry.path)).map(|digest| (entry.path, digest)));
        Ok(Self { version: version.to_owned(), package: package.to_owned(), files: files.collect::<Result<_>>()? })
    }

    /// Reads the lock of a version's folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("{} can't be read: the agent is not completely installed. Run `hexward agent install`", path.display())
        })?;
        let lock: Self =
            toml::from_str(&text).with_context(|| format!("{} is damaged: run `hexward agent install`", path.display()))?;
        if !lock.files.contains_key(EXECUTABLE) {
            bail!("{} names no executable: run `hexward agent install`", path.display());
        }
        Ok(lock)
    }
}

/// One entry of an image.
struct Entry {
    path: String,
    is_folder: bool,
}

/// Invariant: nothing in an image can be written by anybody but who installed it, and nothing is there that the lock does not name.
fn check_entries(image: &Path, lock: &Lock) -> Result<()> {
    let found = entries(image)?;
    let is_named = |entry: &&Entry| !entry.is_folder && !lock.files.contains_key(&entry.path);
    if let Some(entry) = found.iter().find(is_named) {
        bail!("{} is in the agent's image, but not in its lock: run `hexward agent install`", image.join(&entry.path).display());
    }
    let missing = lock.files.keys().find(|path| !found.iter().any(|entry| !entry.is_folder && entry.path == **path));
    if let Some(path) = missing {
        bail!("{} is missing: run `hexward agent install`", image.join(path).display());
    }
    Ok(())
}

/// What is in an image, without following a link: there is none in a sound one.
fn entries(image: &Path) -> Result<Vec<Entry>> {
    let own = rustix::process::geteuid().as_raw();
    let (mut left, mut found) = (vec![image.to_owned()], Vec::new());
    while let Some(path) = left.pop() {
        let meta = std::fs::symlink_metadata(&path)
            .with_context(|| format!("{} can't be read: run `hexward agent install`", path.display()))?;
        if meta.uid() != 0 && meta.uid() != own || meta.mode() & 0o022 != 0 && !meta.is_symlink() {
            bail!(
                "{} could be changed by others than root and this user (owner {}, mode {:o}): run `hexward agent install` as this user",
                path.display(),
                meta.uid(),
                meta.mode() & 0o7777
            );
        }
        let inside = path.strip_prefix(image).unwrap_or(&path).to_string_lossy().into_owned();
        if meta.is_dir() {
            for entry in std::fs::read_dir(&path).with_context(|| format!("{} can't be read", path.display()))? {
                left.push(entry?.path());
            }
        } else if !meta.is_file() {
            bail!("{} is neither a file nor a folder: run `hexward agent install`", path.display());
        }
        found.push(Entry { path: inside, is_folder: meta.is_dir() });
        if found.len() > ENTRIES_MAX {
            bail!("{} holds more than {ENTRIES_MAX} entries: run `hexward agent install`", image.display());
        }
    }
    Ok(found)
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    let cannot = || format!("{} can't be read", path.display());
    let mut file = std::fs::File::open(path).with_context(cannot)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer).with_context(cannot)? {
            0 => return Ok(HEXLOWER.encode(context.finish().as_ref())),
            count => context.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}
