//! Runtimes: what an agent's sandbox holds and which command it begins with. The one for code is described by `profiles/code.toml`:
//! what its image is assembled from, and how a sandbox sees it.

use crate::claude::NATIVE_PACKAGE;
use crate::profile::{Folder, LimitsFile, Profile, ProfileError};
use crate::seal::Seal;
use crate::{AGENT, SandboxError};
use jail::{Calls, Mount};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the agent's executable appears inside, in every runtime.
pub(crate) const AGENT_INSIDE: &str = "/opt/agent/agent";
/// Where an app's own files appear inside.
const APP_INSIDE: &str = "/app";
/// Where Node looks for packages after a script's own: it holds the agent's executable under its package's name, so that the Agent
/// SDK finds the one that is pinned.
const NODE_PATH_INSIDE: &str = "/opt/agent/node_modules";

/// One way of starting agents. Sandboxes name it; what it is was said before any of them.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(crate) profile: Profile,
    /// The program, as a path inside, and its first arguments.
    pub(crate) command: Vec<String>,
    /// What every agent in it finds in its environment, whoever starts it.
    pub(crate) environment: BTreeMap<String, String>,
    /// What whoever starts one may tell it beside the usual variables.
    pub(crate) variables: Vec<String>,
    seal: Option<Seal>,
}

impl Runtime {
    /// The agent's executable alone.
    pub(crate) fn agent(profile: Profile) -> Self {
        Self { profile, command: vec![AGENT_INSIDE.to_owned()], environment: BTreeMap::new(), variables: Vec::new(), seal: None }
    }

    /// Whoever starts a program in it may also tell it this variable. The name is an operator's word, and none that a loader obeys.
    #[must_use]
    pub fn telling(mut self, variable: String) -> Self {
        self.variables.push(variable);
        self
    }

    /// Whether what was verified of it still is what it was.
    pub(crate) fn check(&self) -> Result<(), SandboxError> {
        let changed = self.seal.as_ref().and_then(Seal::changed);
        changed.map_or(Ok(()), |path| Err(SandboxError::RuntimeChanged { path: path.display().to_string() }))
    }
}

/// The runtimes of a driver, by name.
#[derive(Clone, Debug)]
pub(crate) struct Runtimes(BTreeMap<String, Runtime>);

impl Runtimes {
    pub(crate) fn new(agent: Profile) -> Self {
        Self(BTreeMap::from([(AGENT.to_owned(), Runtime::agent(agent))]))
    }

    pub(crate) fn add(&mut self, name: String, runtime: Runtime) {
        self.0.insert(name, runtime);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Runtime)> {
        self.0.iter()
    }

    /// Whether there is a runtime of this name, and it is what it was when it was verified.
    pub(crate) fn check(&self, name: &str) -> Result<(), SandboxError> {
        self.0.get(name).ok_or_else(|| SandboxError::RuntimeMissing(name.to_owned()))?.check()
    }
}

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
    fn profile(self, image: &Path) -> Result<Profile, ProfileError> {
        let source = image.join("usr").canonicalize().map_err(|_| ProfileError::Library(image.display().to_string()))?;
        let mut mounts = vec![Mount::BindRo { source, target: PathBuf::from("/usr") }];
        mounts.extend(
            ["bin", "lib", "lib64"]
                .map(|name| Mount::Symlink { target: Path::new("/").join(name), points_to: Path::new("usr").join(name) }),
        );
        Ok(Profile::with(mounts, Calls::Code, self.folder, self.limits))
    }

    /// The runtime of one app: the image with the app's files (a resolved folder) in it, begun with a command of absolute paths
    /// inside. It is started as long as the seal holds.
    ///
    /// # Errors
    /// [`ProfileError::Library`] when the image is not there.
    pub fn runtime(
        self,
        image: &Path,
        files: Option<PathBuf>,
        command: Vec<String>,
        seal: Option<Seal>,
    ) -> Result<Runtime, ProfileError> {
        let mut profile = self.profile(image)?;
        let found_as = Path::new(NODE_PATH_INSIDE).join(NATIVE_PACKAGE).join("claude");
        profile.add(Mount::Symlink { target: found_as, points_to: PathBuf::from(AGENT_INSIDE) });
        if let Some(source) = files {
            profile.add(Mount::BindRo { source, target: PathBuf::from(APP_INSIDE) });
        }
        let environment = [("PATH", "/usr/bin"), ("SHELL", "/bin/bash"), ("NODE_PATH", NODE_PATH_INSIDE)];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Ok(Runtime { profile, command, environment, variables: Vec::new(), seal })
    }
}
