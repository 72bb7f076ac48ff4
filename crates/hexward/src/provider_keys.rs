//! Provider keys that were rotated by command: one private file each in the state folder. A running gateway looks at them twice
//! a second and uses a new one from the next call on; while there is one, it goes before those of the environment.

use crate::secrets;
use anyhow::{Context, Result, bail};
use proxy::Proxy;
use proxy::messages::{Providers, check_key};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const FOLDER: &str = "provider-keys";
const LOOK_PAUSE: Duration = Duration::from_millis(500);
const KEY_BYTES_MAX: u64 = 8192;

/// Stores a new key; a running gateway notices.
pub fn store(state_dir: &Path, name: &str, key: &SecretString) -> Result<()> {
    check_key(key)?;
    secrets::private_folder(state_dir)?;
    let folder = state_dir.join(FOLDER);
    secrets::private_folder(&folder)?;
    // Written beside and renamed, so that nobody ever reads half a key.
    let (beside, path) = (folder.join(format!(".{name}")), folder.join(name));
    let mut file = secrets::open_private(&beside)?;
    file.set_len(0)?;
    file.write_all(key.expose_secret().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, &path).with_context(|| format!("{} can't be written", path.display()))
}

/// Removes a stored key; whether there was one.
pub fn forget(state_dir: &Path, name: &str) -> Result<bool> {
    let path = state_dir.join(FOLDER).join(name);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("{} can't be removed", path.display())),
    }
}

/// The stored key, if there is one.
pub fn read(state_dir: &Path, name: &str) -> Result<Option<SecretString>> {
    let path = state_dir.join(FOLDER).join(name);
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let file = match options.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{} can't be read", path.display())),
    };
    if file.metadata()?.mode() & 0o077 != 0 {
        bail!("{} is open to others, so the key in it is not used; rotate it", path.display());
    }
    let mut text = String::new();
    file.take(KEY_BYTES_MAX + 1).read_to_string(&mut text)?;
    let key = SecretString::from(text);
    check_key(&key).with_context(|| format!("{}", path.display()))?;
    Ok(Some(key))
}

/// A new key as a command gets it: from a file or from standard input, at its end a line break or none.
pub fn from_reader(reader: impl Read) -> Result<SecretString> {
    let mut text = String::new();
    reader.take(KEY_BYTES_MAX + 1).read_to_string(&mut text).context("the new key can't be read")?;
    if text.len() > usize::try_from(KEY_BYTES_MAX)? {
        bail!("the new key is longer than {KEY_BYTES_MAX} bytes");
    }
    let key = SecretString::from(text.trim_end_matches(['\r', '\n']));
    check_key(&key)?;
    Ok(key)
}

/// What tells one state of a file from another.
type Mark = Option<(u64, i64, i64)>;

fn mark(path: &PathBuf) -> Mark {
    std::fs::symlink_metadata(path).ok().map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

/// Looks at the files of all providers.
pub struct Watch {
    state_dir: PathBuf,
    seen: BTreeMap<String, Mark>,
}

impl Watch {
    /// Nothing was seen yet.
    pub const fn new(state_dir: PathBuf) -> Self {
        Self { state_dir, seen: BTreeMap::new() }
    }

    /// Takes over what changed. A key that can't be used changes nothing, and is told once.
    pub fn look(&mut self, providers: &Providers) {
        for name in providers.names() {
            let now = mark(&self.state_dir.join(FOLDER).join(name));
            let before = self.seen.insert(name.to_owned(), now);
            if before.unwrap_or(None) == now {
                continue;
            }
            match read(&self.state_dir, name).and_then(|key| Ok(providers.rotate(name, key)?)) {
                Ok(()) => tracing::info!(provider = name, stored = now.is_some(), "the provider's key was changed"),
                Err(error) => tracing::error!(provider = name, "the provider's new key is not used: {error:#}"),
            }
        }
    }
}

/// Looks until `stop`.
pub async fn watch(mut watch: Watch, proxy: Arc<Proxy>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_PAUSE) => watch.look(proxy.providers()),
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy::messages::ProviderConfig;

    fn key(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn a_stored_key_is_private_noticed_and_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let providers = Providers::new(vec![ProviderConfig::only("http://127.0.0.1:9", key("old"))]).expect("good");
        let mut watch = Watch::new(state.clone());
        watch.look(&providers);
        store(&state, "default", &key("new")).expect("stored");
        let path = state.join(FOLDER).join("default");
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(read(&state, "default").expect("read").expect("there").expose_secret(), "new");
        watch.look(&providers);
        assert_eq!(watch.seen.get("default"), Some(&mark(&path)));
        assert!(forget(&state, "default").expect("forgotten") && !forget(&state, "default").expect("forgotten"));
        assert!(read(&state, "default").expect("read").is_none());
    }

    #[test]
    fn a_key_that_others_could_read_or_that_may_too_much_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        assert!(store(&state, "default", &key("sk-ant-admin01-x")).is_err() && !state.exists(), "nothing was written");
        store(&state, "default", &key("new")).expect("stored");
        let path = state.join(FOLDER).join("default");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("changed");
        assert!(read(&state, "default").expect_err("open to others").to_string().contains("open to others"));
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/etc/hostname", &path).expect("linked");
        assert!(read(&state, "default").is_err(), "no link is followed");
    }

    #[test]
    fn a_new_key_is_one_line() {
        assert_eq!(from_reader(&b"sk-ant-api03-x\r\n"[..]).expect("a key").expose_secret(), "sk-ant-api03-x");
        for bad in [&b""[..], b"\n", b"a\nb", b"sk-ant-admin01-x\n", &[b'x'; 9000]] {
            assert!(from_reader(bad).is_err());
        }
    }
}
