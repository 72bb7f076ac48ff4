//! The master keys: outside the database, so that whoever has only that, or a copy of it, reads nothing that people wrote.
//!
//! Each user's data key stands in the database wrapped by the first of these; the others only unwrap, until a rotation is through.

use crate::StoreError;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, rand};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of every key here.
pub(crate) const KEY_BYTES: usize = 32;
/// Bytes of the digest by which a master key is named.
const ID_BYTES: usize = 8;
/// The file in the state folder: one key a line, the first one wraps.
const FILE: &str = "master-keys";
/// More former keys than this are a mistake.
const MASTERS_MAX: usize = 8;

/// The master keys, the one that wraps first. It has no Debug: nothing of it belongs into a log.
pub struct Masters(Vec<Master>);

struct Master {
    id: String,
    key: RandomizedNonceKey,
}

fn wrong(why: &str) -> StoreError {
    StoreError::MasterKey(why.to_owned())
}

impl Masters {
    /// From 64 hexadecimal characters, and the former ones, separated by commas.
    ///
    /// # Errors
    /// [`StoreError::MasterKey`]; it never says what was given.
    pub fn parse(current: &str, old: &str) -> Result<Self, StoreError> {
        let old = old.split(',').map(str::trim).filter(|text| !text.is_empty());
        Self::of(std::iter::once(current.trim()).chain(old))
    }

    /// A key that nobody keeps: for a database that ends with this process.
    ///
    /// # Errors
    /// [`StoreError::MasterKey`] when the system has no randomness.
    pub fn passing() -> Result<Self, StoreError> {
        Ok(Self(vec![Master::of(&random()?)?]))
    }

    /// From the file of a state folder, which is made at the first start, for its owner alone.
    ///
    /// # Errors
    /// [`StoreError::MasterKey`] saying what is wrong with the file.
    pub fn kept_in(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        match read_private(&path)? {
            Some(text) => Self::of(text.lines().map(str::trim).filter(|line| !line.is_empty())),
            None => {
                write_private(&path, &format!("{}\n", HEXLOWER.encode(&random()?)), true)?;
                // Of two that start at once one made it, and both use it.
                read_private(&path)?.map_or_else(
                    || Err(wrong("the file vanished while it was made")),
                    |text| Self::of(text.lines().map(str::trim).filter(|line| !line.is_empty())),
                )
            }
        }
    }

    /// Puts a new key before those in a state folder's file. What was wrapped before is still unwrapped by the others, so nothing is lost
    /// wherever this stops.
    ///
    /// # Errors
    /// As [`Masters::kept_in`].
    pub fn renew_in(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let before = read_private(&path)?.unwrap_or_default();
        write_private(&path, &format!("{}\n{before}", HEXLOWER.encode(&random()?)), false)?;
        Self::kept_in(folder)
    }

    /// Forgets the former keys in a state folder's file: after every data key was wrapped anew.
    ///
    /// # Errors
    /// As [`Masters::kept_in`].
    pub fn forget_old_in(folder: &Path) -> Result<(), StoreError> {
        let path = folder.join(FILE);
        let text = read_private(&path)?.ok_or_else(|| wrong("there is no file of master keys"))?;
        let first = text.lines().next().ok_or_else(|| wrong("the file of master keys is empty"))?;
        write_private(&path, &format!("{first}\n"), false)
    }

    fn of<'t>(texts: impl Iterator<Item = &'t str>) -> Result<Self, StoreError> {
        let masters = texts.map(Master::parse).collect::<Result<Vec<_>, _>>()?;
        if masters.is_empty() {
            return Err(wrong(
                "there is none. Restore it from where it is kept: without it nothing that people wrote can be read",
            ));
        }
        if masters.len() > MASTERS_MAX {
            return Err(wrong(
                "there are more than eight. Finish a rotation (`hexward data-key rotate`) and remove the former ones",
            ));
        }
        Ok(Self(masters))
    }

    /// The name of the one that wraps.
    ///
    /// # Errors
    /// Never in practice: there is always one.
    pub(crate) fn current(&self) -> Result<&str, StoreError> {
        self.first().map(|master| master.id.as_str())
    }

    /// Whether a master key of this name is here.
    ///
    /// # Errors
    /// [`StoreError::MasterKey`] that names it.
    pub(crate) fn has(&self, id: &str) -> Result<(), StoreError> {
        if self.0.iter().any(|master| master.id == id) {
            return Ok(());
        }
        Err(wrong(&format!(
            "what some users wrote is sealed by another one, whose name is {id}. Give that one too, as a former key, or put back the \
             database that belongs to this one"
        )))
    }

    fn first(&self) -> Result<&Master, StoreError> {
        self.0.first().ok_or(StoreError::Sealed("there is no master key"))
    }

    /// Wraps a user's data key: the name of the master key, and the wrapped bytes.
    pub(crate) fn wrap(&self, user: &str, data_key: &[u8; KEY_BYTES]) -> Result<(&str, Vec<u8>), StoreError> {
        let master = self.first()?;
        let mut sealed = data_key.to_vec();
        let nonce = master.key.seal_in_place_append_tag(Aad::from(bound(user)), &mut sealed).map_err(|_| failed())?;
        Ok((&master.id, [nonce.as_ref().as_slice(), &sealed].concat()))
    }

    /// Unwraps a user's data key.
    pub(crate) fn unwrap(&self, user: &str, id: &str, wrapped: &[u8]) -> Result<[u8; KEY_BYTES], StoreError> {
        let lost = StoreError::Sealed("a user's data key is wrapped by a master key that this gateway does not have");
        let master = self.0.iter().find(|master| master.id == id).ok_or(lost)?;
        let broken = || StoreError::Sealed("a user's wrapped data key is not as it was written");
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut sealed = sealed.to_vec();
        let plain = master.key.open_in_place(nonce, Aad::from(bound(user)), &mut sealed).map_err(|_| broken())?;
        <[u8; KEY_BYTES]>::try_from(&*plain).map_err(|_| broken())
    }
}

impl Master {
    fn parse(text: &str) -> Result<Self, StoreError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| wrong("each must be 64 hexadecimal characters. Make one with `openssl rand -hex 32`"))?;
        if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
            return Err(wrong("it is no random one. Make one with `openssl rand -hex 32`"));
        }
        Self::of(&bytes)
    }

    fn of(bytes: &[u8; KEY_BYTES]) -> Result<Self, StoreError> {
        let id = digest::digest(&digest::SHA256, bytes).as_ref().iter().take(ID_BYTES).copied().collect::<Vec<_>>();
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| failed())?;
        Ok(Self { id: HEXLOWER.encode(&id), key })
    }
}

/// What a wrapped key is bound to: another user's row does not open with it.
fn bound(user: &str) -> Vec<u8> {
    [b"hexward data key 1\0".as_slice(), user.as_bytes()].concat()
}

pub(crate) fn random() -> Result<[u8; KEY_BYTES], StoreError> {
    let mut bytes = [0_u8; KEY_BYTES];
    rand::fill(&mut bytes).map_err(|_| wrong("the system's random source failed"))?;
    Ok(bytes)
}

pub(crate) const fn failed() -> StoreError {
    StoreError::Sealed("the cipher failed")
}

/// None where there is no file. A link is not followed, and what others may read is refused.
fn read_private(path: &Path) -> Result<Option<String>, StoreError> {
    let cannot = |why: &str| StoreError::MasterKey(format!("{}: {why}", path.display()));
    let opened = OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(&error.to_string())),
    };
    let meta = file.metadata().map_err(|error| cannot(&error.to_string()))?;
    if !meta.is_file() || meta.mode() & 0o077 != 0 {
        return Err(cannot(
            "must be a file that only its owner can read; use `chmod 600`, and think of who could read it until now",
        ));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| cannot(&error.to_string()))?;
    Ok(Some(text))
}

/// Written beside it and put in its place, so that no stop leaves half a key. With `first`, only where there is none.
fn write_private(path: &Path, text: &str, first: bool) -> Result<(), StoreError> {
    let cannot = |error: std::io::Error| StoreError::MasterKey(format!("{}: {error}", path.display()));
    let beside = path.with_extension(HEXLOWER.encode(&random()?.iter().take(ID_BYTES).copied().collect::<Vec<_>>()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let placed = written.and_then(|()| if first { std::fs::hard_link(&beside, path) } else { std::fs::rename(&beside, path) });
    let _ = std::fs::remove_file(&beside);
    match placed {
        Err(error) if first && error.kind() == ErrorKind::AlreadyExists => {}
        placed => placed.map_err(cannot)?,
    }
    let folder = path.parent().unwrap_or(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(cannot)
}
