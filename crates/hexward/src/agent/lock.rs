//! The lock beside an installed agent: which files its image holds, with the digest of each. An image that differs from its lock
//! is not started.

use super::{EXECUTABLE, LOCK, PLACES};
use crate::pinned::{Image, Pinned, Pins};
use anyhow::{Context, Result, bail};
use sandbox::{Awaited, Seal, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Entries of an image at most; it has a dozen.
const ENTRIES_MAX: usize = 256;
static NO_LINKS: BTreeMap<String, String> = BTreeMap::new();

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

/// An installed agent whose content is still to be compared with its lock.
pub struct Candidate {
    folder: PathBuf,
    lock: Lock,
    seal: Seal,
    files: Vec<Pinned>,
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
    pub fn of(executable: &Path) -> Result<Option<Candidate>> {
        let Ok(real) = executable.canonicalize() else { return Ok(None) };
        let folder = real.ends_with(Path::new("image").join(EXECUTABLE)).then(|| real.ancestors().nth(4)).flatten();
        let Some(folder) = folder else { return Ok(None) };
        let installed = PLACES.iter().any(|place| folder.parent().is_some_and(|parent| parent.ends_with(place)));
        if installed || folder.join(LOCK).exists() { Candidate::open(folder).map(Some) } else { Ok(None) }
    }

    /// Compares an image with its lock: the list of files, who may write them, and their content.
    ///
    /// # Errors
    /// What differs and what to do.
    pub fn verify(folder: &Path) -> Result<Self> {
        Candidate::open(folder)?.verify()
    }
}

impl Candidate {
    /// Compares the list of files and who may write them, and opens them.
    fn open(folder: &Path) -> Result<Self> {
        let lock = Lock::read(folder)?;
        let (seal, files) = image_of(&folder.join("image")).open(lock.pins())?;
        Ok(Self { folder: folder.to_owned(), lock, seal, files })
    }

    /// The image's folder.
    pub fn image(&self) -> PathBuf {
        self.folder.join("image")
    }

    /// Recognises the files that are compared.
    pub fn seal(&self) -> Seal {
        self.seal.clone()
    }

    /// Compares the content. It has hundreds of megabytes, so this takes a while the first time.
    ///
    /// # Errors
    /// What differs and what to do.
    pub fn verify(self) -> Result<Installed> {
        let Self { folder, lock, seal, files } = self;
        let mut verified = VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
        let known = verified.iter().find(|known| known.folder == folder && known.lock == lock && known.seal.check().is_ok());
        if let Some(known) = known {
            return Ok(known.clone());
        }
        files.into_iter().try_for_each(Pinned::verify)?;
        let installed = Installed { folder, lock, seal };
        verified.retain(|known| known.folder != installed.folder);
        verified.push(installed.clone());
        Ok(installed)
    }

    /// The same on a thread of its own; what comes out is said there, and to whoever waits for the verdict.
    pub fn verify_meanwhile(self) -> Awaited {
        let (verdict, awaited) = Verdict::pending();
        std::thread::spawn(move || match self.verify() {
            Ok(installed) => {
                tracing::info!(version = installed.lock.version, "the installed agent is what its lock says");
                verdict.give(Ok(()));
            }
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::error!("no agent will be started: {reason}");
                verdict.give(Err(reason));
            }
        });
        awaited
    }
}

impl Lock {
    /// Makes the lock of an image.
    pub fn of(image: &Path, version: &str, package: &str) -> Result<Self> {
        let (files, _) = image_of(image).pins()?;
        Ok(Self { version: version.to_owned(), package: package.to_owned(), files })
    }

    /// An agent's image holds files only.
    fn pins(&self) -> Pins<'_> {
        Pins { files: &self.files, links: &NO_LINKS }
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

/// What is verified of an agent's image, and how a bad one is made good.
fn image_of(folder: &Path) -> Image<'_> {
    Image { folder, name: "the agent's image", command: "hexward agent install", entries_max: ENTRIES_MAX }
}
