//! What an agent may ask while it starts and belongs to nobody: who the tools' server is and which tools there are. An agent that is
//! refused this stays without tools for its whole life.
//!
//! Invariant: nothing here knows a user. The definitions are those that the app gives to nobody, and no call, resource or
//! template is answered.

use crate::Proxy;
use crate::answer::Body;
use crate::context::App;
use crate::mcp::front::{HostError, ServerInfo, ToolCall, ToolHost};
use crate::mcp::upstream::UserRef;
use crate::messages::integrity::Dialogue;
use crate::{body, offer, tools};
use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use policy::DenialCode;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio_util::sync::CancellationToken;

/// A principal that owns nothing: no user has such an id, because theirs are UUIDs.
const NOBODY: &str = "nobody";
/// Requests of one starting agent; it makes three or four.
const REQUESTS_MAX: u32 = 32;

/// What one starting agent may learn.
pub struct Discovery {
    app: Arc<App>,
    writes: bool,
    requests: AtomicU32,
    listed: CancellationToken,
    dialogue: ArcSwapOption<Dialogue>,
}

impl Discovery {
    /// For an agent of this app, with or without tools that change something.
    #[must_use]
    pub fn new(app: Arc<App>, writes: bool) -> Self {
        Self { app, writes, requests: AtomicU32::new(0), listed: CancellationToken::new(), dialogue: ArcSwapOption::empty() }
    }

    pub(crate) fn converse(&self, dialogue: Option<Arc<Dialogue>>) {
        self.dialogue.store(dialogue);
    }

    /// Waits until the agent has been told its tools.
    pub async fn listed(&self) {
        self.listed.cancelled().await;
    }

    fn take_request(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed) < REQUESTS_MAX
    }

    /// Answers one request of a starting agent, or none when it asks too much.
    pub(crate) async fn answer(self: Arc<Self>, proxy: &Arc<Proxy>, request: Request<Incoming>) -> Option<Response<Body>> {
        if !self.take_request() {
            return None;
        }
        let (head, body) = request.into_parts();
        let asking = Asking { discovery: &self, proxy };
        Some(match body::read(body).await {
            Ok(body) => tools::front(&head, body, &asking).await,
            Err(refusal) => refusal,
        })
    }
}

/// One request of a starting agent.
struct Asking<'a> {
    discovery: &'a Discovery,
    proxy: &'a Proxy,
}

/// Refused without a record of its own: there is no run, so there is nobody to tell.
fn not_yet<T: Send + 'static>() -> BoxFuture<'static, Result<T, HostError>> {
    let denied = HostError::Denied { code: DenialCode::RunNone.as_str(), message: DenialCode::RunNone.sentence() };
    Box::pin(std::future::ready(Err(denied)))
}

impl ToolHost for Asking<'_> {
    fn server(&self) -> ServerInfo {
        offer::server_info(&self.discovery.app)
    }

    fn tools(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async move {
            let Discovery { app, writes, dialogue, listed, .. } = self.discovery;
            let tools = offer::offered(self.proxy, app, &UserRef::new(NOBODY.to_owned()), *writes).await?;
            if let Some(dialogue) = dialogue.load_full() {
                dialogue.listed(&tools);
            }
            listed.cancel();
            Ok(tools)
        })
    }

    fn call(&self, _call: ToolCall) -> BoxFuture<'_, Result<Value, HostError>> {
        not_yet()
    }

    fn resources(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        not_yet()
    }

    fn resource_templates(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        not_yet()
    }

    fn read_resource<'a>(&'a self, _uri: &'a str) -> BoxFuture<'a, Result<Value, HostError>> {
        not_yet()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_starting_agent_does_not_ask_without_end() {
        let discovery = Discovery::new(crate::context::tests::app(), false);
        assert_eq!((0..1000).filter(|_| discovery.take_request()).count(), 32);
        let told: Result<Value, _> = not_yet().await;
        assert!(matches!(told, Err(HostError::Denied { code: "run.none", .. })), "{told:?}");
    }
}
