//! Configured apps, made ready: the way to their tools, and the runtime of each that brings a command of its own.

use crate::config::{AppFolder, Config};
use crate::gateway::{TOOL_RESULT_BYTES_MAX, TOOL_WAIT};
use crate::runtime;
use anyhow::{Context, Result, bail};
use policy::{McpServer, RuntimeKind};
use proxy::App;
use proxy::mcp::upstream::{McpUpstream, UpstreamConfig};
use runs::RunApp;
use sandbox::{CodeRuntime, JailedDriver};
use std::path::Path;
use std::sync::Arc;

/// Where an app's files and the runtime's programs appear inside.
const APP: &str = "/app";
const PROGRAMS: &str = "/usr/bin";

/// An app as runs need it. Nothing is asked of its server yet.
pub fn connect(folder: AppFolder) -> Result<RunApp> {
    let AppFolder { manifest, prompt, credential, .. } = folder;
    let upstream = match (manifest.mcp.as_ref().map(|mcp| &mcp.server), credential) {
        (Some(McpServer::Url(url)), Some(credential)) => {
            let url = url.parse().with_context(|| format!("app {}: {url} is not an address", manifest.id))?;
            let (timeout, result_bytes_max) = (TOOL_WAIT, TOOL_RESULT_BYTES_MAX);
            Some(McpUpstream::new(UpstreamConfig { url, credential, timeout, result_bytes_max })?)
        }
        (Some(McpServer::Url(_) | McpServer::Builtin), _) => bail!("app {}: its server has no credential", manifest.id),
        (None, _) => None,
    };
    Ok(RunApp { app: Arc::new(App { manifest, upstream: upstream.map(Arc::new) }), prompt })
}

/// The driver with a runtime for each app that brings a command.
pub fn with_runtimes(mut driver: JailedDriver, config: &Config) -> Result<JailedDriver> {
    let image = &config.runtime_path;
    let with_code: Vec<_> = config.apps.iter().filter(|folder| folder.manifest.agent.runtime == RuntimeKind::Code).collect();
    let Some(first) = with_code.first() else { return Ok(driver) };
    let seal = runtime::verify(image).with_context(|| format!("app {}: agent.runtime", first.manifest.id))?;
    for folder in with_code {
        let command = command(folder, image).with_context(|| format!("app {}: agent.command", folder.manifest.id))?;
        let runtime = CodeRuntime::shipped()?.runtime(image, folder.files.clone(), command, Some(seal.clone()))?;
        driver = driver.with(folder.manifest.runtime(), runtime);
    }
    Ok(driver)
}

/// The command with the program's path inside, which must be there and executable.
fn command(folder: &AppFolder, image: &Path) -> Result<Vec<String>> {
    let mut words = folder.manifest.agent.command.clone();
    let program = words.first_mut().context("is empty")?;
    if !program.starts_with('/') {
        *program = format!("{PROGRAMS}/{program}");
    }
    let inside = Path::new(program.as_str());
    let at = match (inside.strip_prefix(APP), &folder.files) {
        (Ok(_), None) => bail!("{program} is one of the app's files, but agent.files names no folder"),
        (Ok(file), Some(files)) => files.join(file),
        (Err(_), _) => image.join(inside.strip_prefix("/").unwrap_or(inside)),
    };
    let meta = std::fs::metadata(&at);
    let is_executable =
        |meta: std::fs::Metadata| meta.is_file() && std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o001 != 0;
    if !meta.is_ok_and(is_executable) {
        bail!("{program} is not a program: {} is missing or not executable for everybody", at.display());
    }
    Ok(words)
}
