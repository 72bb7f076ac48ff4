//! Anthropic's sandbox-runtime around the probe: a Node program that starts bubblewrap, a filter and two proxies.

use anyhow::{Context, Result, bail};
use serde_json::json;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Where `scripts/setup.sh peers` puts it.
pub(crate) const SANDBOX_RUNTIME: &str = ".hexward/tools/srt/node_modules/@anthropic-ai/sandbox-runtime/dist/cli.js";
/// What it starts, or is started with.
const NEEDED: &[&str] = &["node", "bwrap", "socat", "rg"];
/// What of the host the probe and a shell need to run. Reading everything else is denied, which is more than its own defaults
/// do: they let the whole host be read.
const READABLE: &[&str] = &["/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache"];

/// Whether it and all it needs are there. Without a part it would start nothing, and every attack would be held.
pub(super) fn check(program: &Path) -> Result<()> {
    let path = path();
    let is_there = |name: &&&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let mut missing: Vec<String> = NEEDED.iter().filter(|name| !is_there(name)).map(|&name| name.to_owned()).collect();
    if !program.is_file() {
        missing.push(program.display().to_string());
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "sandbox-runtime can't be started, because this is missing: {}. `scripts/setup.sh peers` installs it",
        missing.join(", ")
    )
}

/// The probe in it, with a folder to write to and no host to reach.
pub(super) fn command(program: &Path, stage: &Path, probe: &Path) -> Result<Command> {
    let real = |path: &Path| path.canonicalize().with_context(|| format!("{} is not there", path.display()));
    let (program, probe) = (real(program)?, real(probe)?);
    let helpers = program.ancestors().nth(2).context("not an installed sandbox-runtime")?.join("vendor");
    let work = stage.join("work");
    std::fs::create_dir_all(&work)?;
    let mut readable: Vec<PathBuf> = READABLE.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
    readable.extend([helpers, probe.clone()]);
    let settings = json!({
        "network": {"allowedDomains": [], "deniedDomains": []},
        "filesystem": {"denyRead": ["/"], "allowRead": readable, "allowWrite": [&work], "denyWrite": []},
    });
    let file = stage.join("srt.json");
    std::fs::write(&file, settings.to_string())?;
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644))?;
    let probe = probe.to_str().filter(|path| !path.contains('\'')).context("the probe's own path can't be written in a shell")?;
    let mut command = Command::new("node");
    command.arg(program).arg("--settings").arg(file).args(["-c", &format!("exec '{probe}'")]);
    command.current_dir(&work).env_clear().env("PATH", path()).env("HOME", &work);
    Ok(command)
}

#[expect(clippy::disallowed_methods, reason = "where Node and the other programs are is this machine's affair")]
fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}
