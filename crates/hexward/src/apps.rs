//! Configured apps, made ready: the way to their tools, and the runtime of each that brings a command of its own.

use crate::config::{AppFolder, Config};
use crate::gateway::{TOOL_RESULT_BYTES_MAX, TOOL_WAIT};
use crate::tool_process::{JailedTools, ToolSecret, runtime_of};
use crate::{runtime, secrets};
use anyhow::{Context, Result, bail};
use policy::{Clock, McpManifest, McpServer, ProcessKind, RuntimeKind, SecretKind};
use proxy::App;
use proxy::mcp::assertion::{AssertionKey, Assertions};
use proxy::mcp::credential::{Credential, Secret};
use proxy::mcp::stdio::StdioConfig;
use proxy::mcp::upstream::{McpUpstream, UpstreamConfig};
use runs::RunApp;
use sandbox::{CodeRuntime, Driver, JailedDriver, Runtime};
use secrecy::SecretString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Where an app's files and the runtime's programs appear inside.
const APP: &str = "/app";
const PROGRAMS: &str = "/usr/bin";
/// The key that assertions are signed with, and what servers check them with.
const ASSERTION_KEY: &str = "assertion-key";
const ASSERTION_PUBLIC: &str = "assertion-keys.json";

/// What apps are connected with.
pub struct Site<'g> {
    /// How sandboxes are made; none where none are.
    pub driver: Option<&'g Arc<dyn Driver>>,
    /// The clock.
    pub clock: &'g Arc<dyn Clock>,
    /// Where secrets are kept.
    pub state_dir: &'g Path,
}

/// An app as runs need it. Nothing is asked of its server yet, and nothing is started.
pub fn connect(folder: AppFolder, site: &Site<'_>) -> Result<RunApp> {
    let AppFolder { manifest, prompt, credential, extras, .. } = folder;
    let (id, users) = (manifest.id.clone(), extras.user_secrets);
    let upstream = match manifest.mcp.as_ref().map(|mcp| (mcp, &mcp.server)) {
        None => None,
        Some((mcp, McpServer::Url(url))) => {
            Some(over_http(mcp, url, credential, users, site).with_context(|| format!("app {id}"))?)
        }
        Some((mcp, McpServer::Stdio)) => {
            let driver = site
                .driver
                .with_context(|| format!("app {id}: its tool server is a program, and only a running gateway starts it"))?;
            Some(over_stdio(mcp, &id, credential, users, driver))
        }
        Some((_, McpServer::Builtin)) => bail!("app {id}: its server does not come with the gateway"),
    };
    if manifest.is_fixture() {
        tracing::warn!(app = id, "DANGER: this app is a fixture (danger_without_provenance); never let people use it");
    }
    Ok(RunApp { app: Arc::new(App { manifest, upstream: upstream.map(Arc::new) }), prompt })
}

fn over_http(
    mcp: &McpManifest,
    url: &str,
    credential: Option<SecretString>,
    users: Option<PathBuf>,
    site: &Site<'_>,
) -> Result<McpUpstream> {
    let shown = &mcp.credential;
    let secret = match (shown.secret, credential, users) {
        (SecretKind::User, _, Some(folder)) => Secret::OfUser(folder),
        (SecretKind::One, Some(secret), _) => Secret::One(secret),
        (SecretKind::User | SecretKind::One, _, _) => bail!("its server has no credential"),
    };
    let url = url.parse().with_context(|| format!("{url} is not an address"))?;
    let config = UpstreamConfig {
        url,
        credential: SecretString::from(String::new()),
        timeout: TOOL_WAIT,
        result_bytes_max: TOOL_RESULT_BYTES_MAX,
    };
    let upstream = McpUpstream::new(config)?.with_credential(Credential::new(&shown.header, &shown.template, secret)?);
    let Some(audience) = &shown.assertion_for else { return Ok(upstream) };
    let key = assertion_key(site.state_dir)?;
    Ok(upstream.with_assertions(Assertions::new(key, audience.clone(), Arc::clone(site.clock))))
}

fn over_stdio(
    mcp: &McpManifest,
    app: &str,
    credential: Option<SecretString>,
    users: Option<PathBuf>,
    driver: &Arc<dyn Driver>,
) -> McpUpstream {
    let secret = match (mcp.credential.variable.clone(), mcp.credential.secret, credential, users) {
        (Some(variable), SecretKind::One, Some(secret), _) => ToolSecret::One(variable, secret),
        (Some(variable), SecretKind::User, _, Some(folder)) => ToolSecret::OfUser(variable, folder),
        _ => ToolSecret::Nothing,
    };
    let starter = JailedTools { driver: Arc::clone(driver), app: app.to_owned(), secret };
    McpUpstream::over_stdio(StdioConfig {
        starter: Arc::new(starter),
        runtime: Handle::current(),
        shared: mcp.process == ProcessKind::Shared,
        timeout: TOOL_WAIT,
        result_bytes_max: TOOL_RESULT_BYTES_MAX,
    })
}

/// Made once and kept; what servers check with stands beside it, for whoever may read this folder.
fn assertion_key(state_dir: &Path) -> Result<AssertionKey> {
    let kept = secrets::kept(&state_dir.join(ASSERTION_KEY), || Ok(AssertionKey::generate()?))?;
    let key = AssertionKey::read(&kept)?;
    let public = state_dir.join(ASSERTION_PUBLIC);
    std::fs::write(&public, format!("{:#}\n", key.public())).with_context(|| format!("{} can't be written", public.display()))?;
    Ok(key)
}

/// The driver with a runtime for each app that brings a command.
pub fn with_runtimes(mut driver: JailedDriver, config: &Config) -> Result<JailedDriver> {
    let image = &config.runtime_path;
    let programs: Vec<Program<'_>> = config.apps.iter().flat_map(Program::of).collect();
    let Some(first) = programs.first() else { return Ok(driver) };
    let seal = runtime::verify(image).with_context(|| format!("app {}: {}", first.app, first.key))?;
    for program in programs {
        let command = program.command(image).with_context(|| format!("app {}: {}", program.app, program.key))?;
        let runtime = CodeRuntime::shipped()?.runtime(image, program.files.cloned(), command, Some(seal.clone()))?;
        let runtime = program.variable.cloned().into_iter().fold(runtime, Runtime::telling);
        driver = driver.with(program.runtime, runtime);
    }
    Ok(driver)
}

/// A program that an app brings: its agent's, or its tool server's.
struct Program<'f> {
    app: &'f str,
    key: &'static str,
    runtime: String,
    words: &'f [String],
    files: Option<&'f PathBuf>,
    variable: Option<&'f String>,
}

impl<'f> Program<'f> {
    fn of(folder: &'f AppFolder) -> Vec<Self> {
        let (manifest, app) = (&folder.manifest, folder.manifest.id.as_str());
        let agent = (manifest.agent.runtime == RuntimeKind::Code).then(|| Program {
            app,
            key: "agent.command",
            runtime: manifest.runtime(),
            words: &manifest.agent.command,
            files: folder.files.as_ref(),
            variable: None,
        });
        let tools = manifest.mcp.as_ref().filter(|mcp| mcp.server == McpServer::Stdio).map(|mcp| Program {
            app,
            key: "mcp.command",
            runtime: runtime_of(app),
            words: &mcp.command,
            files: folder.extras.tool_files.as_ref(),
            variable: mcp.credential.variable.as_ref(),
        });
        agent.into_iter().chain(tools).collect()
    }

    /// The command with the program's path inside, which must be there and executable.
    fn command(&self, image: &Path) -> Result<Vec<String>> {
        let mut words = self.words.to_vec();
        let program = words.first_mut().context("is empty")?;
        if !program.starts_with('/') {
            *program = format!("{PROGRAMS}/{program}");
        }
        let inside = Path::new(program.as_str());
        let at = match (inside.strip_prefix(APP), self.files) {
            (Ok(_), None) => {
                bail!("{program} is one of the app's files, but {} names no folder", self.key.replace("command", "files"))
            }
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
}
