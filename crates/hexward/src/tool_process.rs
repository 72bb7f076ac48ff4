//! Tool servers that are programs of the operator's: each process in a sandbox of its own, without a network, with what its manifest
//! says in its environment and nothing else.

use policy::SandboxId;
use proxy::mcp::credential::of_user;
use proxy::mcp::stdio::{Pipes, ProcessLife, Starter};
use sandbox::{AgentSpec, Driver, Life};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

/// Work that goes on elsewhere.
type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The runtime of an app's tool server, as drivers know it.
pub fn runtime_of(app: &str) -> String {
    format!("tools-{app}")
}

/// Whose secret the program finds in its environment.
pub enum ToolSecret {
    /// None.
    Nothing,
    /// One for all, in this variable.
    One(String, SecretString),
    /// That of the user whose process it is, from a folder of private files.
    OfUser(String, PathBuf),
}

/// Starts the program of one app's tool server.
pub struct JailedTools {
    /// How sandboxes are made.
    pub driver: Arc<dyn Driver>,
    /// The app.
    pub app: String,
    /// What it may know.
    pub secret: ToolSecret,
}

impl JailedTools {
    async fn environment(&self, user: Option<&str>) -> Result<BTreeMap<String, String>, String> {
        let mut environment = BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]);
        match (&self.secret, user) {
            (ToolSecret::Nothing, _) => {}
            (ToolSecret::One(variable, secret), _) => {
                environment.insert(variable.clone(), secret.expose_secret().to_owned());
            }
            (ToolSecret::OfUser(variable, folder), Some(user)) => {
                let secret = of_user(folder, user).await.map_err(|error| error.to_string())?;
                environment.insert(variable.clone(), secret.expose_secret().to_owned());
            }
            (ToolSecret::OfUser(..), None) => return Err("everybody's process has no user's secret".to_owned()),
        }
        Ok(environment)
    }

    async fn start(&self, user: Option<&str>) -> Result<Pipes, String> {
        let spec = AgentSpec {
            id: SandboxId::random(),
            runtime: runtime_of(&self.app),
            arguments: Vec::new(),
            environment: self.environment(user).await?,
            trusted_pem: String::new(),
            past: Vec::new(),
            model: String::new(),
            extra_ports: Vec::new(),
        };
        let id = spec.id;
        let started = self.driver.start(spec).await.map_err(|error| error.to_string())?;
        tracing::info!(sandbox = %id, app = self.app, "a tool server's program was started");
        // Whatever it dials is refused at once: nobody listens any more.
        drop(started.network);
        Ok(Pipes { stdin: Box::new(started.stdin), stdout: Box::new(started.stdout), life: Box::new(Jailed(started.life)) })
    }
}

impl Starter for JailedTools {
    fn start<'a>(&'a self, user: Option<&'a str>) -> Work<'a, Result<Pipes, String>> {
        Box::pin(Self::start(self, user))
    }
}

struct Jailed(Life);

impl ProcessLife for Jailed {
    fn end(self: Box<Self>) -> Work<'static, ()> {
        Box::pin(self.0.destroy())
    }
}
