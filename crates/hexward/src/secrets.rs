//! Secrets made at first start, and the private folder they live in. There is no default one anywhere.

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

const SECRET_BYTES: usize = 32;

/// 64 hexadecimal characters from the system's random source.
pub fn random_hex() -> Result<String> {
    let mut bytes = [0_u8; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system's random source failed"))?;
    Ok(HEXLOWER.encode(&bytes))
}

/// A folder only its owner can enter.
pub fn private_folder(folder: &Path) -> Result<()> {
    let cannot = || format!("{} can't be made; choose another --state-dir", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(cannot)?;
    // One that was there before is looked at, never changed: it may be somebody's, or everybody's.
    let meta = std::fs::metadata(folder).with_context(cannot)?;
    if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        bail!(
            "{} must belong to this user and be closed to others (mode 700), because secrets and data are kept in it; \
             use `chmod 700` if it is yours, or choose another --state-dir",
            folder.display()
        );
    }
    Ok(())
}

/// Opens a file of the state folder for writing, without following a link that somebody put in its place.
pub fn open_private(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path).with_context(|| format!("{} can't be written", path.display()))
}

/// The name under which this folder's gateway keeps its open work in the database: made once, so that a restart finds its own
/// and never another's.
pub fn gateway_name(folder: &Path) -> Result<String> {
    let path = folder.join("gateway-name");
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Ok(_) | Err(_) => {}
    }
    let name = format!("gateway-{}", uuid::Uuid::now_v7());
    std::fs::write(&path, &name).with_context(|| format!("{} can't be written", path.display()))?;
    Ok(name)
}

/// A secret of bytes that is made once and kept in a file only its owner can read.
pub fn kept(path: &Path, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    if let Some(folder) = path.parent() {
        private_folder(folder)?;
    }
    match std::fs::read(path) {
        Ok(secret) if !secret.is_empty() => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
            return Ok(secret);
        }
        Ok(_) | Err(_) => {}
    }
    let secret = make()?;
    let mut file = open_private(path)?;
    file.set_len(0)?;
    file.write_all(&secret).with_context(|| format!("{} can't be written", path.display()))?;
    Ok(secret)
}

/// The demo's own secrets: made once, kept in a file only its owner can read, never printed.
pub fn generated(folder: &Path) -> Result<String> {
    private_folder(folder)?;
    let path = folder.join("auth-secret");
    match std::fs::read_to_string(&path) {
        Ok(secret) if secret.trim().len() == SECRET_BYTES * 2 => {
            std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            return Ok(secret.trim().to_owned());
        }
        Ok(_) | Err(_) => {}
    }
    let secret = random_hex()?;
    let mut file = open_private(&path)?;
    file.set_len(0)?;
    writeln!(file, "{secret}").with_context(|| format!("{} can't be written", path.display()))?;
    Ok(secret)
}
