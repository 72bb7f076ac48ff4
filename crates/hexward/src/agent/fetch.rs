//! Gets the agent's package: through npm, without running its scripts, or from a folder where somebody unpacked it.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The package is large; a slow line gets this long.
const NPM_WAIT: Duration = Duration::from_secs(15 * 60);
/// What of npm's complaint is passed on.
const COMPLAINT_CHARS_MAX: usize = 600;
const VERSION_CHARS_MAX: usize = 64;

/// The package of this machine's agent.
pub const PACKAGE: &str = sandbox::NATIVE_PACKAGE;

/// A version as it may stand in a path and behind `@`: no range, no tag, no address.
pub fn check_version(version: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let dots = version.split('-').next().unwrap_or_default().split('.').filter(|part| !part.is_empty()).count();
    if version.len() > VERSION_CHARS_MAX
        || dots != 3
        || !version.starts_with(|first: char| first.is_ascii_digit())
        || !version.bytes().all(plain)
    {
        bail!("{version:?} is not a version of the agent; give one like 0.3.330");
    }
    Ok(())
}

/// Installs the package below `into` and returns its folder.
pub async fn from_npm(into: &Path, version: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(into).with_context(|| format!("{} can't be made", into.display()))?;
    let mut command = Command::new("npm");
    command.arg("install").arg("--prefix").arg(into);
    command
        .args(["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .arg(format!("{PACKAGE}@{version}"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(NPM_WAIT, command.output()).await {
        Err(_) => bail!(
            "npm did not get {PACKAGE} {version} within {} minutes: try again when the network is better",
            NPM_WAIT.as_secs() / 60
        ),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => bail!(
            "npm is not installed, and the agent comes from its npm package. Install npm, or unpack the package \
             {PACKAGE} {version} elsewhere and give its folder with --package"
        ),
        Ok(output) => output.context("npm can't be started")?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(COMPLAINT_CHARS_MAX).collect();
        bail!("npm could not get {PACKAGE} {version} (is the network there, and does this version exist?): {said}");
    }
    Ok(into.join("node_modules").join(PACKAGE))
}

/// The executable of an unpacked package, which must be of this version.
pub fn executable(package: &Path, version: &str) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Description {
        name: String,
        version: String,
    }
    let path = package.join("package.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} can't be read: this is no unpacked package", path.display()))?;
    let found: Description = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    if (found.name.as_str(), found.version.as_str()) != (PACKAGE, version) {
        bail!("{} holds {} {}, not {PACKAGE} {version}", package.display(), found.name, found.version);
    }
    Ok(package.join("claude"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_one_version() {
        for good in ["0.3.330", "1.0.0", "2.1.0-beta.1"] {
            check_version(good).expect(good);
        }
        for bad in [
            "",
            "latest",
            "^0.3.330",
            "0.3",
            "../../x",
            "0.3.330/..",
            "0.3.330 --registry=x",
            "0.3.x y",
            "file:a.b.c",
            "0..1.2.3/",
        ] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }
}
