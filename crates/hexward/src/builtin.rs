//! The apps that come with the gateway. Each is an MCP server on a loopback port of its own, with a credential nobody else has; once
//! they run, nothing tells them from a foreign app.

use crate::gateway::{TOOL_RESULT_BYTES_MAX, TOOL_WAIT, bind};
use crate::secrets;
use anyhow::{Context, Result};
use hexmap::map::{LimitsByTier, MapError};
use policy::{Clock, Manifest, McpServer, UserId};
use proxy::App;
use proxy::mcp::upstream::{McpUpstream, UpstreamConfig};
use runs::RunApp;
use secrecy::SecretString;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use store::{CORE, Schema, Store, StoreError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::{AppData, OfApp};

/// Everything that a gateway's database holds. Whether an app is switched on changes no tables.
pub(crate) const SCHEMAS: [&Schema; 3] = [&CORE, &hexmap::SCHEMA, &magic::SCHEMA];

/// What their servers run on.
pub(crate) struct Host<'g> {
    pub(crate) store: &'g Store,
    pub(crate) clock: &'g Arc<dyn Clock>,
    pub(crate) tasks: &'g TaskTracker,
    pub(crate) stop: &'g CancellationToken,
    pub(crate) map_limits: &'g LimitsByTier,
}

/// What they keep of users. The Magic assistant keeps nothing: its cards are everybody's.
pub(crate) struct OwnData(pub(crate) Store);

impl AppData for OwnData {
    fn apps(&self) -> &[&'static str] {
        &[hexmap::APP, magic::APP]
    }

    fn export<'a>(&'a self, app: &'a str, user: UserId, after: Option<String>) -> OfApp<'a, (Vec<Value>, Option<String>)> {
        Box::pin(async move {
            if app != hexmap::APP {
                return Ok((Vec::new(), None));
            }
            hexmap::export(&self.0, &user.to_string(), after.as_deref()).await.map_err(of_map)
        })
    }

    fn erase(&self, user: UserId) -> OfApp<'_, Vec<(&'static str, u64)>> {
        Box::pin(async move {
            let tiles = hexmap::erase(&self.0, &user.to_string()).await.map_err(of_map)?;
            Ok(vec![(hexmap::APP, tiles)])
        })
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what else can be wrong with a map is nothing that was asked for here")]
fn of_map(error: MapError) -> StoreError {
    match error {
        MapError::Store(error) => error,
        other => StoreError::Statement(other.to_string()),
    }
}

/// One of them.
struct Builtin {
    manifest: &'static str,
    prompt: &'static str,
    path: &'static str,
    serve: fn(&Host<'_>, TcpListener, String),
}

const HEXMAP: Builtin = Builtin { manifest: hexmap::MANIFEST, prompt: hexmap::PROMPT, path: hexmap::PATH, serve: serve_hexmap };
const MAGIC: Builtin = Builtin { manifest: magic::MANIFEST, prompt: magic::PROMPT, path: magic::PATH, serve: serve_magic };

/// Starts those that are switched on; the map always is.
pub(crate) async fn start(host: &Host<'_>, magic: bool) -> Result<Vec<RunApp>> {
    let mut apps = vec![HEXMAP.start(host).await?];
    if magic {
        apps.push(MAGIC.start(host).await?);
    }
    Ok(apps)
}

impl Builtin {
    async fn start(&self, host: &Host<'_>) -> Result<RunApp> {
        let manifest = Manifest::parse(self.manifest)?;
        let credential = secrets::random_hex()?;
        let url = match manifest.mcp.as_ref().map(|mcp| &mcp.server) {
            Some(McpServer::Url(url)) => url.clone(),
            Some(McpServer::Builtin | McpServer::Stdio) | None => {
                let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), &format!("app {}", manifest.id)).await?;
                let url = format!("http://{}{}", listener.local_addr()?, self.path);
                (self.serve)(host, listener, credential.clone());
                url
            }
        };
        let config = UpstreamConfig {
            url: url.parse().with_context(|| format!("app {}: {url} is not an address", manifest.id))?,
            credential: SecretString::from(credential),
            timeout: TOOL_WAIT,
            result_bytes_max: TOOL_RESULT_BYTES_MAX,
        };
        let upstream = Some(Arc::new(McpUpstream::new(config)?));
        Ok(RunApp { app: Arc::new(App { manifest, upstream }), prompt: self.prompt.to_owned() })
    }
}

fn serve_hexmap(host: &Host<'_>, listener: TcpListener, credential: String) {
    let config = hexmap::ServerConfig { credential, hosts: Vec::new(), clock: Arc::clone(host.clock) };
    let limits = host.map_limits.clone();
    let serving = hexmap::serve_within(limits, listener, host.store.clone(), config, host.stop.clone());
    host.tasks.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the map's server ended");
        }
    });
}

fn serve_magic(host: &Host<'_>, listener: TcpListener, credential: String) {
    let library = magic::Library::new(host.store.clone(), Arc::clone(host.clock));
    host.tasks.spawn(library.clone().keep_fresh(host.stop.clone().cancelled_owned()));
    let config = magic::ServerConfig { credential, hosts: Vec::new() };
    let serving = magic::serve(listener, library, config, host.stop.clone());
    host.tasks.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the Magic assistant's server ended");
        }
    });
}
