//! A tool server as the gateway sees it: ours and foreign ones alike. Each request says for which user it is; nothing a server
//! hands out for one user is used for another.

use super::host::HostError;
use super::mirror::Mirror;
use super::parse::{LegacyVersion, code};
use super::session::{Session, Sessions};
use super::wire::{Reply, Wire};
use super::{MODERN, sentinel};
use http::{StatusCode, Uri};
use parking_lot::Mutex;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const USER_HEADER: &str = "x-hexward-user";
pub(crate) const USER_NAME_HEADER: &str = "x-hexward-user-name";
/// Who asks in the user's name: absent for an agent, `person` for the user's own hand.
pub(crate) const ACTOR_HEADER: &str = "x-hexward-actor";
/// The user's tier, by which a server may bound what it keeps for them.
pub(crate) const TIER_HEADER: &str = "x-hexward-tier";
/// Pages of one listing, and items on all of them.
const PAGES_MAX: usize = 20;
const ITEMS_MAX: usize = 1000;
const MESSAGE_CHARS_MAX: usize = 500;

/// How a server is reached.
#[derive(Clone)]
pub struct UpstreamConfig {
    /// Where it is. From the configuration, never from a request.
    pub url: Uri,
    /// Our own credential there. A user's or an agent's is never passed on.
    pub credential: SecretString,
    /// How long one exchange may take.
    pub timeout: Duration,
    /// Bytes of one answer.
    pub result_bytes_max: usize,
}

/// For whom a request is made.
#[derive(Clone, Debug)]
pub struct UserRef {
    /// Their opaque id.
    pub id: String,
    /// What to call them.
    pub name: Option<String>,
    /// Whether the user asks by themselves, and no agent in their name.
    pub in_person: bool,
    /// Their tier.
    pub tier: &'static str,
}

impl UserRef {
    /// A user known by nothing but an id.
    #[must_use]
    pub const fn new(id: String) -> Self {
        Self { id, name: None, in_person: false, tier: crate::ONLY_TIER }
    }

    /// The same user, asking with their own hand.
    #[must_use]
    pub fn in_person(self) -> Self {
        Self { in_person: true, ..self }
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: nothing was sent.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The server refused the request before looking at it.
    #[error("refused with HTTP status {0}")]
    Refused(u16),
    /// The server broke while it worked on the request.
    #[error("failed with HTTP status {0}")]
    Failed(u16),
    /// The server answered with a JSON-RPC error. The text is the server's: for logs only.
    #[error("error {code}: {message}")]
    Rpc {
        /// The error's code.
        code: i64,
        /// What the server says about it.
        message: String,
    },
    /// The answer is longer than allowed.
    #[error("the answer is too large")]
    TooLarge,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke after the request was sent.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// The answer is not what the protocol allows.
    #[error("not a valid answer: {0}")]
    Protocol(String),
}

impl UpstreamError {
    /// Whether the request may have taken effect all the same. A write that failed like this must not be repeated.
    #[must_use]
    pub const fn outcome_unknown(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Refused(_) => false,
            Self::Rpc { code, .. } => *code == code::INTERNAL,
            Self::Failed(_) | Self::TooLarge | Self::Timeout | Self::Interrupted(_) | Self::Protocol(_) => true,
        }
    }
}

/// What failed before the request itself was sent: whatever it was, the request had no effect.
fn unsent(error: UpstreamError) -> UpstreamError {
    if error.outcome_unknown() { UpstreamError::Unreachable(error.to_string()) } else { error }
}

impl From<UpstreamError> for HostError {
    fn from(error: UpstreamError) -> Self {
        let unknown = matches!(&error, UpstreamError::Rpc { code: code::PARAMS | code::METHOD | code::RESOURCE, .. });
        match (unknown, error.outcome_unknown()) {
            (true, _) => Self::Unknown,
            (false, true) => Self::Uncertain(error.to_string()),
            (false, false) => Self::Upstream(error.to_string()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Modern,
    Legacy,
}

/// One tool server.
pub struct McpUpstream {
    wire: Wire,
    /// Found out once, by asking; forgotten when the server behaves otherwise.
    speaks: Mutex<Option<Speaks>>,
    sessions: Sessions,
    mirror: Mirror,
    last_id: AtomicU64,
}

impl McpUpstream {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(config: UpstreamConfig) -> Result<Self, UpstreamError> {
        Ok(Self {
            wire: Wire::new(config)?,
            speaks: Mutex::new(None),
            sessions: Sessions::default(),
            mirror: Mirror::default(),
            last_id: AtomicU64::new(0),
        })
    }

    /// The server's tools. A tool whose definition can't be used as the protocol demands is left out.
    ///
    /// # Errors
    /// [`UpstreamError`], here and below.
    pub async fn tools(&self, user: &UserRef) -> Result<Vec<Value>, UpstreamError> {
        let listed = self.list(user, "tools/list", "tools").await?;
        let usable = |mut tool: Map<String, Value>| self.mirror.learn(&mut tool).then_some(Value::Object(tool));
        Ok(listed.into_iter().filter_map(usable).collect())
    }

    /// Calls a tool once; the value is a `CallToolResult`. Never repeated once it may have been carried out.
    ///
    /// # Errors
    /// [`UpstreamError`]; ask [`UpstreamError::outcome_unknown`] before telling anybody that nothing happened.
    pub async fn call(&self, user: &UserRef, name: &str, arguments: Map<String, Value>) -> Result<Value, UpstreamError> {
        self.call_with(user, name, arguments, Map::new()).await
    }

    /// The same with something of the gateway's own in the request's `_meta`.
    ///
    /// # Errors
    /// As [`McpUpstream::call`].
    pub async fn call_with(
        &self,
        user: &UserRef,
        name: &str,
        arguments: Map<String, Value>,
        meta: Map<String, Value>,
    ) -> Result<Value, UpstreamError> {
        let mut params = Map::from_iter([("name".to_owned(), json!(name)), ("arguments".to_owned(), json!(arguments))]);
        params.extend((!meta.is_empty()).then(|| ("_meta".to_owned(), Value::Object(meta))));
        let call_once = async || {
            let mut headers = self.mirror.headers(name, &arguments);
            headers.push(("mcp-name".to_owned(), sentinel::encode(name)));
            self.request(user, "tools/call", params.clone(), headers).await
        };
        let done = match call_once().await {
            // The server wants arguments repeated in headers that we don't know of: refused unseen, so it may be sent again.
            Err(UpstreamError::Rpc { code: code::HEADER, .. }) => {
                self.tools(user).await.map_err(unsent)?;
                call_once().await?
            }
            done => done?,
        };
        let content = done.get("content").is_none_or(Value::is_array) && done.get("isError").is_none_or(Value::is_boolean);
        if content && (done.contains_key("content") || done.contains_key("structuredContent")) {
            return Ok(Value::Object(done));
        }
        Err(UpstreamError::Protocol("not the result of a tool".to_owned()))
    }

    /// The server's resources.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn resources(&self, user: &UserRef) -> Result<Vec<Value>, UpstreamError> {
        Ok(self.list(user, "resources/list", "resources").await?.into_iter().map(Value::Object).collect())
    }

    /// The server's resource templates.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn resource_templates(&self, user: &UserRef) -> Result<Vec<Value>, UpstreamError> {
        Ok(self.list(user, "resources/templates/list", "resourceTemplates").await?.into_iter().map(Value::Object).collect())
    }

    /// Reads a resource; the value is a `ReadResourceResult`.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn read_resource(&self, user: &UserRef, uri: &str) -> Result<Value, UpstreamError> {
        let params = Map::from_iter([("uri".to_owned(), json!(uri))]);
        let headers = vec![("mcp-name".to_owned(), sentinel::encode(uri))];
        let read = self.request(user, "resources/read", params, headers).await?;
        if read.get("contents").is_some_and(Value::is_array) {
            return Ok(Value::Object(read));
        }
        Err(UpstreamError::Protocol("a resource without contents".to_owned()))
    }

    /// Forgets what a server handed out for a user, when the user's run has ended.
    pub fn forget(&self, user: &str) {
        self.sessions.forget(user);
    }

    async fn list(&self, user: &UserRef, method: &str, key: &str) -> Result<Vec<Map<String, Value>>, UpstreamError> {
        let (mut items, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let params = cursor.take().map(|cursor: Value| ("cursor".to_owned(), cursor)).into_iter().collect();
            let mut page = self.request(user, method, params, Vec::new()).await?;
            let Some(Value::Array(listed)) = page.remove(key) else {
                return Err(UpstreamError::Protocol(format!("a list without {key}")));
            };
            for item in listed {
                let Value::Object(item) = item else { return Err(UpstreamError::Protocol(format!("{key} of another kind"))) };
                items.push(item);
            }
            if items.len() > ITEMS_MAX {
                return Err(UpstreamError::TooLarge);
            }
            cursor = page.remove("nextCursor").filter(|cursor| !cursor.is_null());
            if cursor.is_none() {
                return Ok(items);
            }
        }
        Err(UpstreamError::TooLarge)
    }

    async fn request(
        &self,
        user: &UserRef,
        method: &str,
        params: Map<String, Value>,
        headers: Vec<(String, String)>,
    ) -> Result<Map<String, Value>, UpstreamError> {
        let known = *self.speaks.lock();
        let speaks = match known {
            Some(speaks) => speaks,
            None => self.ask(user).await.map_err(unsent)?,
        };
        let done = match speaks {
            Speaks::Modern => self.modern(user, method, params, headers).await.and_then(result),
            Speaks::Legacy => self.legacy(user, method, params).await,
        };
        if matches!(done, Err(UpstreamError::Refused(400 | 404 | 405) | UpstreamError::Rpc { code: code::VERSION, .. })) {
            *self.speaks.lock() = None;
        }
        done
    }

    /// Which era the server is of. Asked with a request that changes nothing, so that no write is ever sent twice.
    async fn ask(&self, user: &UserRef) -> Result<Speaks, UpstreamError> {
        let reply = self.modern(user, "server/discover", Map::new(), Vec::new()).await?;
        if matches!(reply.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || reply.status.is_server_error() {
            return result(reply).map(|_| Speaks::Modern);
        }
        let message = reply.message.unwrap_or_default();
        let offers = |at: &str| {
            let offered = message.pointer(at).and_then(Value::as_array);
            offered.is_some_and(|versions| versions.iter().any(|version| version == MODERN))
        };
        let modern = offers("/result/supportedVersions") || offers("/error/data/supported");
        let speaks = if modern { Speaks::Modern } else { Speaks::Legacy };
        *self.speaks.lock() = Some(speaks);
        Ok(speaks)
    }

    async fn modern(
        &self,
        user: &UserRef,
        method: &str,
        mut params: Map<String, Value>,
        mut headers: Vec<(String, String)>,
    ) -> Result<Reply, UpstreamError> {
        let own = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientInfo": client_info(),
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        if let (Value::Object(meta), Value::Object(own)) = (params.entry("_meta").or_insert_with(|| json!({})), own) {
            meta.extend(own);
        }
        headers.push(("mcp-protocol-version".to_owned(), MODERN.to_owned()));
        headers.push(("mcp-method".to_owned(), method.to_owned()));
        self.send(user, method, params, &headers).await
    }

    async fn legacy(
        &self,
        user: &UserRef,
        method: &str,
        params: Map<String, Value>,
    ) -> Result<Map<String, Value>, UpstreamError> {
        let kept = self.sessions.of(&user.id);
        let reused = kept.as_ref().is_some_and(|session| session.id.is_some());
        let session = match kept {
            Some(session) => session,
            None => self.shake_hands(user).await.map_err(unsent)?,
        };
        let reply = self.send(user, method, params.clone(), &session_headers(&session)).await?;
        if !(reused && reply.status == StatusCode::NOT_FOUND) {
            return result(reply);
        }
        // The session is over, so the request was not looked at: once more in a new one.
        self.sessions.forget(&user.id);
        let session = self.shake_hands(user).await.map_err(unsent)?;
        result(self.send(user, method, params, &session_headers(&session)).await?)
    }

    async fn shake_hands(&self, user: &UserRef) -> Result<Session, UpstreamError> {
        let offered = LegacyVersion::V20251125.date();
        let params = json!({"protocolVersion": offered, "capabilities": {}, "clientInfo": client_info()});
        let params = params.as_object().cloned().unwrap_or_default();
        let reply = self.send(user, "initialize", params, &[]).await?;
        let id = reply.session.clone();
        let agreed = result(reply)?;
        let version = agreed.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
        let version = LegacyVersion::ALL.into_iter().find(|known| known.date() == version);
        let version = version.ok_or_else(|| UpstreamError::Protocol("a protocol version we don't speak".to_owned()))?;
        let session = Session { version, id };
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.wire.exchange(user, &session_headers(&session), &ready, None).await?;
        self.sessions.keep(&user.id, session.clone());
        Ok(session)
    }

    async fn send(
        &self,
        user: &UserRef,
        method: &str,
        params: Map<String, Value>,
        headers: &[(String, String)],
    ) -> Result<Reply, UpstreamError> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.wire.exchange(user, headers, &body, Some(id)).await
    }
}

fn client_info() -> Value {
    json!({"name": "hexward", "version": env!("CARGO_PKG_VERSION")})
}

fn session_headers(session: &Session) -> Vec<(String, String)> {
    let version = ("mcp-protocol-version".to_owned(), session.version.date().to_owned());
    let id = session.id.clone().map(|id| ("mcp-session-id".to_owned(), id));
    std::iter::once(version).chain(id).collect()
}

/// The result in a reply, if it is one and is complete: questions back are not answered.
fn result(reply: Reply) -> Result<Map<String, Value>, UpstreamError> {
    let Reply { status, message, .. } = reply;
    let mut message = match message {
        Some(Value::Object(message)) => message,
        Some(_) | None if status.is_server_error() => return Err(UpstreamError::Failed(status.as_u16())),
        Some(_) | None if !status.is_success() => return Err(UpstreamError::Refused(status.as_u16())),
        Some(_) | None => return Err(UpstreamError::Protocol("no JSON-RPC answer".to_owned())),
    };
    if let Some(error) = message.get("error") {
        let code = error.get("code").and_then(Value::as_i64).unwrap_or(code::INTERNAL);
        let text = error.get("message").and_then(Value::as_str).unwrap_or_default();
        return Err(UpstreamError::Rpc { code, message: text.chars().take(MESSAGE_CHARS_MAX).collect() });
    }
    let Some(Value::Object(result)) = message.remove("result") else {
        return Err(UpstreamError::Protocol("neither result nor error".to_owned()));
    };
    match result.get("resultType").and_then(Value::as_str) {
        None | Some("complete") => Ok(result),
        Some(_) => Err(UpstreamError::Protocol("the server asks back, which is not supported".to_owned())),
    }
}
