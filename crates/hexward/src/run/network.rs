//! The network of one command: captured as every sandbox's is, and everything refused but the hosts that its developer allowed.

use crate::clock::SystemClock;
use crate::say::say;
use crate::secrets;
use anyhow::{Context, Result};
use policy::{Denial, Manifest, Microusd, RunId, SandboxId, Timestamp, UserId};
use proxy::egress::{Hosts, RefusedPorts, SandboxCa, serve_sandbox};
use proxy::mcp::upstream::{McpUpstream, UpstreamConfig};
use proxy::messages::ModelUpstream;
use proxy::{App, Gate, Proxy, RunContext, RunEvent, RunLimits};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{CORE, Ledger, Masters, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A command has neither a model nor tools. With no turns every request to either is refused before anything is dialled, so
/// the addresses here are never used.
const MANIFEST: &str =
    "id='run'\ntitle='run'\ngreeting='run'\n[agent]\nmodel='none'\n[mcp]\nname='run'\nserver='builtin'\n[tools]\n";
const NOWHERE: &str = "http://127.0.0.1:9/";
const EVENTS_MAX: usize = 256;
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Different things that were refused and are told at the end.
const DENIED_MAX: usize = 200;

/// What was refused, in words, and how often.
pub type Denied = BTreeMap<String, u64>;

/// The listeners at work.
pub struct Network {
    run: Arc<RunContext>,
    stop: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
    denied: JoinHandle<Denied>,
    refused_ports: Option<RefusedPorts>,
    _scratch: Scratch,
}

impl Network {
    /// Answers on a sandbox's listeners until the end.
    pub async fn serve(
        id: SandboxId,
        ca: SandboxCa,
        hosts: Hosts,
        listeners: sandbox::Listeners,
        refused_ports: Option<RefusedPorts>,
    ) -> Result<Self> {
        let scratch = Scratch::new()?;
        let store = Store::open(&format!("sqlite:{}", scratch.0.join("run.db").display()), &[&CORE]).await?;
        let store = store.with_masters(Masters::passing()?).await?;
        let unused = || SecretString::from("unused");
        let upstream = ModelUpstream::new(NOWHERE, unused())?;
        let clock: Arc<dyn policy::Clock> = Arc::new(SystemClock);
        // Nothing is spent here, but nothing could be without a ledger.
        let (ledger, _) = Ledger::open(&store, Arc::clone(&clock), "run", &scratch.0.join("ledger"), "").await?;
        let purse = ledger.purse(RunId::random(), UserId::random());
        let proxy = Proxy::new(store, clock, upstream, ledger, Microusd::dollars(0), hosts);
        let tools = UpstreamConfig { url: NOWHERE.parse()?, credential: unused(), timeout: CLOSE_WAIT, result_bytes_max: 1 };
        let app = Arc::new(App { manifest: Manifest::parse(MANIFEST)?, upstream: Some(Arc::new(McpUpstream::new(tools)?)) });
        let limits = RunLimits {
            deadline: Timestamp(i64::MAX),
            turns_max: 0,
            output_tokens_max: 0,
            context_tokens_max: None,
            budgets: Vec::new().into(),
        };
        let (events, seen) = mpsc::channel(EVENTS_MAX);
        let run = Arc::new(RunContext::new(purse, app, false, limits, events));
        let gate = Arc::new(Gate::new(id));
        gate.bind(Arc::clone(&run));
        let stop = CancellationToken::new();
        let sandbox::Listeners { http, tls, dns_udp, dns_tcp, extra } = listeners;
        let listeners = proxy::egress::Listeners { http, tls, dns_udp, dns_tcp, extra, refused_ports: None };
        let served = tokio::spawn(serve_sandbox(Arc::new(proxy), gate, Arc::new(ca), listeners, stop.clone()));
        Ok(Self { run, stop, served, denied: tokio::spawn(listen(seen)), refused_ports, _scratch: scratch })
    }

    /// Stops, and says what was refused.
    pub async fn end(self) -> Denied {
        self.stop.cancel();
        self.run.close(CLOSE_WAIT).await;
        let _served = self.served.await;
        let mut denied = self.denied.await.unwrap_or_default();
        let refused = self.refused_ports.and_then(|ports| ports.read().ok()).unwrap_or_default();
        let closed = [("connections to ports that are not allowed", refused.tcp), ("datagrams", refused.udp)];
        denied.extend(closed.into_iter().filter(|(_, times)| *times > 0).map(|(what, times)| (what.to_owned(), times)));
        denied
    }
}

async fn listen(mut seen: mpsc::Receiver<RunEvent>) -> Denied {
    let mut denied = Denied::new();
    while let Some(event) = seen.recv().await {
        if let RunEvent::Denied { denial: Denial { code, wanted } } = event {
            // A name that was asked for ends with the root's dot, one in a request does not.
            let what = format!("{} ({code})", wanted.trim_end_matches('.'));
            if denied.len() < DENIED_MAX || denied.contains_key(&what) {
                *denied.entry(what).or_default() += 1;
            }
        }
    }
    denied
}

/// A private folder for the record of this one command; gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("hexward-run-{}", secrets::random_hex()?));
        // The file mask of this program makes it private.
        std::fs::create_dir(&path).with_context(|| format!("{} can't be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            say!("hexward run: {} could not be removed: {error}", self.0.display());
        }
    }
}
