//! The example app whose agent is a script on the Agent SDK, and the runtime that it needs.

use crate::places;
use hexward::config::AppFolder;
use sandbox::Mode;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A copy of `docs/examples/code-agent` as its operator has it after `npm ci`: with the SDK, which this repository may not hold.
pub struct CodeApp(TempDir);

impl CodeApp {
    /// Makes one.
    ///
    /// # Panics
    /// When the SDK is missing: a test that needs it must not pass without it.
    #[must_use]
    pub fn new() -> Self {
        let sdk = places::repository().join(".hexward/sdk/node_modules");
        assert!(sdk.is_dir(), "{} is missing: run `scripts/setup.sh test`", sdk.display());
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        copy(&places::repository().join("docs/examples/code-agent/."), folder.path());
        // Whoever tried the example has another one there.
        let modules = folder.path().join("agent/node_modules");
        let _ = std::fs::remove_dir_all(&modules);
        copy(&sdk, &modules);
        let open = Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(folder.path()).status().unwrap();
        assert!(open.success());
        Self(folder)
    }

    /// The app's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The app, checked.
    #[must_use]
    pub fn read(&self) -> AppFolder {
        AppFolder::read(self.path(), Mode::Native).unwrap()
    }
}

impl Default for CodeApp {
    fn default() -> Self {
        Self::new()
    }
}

/// The runtime for code, built once for all tests of this process.
pub fn code_runtime() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let image = places::repository().join(".hexward/runtime/tests");
            let built = Command::new(places::hexward()).args(["runtime-build", "--folder"]).arg(&image).output().unwrap();
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            image
        })
        .clone()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-R", "--reflink=auto"]).arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{} could not be copied", from.display());
}
