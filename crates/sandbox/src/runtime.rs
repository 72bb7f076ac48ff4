//! `profiles/code.toml`: what the fuller runtime's image is assembled from, and how a sandbox sees it.

use crate::profile::{Folder, LimitsFile, Profile, ProfileError};
use jail::{Calls, Mount};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The runtime for agents that execute code.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRuntime {
    /// The copies together, at most.
    pub size_mb: u64,
    /// Programs by package.
    pub programs: Vec<Programs>,
    /// Folders.
    pub tree: Vec<Tree>,
    /// Links between them.
    pub link: Vec<Link>,
    folder: Vec<Folder>,
    limits: LimitsFile,
}

/// Programs of one package.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Programs {
    /// The Debian package to install when one is missing.
    pub package: String,
    /// Their names, without a folder.
    pub names: Vec<String>,
    #[serde(rename = "reason")]
    _reason: String,
}

/// A folder that is copied with everything in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// Where; a `*` at its end stands for the rest of the name.
    pub path: String,
    /// Names that are left out wherever they stand.
    pub without: Vec<String>,
    #[serde(rename = "reason")]
    _reason: String,
}

/// A symbolic link inside.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Where.
    pub path: PathBuf,
    /// To what, relative to it.
    pub points_to: PathBuf,
    #[serde(rename = "reason")]
    _reason: String,
}

impl CodeRuntime {
    /// The one that comes with the gateway.
    ///
    /// # Errors
    /// [`ProfileError::Form`].
    pub fn shipped() -> Result<Self, ProfileError> {
        Ok(toml::from_str(include_str!("../../../profiles/code.toml"))?)
    }

    /// How a sandbox sees an image: its `usr` read-only, the old names of its folders as links, and the writable folders.
    ///
    /// # Errors
    /// [`ProfileError::Library`] when the image is not there.
    pub fn profile(self, image: &Path) -> Result<Profile, ProfileError> {
        let source = image.join("usr").canonicalize().map_err(|_| ProfileError::Library(image.display().to_string()))?;
        let mut mounts = vec![Mount::BindRo { source, target: PathBuf::from("/usr") }];
        mounts.extend(
            ["bin", "lib", "lib64"]
                .map(|name| Mount::Symlink { target: Path::new("/").join(name), points_to: Path::new("usr").join(name) }),
        );
        Ok(Profile::with(mounts, Calls::Code, self.folder, self.limits))
    }
}
