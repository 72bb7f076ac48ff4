//! Where the programs under test are.

use std::path::{Path, PathBuf};

/// The real agent, as `hexward agent install` leaves it.
///
/// # Panics
/// When it is missing: a test that needs it must not pass without it.
#[must_use]
pub fn agent() -> PathBuf {
    let path = agent_folder().join(hexward::CURRENT_EXECUTABLE);
    assert!(path.is_file(), "{} is missing, and the tests need the real agent: run `hexward agent install`", path.display());
    path
}

/// Where agents are installed.
#[must_use]
pub fn agent_folder() -> PathBuf {
    repository().join(".hexward/agent")
}

/// `hexward-jail`, built from this tree.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn jail() -> PathBuf {
    built("hexward-jail", "jail")
}

/// The `hexward` program, built from this tree.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn hexward() -> PathBuf {
    built("hexward", "hexward")
}

/// The program that stands in for an agent gone bad.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn probe() -> PathBuf {
    built("probe", "gate-tests")
}

/// One that speaks before it is spoken to.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn chatterer() -> PathBuf {
    built("chatterer", "gate-tests")
}

/// The attacks of `hexward redteam`, built from this tree.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn red_probe() -> PathBuf {
    built("hexward-probe", "jail")
}

/// The repository's folder.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package stands in the repository").to_owned()
}

/// Programs stand beside the folder of test programs.
fn built(name: &str, package: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let folder = own.parent().and_then(Path::parent).expect("test programs stand in target/*/deps");
    let path = folder.join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build -p {package}` first, as `make test` does", path.display());
    path
}
