//! `[[apps]]`: what the agent is for, beside the apps that come with the gateway. Each is a folder with a manifest.

use super::{Environment, Faults};
use crate::app_files;
use policy::{Manifest, McpServer, RuntimeKind, SecretKind};
use sandbox::Mode;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The app that is there without being named.
pub(super) const BUILTIN: &str = hexmap::APP;
/// The manifests of those that come with the gateway. Their ids are taken, whether or not they are switched on.
const BUILTINS: [(&str, &str); 2] = [(hexmap::APP, hexmap::MANIFEST), (magic::APP, magic::MANIFEST)];

/// One `[[apps]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppFile {
    path: PathBuf,
    credential_env: Option<String>,
    user_secrets: Option<PathBuf>,
}

/// `[magic]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MagicFile {
    /// Left out, a demo has the Magic assistant and a gateway has not.
    pub(super) enabled: Option<bool>,
}

/// A checked app.
#[derive(Clone)]
pub struct AppFolder {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its system prompt; a command of the app's own may do without.
    pub prompt: String,
    /// Its own files, resolved.
    pub files: Option<PathBuf>,
    /// What the gateway shows its tools' server.
    pub credential: Option<SecretString>,
    /// What else its tools' server needs.
    pub extras: ToolExtras,
}

/// What some tool servers need beside a credential.
#[derive(Clone, Debug, Default)]
pub struct ToolExtras {
    /// The files of one that is a program, resolved.
    pub tool_files: Option<PathBuf>,
    /// A folder with a secret for each user.
    pub user_secrets: Option<PathBuf>,
}

/// Reads all apps' folders.
pub(super) fn read(files: &[AppFile], environment: &Environment, mode: Mode, faults: &mut Faults) -> Vec<AppFolder> {
    let mut apps: Vec<AppFolder> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let place = format!("apps[{}]", at + 1);
        match AppFolder::read(&file.path, mode) {
            Ok(app) if is_builtin(&app.manifest.id) || apps.iter().any(|other| other.manifest.id == app.manifest.id) => {
                faults.add(&place, &format!("there is another app called {:?}: give this one another id", app.manifest.id));
            }
            Ok(app) => {
                let credential = credential(&app.manifest, file, environment, &place, faults);
                let extras = ToolExtras { user_secrets: file.user_secrets.clone(), ..app.extras };
                apps.push(AppFolder { credential, extras, ..app });
            }
            Err(fault) => faults.add(&place, &fault),
        }
    }
    apps
}

/// Reads the apps of a configuration, and nothing else of it.
///
/// # Errors
/// All faults at once.
pub(crate) fn load(file: Option<&Path>, environment: &Environment) -> Result<Vec<AppFolder>, Faults> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let mut faults = Faults::default();
    let apps = read(&super::read_file(Some(file))?.apps, environment, Mode::Native, &mut faults);
    if faults.is_empty() { Ok(apps) } else { Err(faults) }
}

fn is_builtin(id: &str) -> bool {
    BUILTINS.iter().any(|(builtin, _)| *builtin == id)
}

/// The ids and models of all apps, the built-in ones' first.
pub(super) fn models(files: &[AppFile], faults: &mut Faults) -> Vec<(String, String)> {
    let of = |manifest: Manifest| (manifest.id, manifest.agent.model);
    let mut models: Vec<_> = BUILTINS.iter().filter_map(|(_, manifest)| Manifest::parse(manifest).ok()).map(of).collect();
    for (at, file) in files.iter().enumerate() {
        match AppFolder::read(&file.path, Mode::Native) {
            Ok(app) => models.push(of(app.manifest)),
            Err(fault) => faults.add(&format!("apps[{}]", at + 1), &fault),
        }
    }
    models
}

/// Whether there is an app of this id.
pub(crate) fn is_there(apps: &[AppFolder], magic: bool, id: &str) -> bool {
    id == BUILTIN || magic && id == magic::APP || apps.iter().any(|app| app.manifest.id == id)
}

impl AppFolder {
    /// Reads and checks an app's folder, but for what depends on the runtime's image. The text says what is wrong.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub fn read(path: &Path, mode: Mode) -> Result<Self, String> {
        let text = |name: &str| {
            let path = path.join(name);
            std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let manifest = Manifest::parse(&text("app.toml")?).map_err(|error| error.to_string())?;
        if manifest.mcp.as_ref().is_some_and(|mcp| mcp.server == McpServer::Builtin) {
            return Err(
                "mcp.server can't be \"builtin\": only what comes with the gateway has such a server. Give an address".to_owned()
            );
        }
        let is_code = manifest.agent.runtime == RuntimeKind::Code;
        if is_code && mode == Mode::Direct {
            return Err("agent.runtime = \"code\" needs the sandbox: remove USE_SANDBOX=false, or this app".to_owned());
        }
        let is_program = manifest.mcp.as_ref().is_some_and(|mcp| mcp.server == McpServer::Stdio);
        if is_program && mode == Mode::Direct {
            return Err("mcp.server = \"stdio\" needs the sandbox: remove USE_SANDBOX=false, or this app".to_owned());
        }
        let tool_files = manifest.mcp.as_ref().and_then(|mcp| mcp.files.as_ref());
        let tool_files = tool_files.map(|files| app_files::check(&path.join(files))).transpose()?;
        let prompt = if is_code && !path.join("prompt.md").exists() { String::new() } else { text("prompt.md")? };
        let files = manifest.agent.files.as_ref().map(|files| app_files::check(&path.join(files))).transpose()?;
        let extras = ToolExtras { tool_files, user_secrets: None };
        Ok(Self { manifest, prompt, files, credential: None, extras })
    }
}

/// A server elsewhere does nothing without a credential, so there must be one; without a server nothing is shown to anybody.
fn credential(
    manifest: &Manifest,
    file: &AppFile,
    environment: &Environment,
    place: &str,
    faults: &mut Faults,
) -> Option<SecretString> {
    let Some(mcp) = &manifest.mcp else {
        for (key, said) in [("credential_env", file.credential_env.is_some()), ("user_secrets", file.user_secrets.is_some())] {
            if said {
                faults.add(place, &format!("{key} is for an app with an [mcp] server; remove it"));
            }
        }
        return None;
    };
    // A program of its own is given a secret only where the manifest says in which variable.
    let wanted = mcp.server != McpServer::Stdio || mcp.credential.variable.is_some();
    match (mcp.credential.secret, wanted, &file.credential_env, &file.user_secrets) {
        (_, false, None, None) => None,
        (_, false, _, _) => {
            faults.add(place, "mcp.credential.variable must say where the server's program finds its secret; or remove it here");
            None
        }
        (SecretKind::One, true, Some(name), None) => {
            let secret = environment.secret(name);
            if secret.is_none() {
                faults.add(name, &format!("is not set, but {place}.credential_env names it"));
            }
            secret
        }
        (SecretKind::One, true, _, _) => {
            faults.add(place, "credential_env must name the variable with the credential for the app's server, and nothing else");
            None
        }
        (SecretKind::User, true, None, Some(folder)) => {
            if !folder.is_dir() {
                faults.add(place, &format!("user_secrets: {} is not a folder", folder.display()));
            }
            None
        }
        (SecretKind::User, true, _, _) => {
            faults.add(
                place,
                "user_secrets must name the folder with a secret for each user, and credential_env must not be there",
            );
            None
        }
    }
}

/// What is for fixtures of tests is for no real deployment.
pub(super) fn refuse_fixtures(apps: &[AppFolder], production: bool, faults: &mut Faults) {
    for app in apps.iter().filter(|app| production && app.manifest.is_fixture()) {
        let text = format!(
            "{}: mcp.danger_without_provenance is for fixtures of tests, never for production; remove it",
            app.manifest.id
        );
        faults.add("apps", &text);
    }
}
