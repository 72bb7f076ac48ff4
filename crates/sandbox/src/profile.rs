//! The commented data of `profiles/`: which parts of the host's file tree an agent needs, and what it may use.

use jail::{Calls, Limits, Mount};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// `profiles/agent.toml`, resolved against this host.
#[derive(Clone, Debug)]
pub struct Profile {
    mounts: Vec<Mount>,
    calls: Calls,
    limits: Limits,
}

/// Why a profile can't be used on this host.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not the expected form; the text has line and column.
    #[error("sandbox profile: {0}")]
    Form(#[from] toml::de::Error),
    /// A library the agent needs is not there.
    #[error("sandbox profile: {0} was not found in the system's library folders; the agent needs glibc 2.31 or later")]
    Library(String),
    /// Not an architecture the agent exists for.
    #[error("sandbox profile: no agent exists for the architecture {0}")]
    Architecture(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    calls: Calls,
    library: Vec<Library>,
    folder: Vec<Folder>,
    limits: LimitsFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Library {
    name: String,
    #[serde(rename = "reason")]
    _reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) size_mb: u64,
    pub(crate) inodes: u64,
    #[serde(rename = "reason")]
    _reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsFile {
    memory_mb: u64,
    pids: u32,
    cpu_percent: u32,
    files_open: u64,
}

/// The dynamic loader's fixed path and the folder where Debian keeps libraries, by architecture.
const LOADER: Option<(&str, &str)> = if cfg!(target_arch = "x86_64") {
    Some(("/lib64/ld-linux-x86-64.so.2", "x86_64-linux-gnu"))
} else if cfg!(target_arch = "aarch64") {
    Some(("/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu"))
} else {
    None
};

impl Profile {
    /// The profile that comes with the gateway.
    ///
    /// # Errors
    /// As [`Profile::parse`].
    pub fn agent() -> Result<Self, ProfileError> {
        Self::parse(include_str!("../../../profiles/agent.toml"))
    }

    /// The same with the libraries of an image: a folder that holds copies of them at their places inside.
    ///
    /// # Errors
    /// As [`Profile::parse`].
    pub fn agent_in(image: &Path) -> Result<Self, ProfileError> {
        Self::parse_below(include_str!("../../../profiles/agent.toml"), image)
    }

    /// Parses a profile and finds its libraries on this host.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        Self::parse_below(text, Path::new("/"))
    }

    fn parse_below(text: &str, root: &Path) -> Result<Self, ProfileError> {
        let file: File = toml::from_str(text)?;
        let (loader, triple) = LOADER.ok_or(ProfileError::Architecture(std::env::consts::ARCH))?;
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        let mut mounts = vec![bind(&below(loader), Path::new(loader))?];
        for Library { name, .. } in &file.library {
            let folders = [format!("/lib/{triple}"), format!("/usr/lib/{triple}"), "/lib64".to_owned(), "/usr/lib64".to_owned()];
            let found = folders.iter().map(|folder| below(folder).join(name)).find(|path| path.exists());
            let found = found.ok_or_else(|| ProfileError::Library(name.clone()))?;
            mounts.push(bind(&found, &Path::new("/lib").join(triple).join(name))?);
        }
        Ok(Self::with(mounts, file.calls, file.folder, file.limits))
    }

    /// Mounts, then writable folders; the system calls that may be made, and the limits.
    pub(crate) fn with(mut mounts: Vec<Mount>, calls: Calls, folders: Vec<Folder>, limits: LimitsFile) -> Self {
        for Folder { path, size_mb, inodes, .. } in folders {
            mounts.push(Mount::Tmpfs { target: path, size_bytes: size_mb << 20, inodes, mode: 0o700 });
        }
        let LimitsFile { memory_mb, pids, cpu_percent, files_open } = limits;
        let limits =
            Limits { memory_bytes: memory_mb << 20, pids, cpu_percent: Some(cpu_percent), files_open, file_size_bytes: None };
        Self { mounts, calls, limits }
    }

    /// Mounts something more, after what is there.
    pub(crate) fn add(&mut self, mount: Mount) {
        self.mounts.push(mount);
    }

    /// What is mounted.
    #[must_use]
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// The single files that are bound: where each is found, and where it appears inside.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &Path)> {
        self.mounts.iter().filter_map(|mount| match mount {
            Mount::BindRo { source, target } => Some((source.as_path(), target.as_path())),
            Mount::Overlay { .. } | Mount::Tmpfs { .. } | Mount::File { .. } | Mount::Symlink { .. } => None,
        })
    }

    /// Which system calls may be made.
    #[must_use]
    pub const fn calls(&self) -> Calls {
        self.calls
    }

    /// What may be used.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// Names are resolved here, once; the jail refuses symbolic links.
fn bind(host: &Path, target: &Path) -> Result<Mount, ProfileError> {
    let source = host.canonicalize().map_err(|_| ProfileError::Library(host.display().to_string()))?;
    Ok(Mount::BindRo { source, target: target.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_profile_fits_this_host_and_shares_no_host_folder() {
        let profile = Profile::agent().expect("the shipped profile");
        for mount in profile.mounts() {
            if let Mount::BindRo { source, target } = mount {
                assert!(source.is_file() && source.is_absolute(), "{} is not a single file", target.display());
            }
        }
    }

    #[test]
    fn a_rule_without_a_reason_is_refused() {
        let text = include_str!("../../../profiles/agent.toml").replacen("reason = ", "because = ", 1);
        assert!(matches!(Profile::parse(&text), Err(ProfileError::Form(_))));
    }
}
