//! What every way of running an agent has in common.

use crate::checking::Checker;
use crate::error::SandboxError;
use crate::transcript::PastMessage;
use futures_util::future::BoxFuture;
use jail::{Check, Checked, Usage};
use policy::{Endpoint, SandboxId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// One agent to be started.
#[derive(Clone, Debug)]
pub struct AgentSpec {
    /// The sandbox's id.
    pub id: SandboxId,
    /// The name of the runtime it is started in: [`crate::AGENT`], or one that the driver was given.
    pub runtime: String,
    /// Arguments after the runtime's command.
    pub arguments: Vec<String>,
    /// The whole environment but for what the driver itself must say (home, certificates). Nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// The certificate the agent shall trust, as PEM.
    pub trusted_pem: String,
    /// What was said before the agent was there.
    pub past: Vec<PastMessage>,
    /// The model it was said with.
    pub model: String,
    /// TCP ports beside 80 and 443 that shall be captured; all others refuse.
    pub extra_ports: Vec<u16>,
}

/// What captures a sandbox's network: created inside its namespace, owned here. Which of them accepted is the identity.
#[derive(Debug)]
pub struct Listeners {
    /// TCP 80.
    pub http: std::net::TcpListener,
    /// TCP 443.
    pub tls: std::net::TcpListener,
    /// UDP 53.
    pub dns_udp: std::net::UdpSocket,
    /// TCP 53.
    pub dns_tcp: std::net::TcpListener,
    /// The further ports that were asked for, in their order.
    pub extra: Vec<std::net::TcpListener>,
}

/// Where everything that an agent connects to arrives.
#[derive(Debug)]
pub enum Network {
    /// In a network namespace of its own: whatever it dials.
    Captured(Listeners),
    /// At sockets of its own, one for each name and port, to which a hook in Node leads it.
    Hooked(Vec<HookedListener>),
}

/// One socket that only this agent is told of, in a folder that only its user can enter.
#[derive(Debug)]
pub struct HookedListener {
    /// Accepts.
    pub listener: std::os::unix::net::UnixListener,
    /// What is wanted of whoever connects here.
    pub endpoint: Endpoint,
}

/// How an agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// In words: an exit code, a signal, out of memory.
    pub reason: String,
    /// The last it said on standard error, for the operator's log.
    pub stderr_tail: String,
    /// What it had used in the end.
    pub usage: Usage,
}

/// A running agent with everything that belongs to it.
#[derive(Debug)]
pub struct Sandbox {
    /// Its id.
    pub id: SandboxId,
    /// Its network.
    pub network: Network,
    /// Its standard input.
    pub stdin: pipe::Sender,
    /// Its standard output: untrusted display.
    pub stdout: pipe::Receiver,
    /// Rules that this host could not enforce, in sentences. Empty is the wanted state.
    pub downgrades: Vec<String>,
    /// How long the sandbox took to build, until its program was executed.
    pub setup_us: u64,
    /// Where its program began to work, as it sees it.
    pub cwd: PathBuf,
    /// Its first process, as the host counts.
    pub init_pid: u32,
    /// What keeps it alive.
    pub life: Life,
}

/// Keeps a sandbox alive. Dropping it destroys the sandbox with everything in it.
#[derive(Debug)]
pub struct Life {
    pub(crate) exit: watch::Receiver<Option<Exit>>,
    pub(crate) gone: CancellationToken,
    pub(crate) kill: CancellationToken,
    pub(crate) meter: Meter,
    pub(crate) checker: Checker,
}

/// Asks what a sandbox has used. Its answers come from outside of the sandbox.
#[derive(Clone, Debug)]
pub struct Meter(pub(crate) mpsc::Sender<oneshot::Sender<Usage>>);

impl Meter {
    /// What it has used since it was made; none when it has ended.
    pub async fn read(&self) -> Option<Usage> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.ok()?;
        answered.await.ok()
    }
}

/// Waits for the end of a sandbox without keeping it alive.
#[derive(Clone, Debug)]
pub struct Ending {
    exit: watch::Receiver<Option<Exit>>,
    gone: CancellationToken,
}

impl Life {
    /// Something to wait with.
    #[must_use]
    pub fn ending(&self) -> Ending {
        Ending { exit: self.exit.clone(), gone: self.gone.clone() }
    }

    /// Something to ask with what it uses.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Tries the sandbox's network from inside, past the agent; the caller judges what came back.
    ///
    /// # Errors
    /// When the sandbox does not say within two seconds; then it is not to be trusted any more.
    pub async fn check(&self, check: Check) -> Result<Checked, SandboxError> {
        self.checker.check(check).await
    }

    /// Destroys the sandbox and waits until processes, mounts, control groups and files are gone.
    pub async fn destroy(self) {
        let gone = self.gone.clone();
        drop(self);
        gone.cancelled().await;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

impl Ending {
    /// Waits until the agent ended by itself or was killed.
    pub async fn exited(&mut self) -> Exit {
        let unknown =
            || Exit { reason: "its supervisor is gone".to_owned(), stderr_tail: String::new(), usage: Usage::default() };
        match self.exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or_else(unknown),
            Err(_) => unknown(),
        }
    }

    /// Waits until nothing of the sandbox is left.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

/// A way of running agents. What it can't enforce is an error or stands in [`Sandbox::downgrades`], never silence.
pub trait Driver: Send + Sync {
    /// `native`, `direct` ...
    fn name(&self) -> &'static str;

    /// Whether strangers may be let in: files, processes and network of the host out of reach.
    fn confines(&self) -> bool;

    /// Checks what can be checked before the first agent is started.
    ///
    /// # Errors
    /// [`SandboxError`] saying what is missing.
    fn check(&self) -> Result<(), SandboxError>;

    /// Waits until what agents are started from was verified. [`Driver::start`] waits by itself.
    ///
    /// # Errors
    /// [`SandboxError`] saying what differs and what to do.
    fn verified(&self) -> BoxFuture<'_, Result<(), SandboxError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Starts an agent.
    ///
    /// # Errors
    /// [`SandboxError`]; then nothing is left behind.
    fn start(&self, spec: AgentSpec) -> BoxFuture<'_, Result<Sandbox, SandboxError>>;
}
