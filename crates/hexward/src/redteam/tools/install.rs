//! The benchmark's package: installed from its own index at the versions that stand here, into a folder of its own, by whoever
//! asks for the suite. Nothing of it is part of this program.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use tokio::process::Command;

const REQUIREMENTS: &str = include_str!("dojo/requirements.txt");
const SYSTEM_PYTHON: &str = "python3";

/// Its Python, installed where it is not there yet.
pub(super) async fn python(folder: &Path) -> Result<PathBuf> {
    let (stamp, program) = (folder.join("stamp"), folder.join("bin/python"));
    let is_there = std::fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == REQUIREMENTS) && program.is_file();
    if !is_there {
        tracing::info!(folder = %folder.display(), "installing AgentDojo");
        install(folder, &program).await?;
        std::fs::write(&stamp, REQUIREMENTS)?;
    }
    folder.canonicalize().map(|folder| folder.join("bin/python")).with_context(|| format!("{} is not there", folder.display()))
}

async fn install(folder: &Path, program: &Path) -> Result<()> {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("{} can't be made anew", folder.display()));
    }
    std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let listed = folder.join("requirements.txt");
    std::fs::write(&listed, REQUIREMENTS)?;
    let environment = Command::new(SYSTEM_PYTHON).args(["-m", "venv"]).arg(folder).output().await;
    let environment = environment.with_context(|| format!("{SYSTEM_PYTHON} can't be started; install Python 3.10 or newer"))?;
    if !environment.status.success() {
        bail!("{SYSTEM_PYTHON} could not make an environment (Debian: python3-venv): {}", last_words(&environment.stdout));
    }
    // Without what the packages ask for: the list is whole, and the clients of models that one of them names are not needed.
    let mut pip = Command::new(program);
    pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "-r"])
        .arg(&listed);
    let installed = pip.output().await.context("pip can't be started")?;
    if !installed.status.success() {
        bail!("AgentDojo could not be installed, so nothing was tried. pip says: {}", last_words(&installed.stderr));
    }
    Ok(())
}

fn last_words(said: &[u8]) -> String {
    String::from_utf8_lossy(said).lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing").to_owned()
}
