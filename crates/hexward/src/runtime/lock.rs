//! The lock beside the runtime's files: what `hexward runtime-build` put there. A runtime that differs from it is not used.

use crate::pinned::{self, Image, Pins};
use anyhow::{Context, Result};
use sandbox::Seal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

const LOCK: &str = "runtime.lock";
const ENTRIES_MAX: usize = 25_000;

/// `runtime.lock`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    /// Paths below `usr`, and the SHA-256 of each.
    files: BTreeMap<String, String>,
    /// Symbolic links, and where they point to.
    links: BTreeMap<String, String>,
}

/// Pins what a folder holds now.
pub(super) fn write(folder: &Path) -> Result<()> {
    let (files, links) = image(&folder.join("usr")).pins()?;
    pinned::write_lock(&folder.join(LOCK), &Lock { files, links })
}

/// Compares a runtime with its lock.
///
/// # Errors
/// What differs, or that there is none, and what to do.
pub(crate) fn verify(folder: &Path) -> Result<Seal> {
    let path = folder.join(LOCK);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "there is no runtime for code in {}: run `hexward runtime-build`, or point agent.runtime at one",
            folder.display()
        )
    })?;
    let Lock { files, links } =
        toml::from_str(&text).with_context(|| format!("{} is damaged: run `hexward runtime-build`", path.display()))?;
    image(&folder.join("usr")).verify(Pins { files: &files, links: &links })
}

fn image(folder: &Path) -> Image<'_> {
    Image { folder, name: "the runtime for code", command: "hexward runtime-build", entries_max: ENTRIES_MAX }
}
