//! A tool server as the gateway sees it: ours and foreign ones alike. Each request says for which user it is; nothing a server
//! hands out for one user is used for another.

use super::asked::{Asked, drop_collisions, result, result_or_questions, session_headers};
use super::assertion::Assertions;
use super::back::{Back, asks};
use super::credential::Credential;
pub use super::failure::UpstreamError;
use super::failure::unsent;
use super::host::LogWish;
use super::mirror::Mirror;
use super::notices::Notices;
use super::parse::{LegacyVersion, code};
use super::session::{Session, Sessions};
use super::stdio::{Stdio, StdioConfig};
use super::transport::Transport;
pub use super::user::UserRef;
pub(crate) use super::user::{ACTOR_HEADER, TIER_HEADER, USER_HEADER, USER_NAME_HEADER};
use super::wire::{Reply, Wire, progress_token};
use super::{MODERN, sentinel};
use http::{StatusCode, Uri};
use parking_lot::Mutex;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Pages of one listing, and items on all of them.
const PAGES_MAX: usize = 20;
const ITEMS_MAX: usize = 1000;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Modern,
    Legacy,
}

/// One tool server.
pub struct McpUpstream {
    way: Transport,
    /// Found out once, by asking; forgotten when the server behaves otherwise.
    speaks: Mutex<Option<Speaks>>,
    sessions: Sessions,
    /// One at a time with a program, which can't be greeted twice.
    handshakes: tokio::sync::Mutex<()>,
    mirror: Mirror,
    last_id: AtomicU64,
}

impl McpUpstream {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(config: UpstreamConfig) -> Result<Self, UpstreamError> {
        Ok(Self::by(Transport::Http(Box::new(Wire::new(config)?))))
    }

    /// A server that is a program. Nothing is started yet.
    #[must_use]
    pub fn over_stdio(config: StdioConfig) -> Self {
        Self::by(Transport::Stdio(Stdio::new(config)))
    }

    fn by(way: Transport) -> Self {
        Self {
            way,
            speaks: Mutex::new(None),
            sessions: Sessions::default(),
            handshakes: tokio::sync::Mutex::new(()),
            mirror: Mirror::default(),
            last_id: AtomicU64::new(0),
        }
    }

    /// Shows a server with an address another credential.
    #[must_use]
    pub fn with_credential(mut self, credential: Credential) -> Self {
        if let Transport::Http(wire) = &mut self.way {
            wire.show(credential);
        }
        self
    }

    /// Says to a server with an address whose request it is, signed.
    #[must_use]
    pub fn with_assertions(mut self, assertions: Assertions) -> Self {
        if let Transport::Http(wire) = &mut self.way {
            wire.assert_with(assertions);
        }
        self
    }

    /// Ends what was started for it, and returns when nothing of that is left.
    pub async fn close(&self) {
        if let Transport::Stdio(stdio) = &self.way {
            stdio.close().await;
        }
    }

    /// The server's tools. A tool whose definition can't be used as the protocol demands is left out, and so are those whose name stands
    /// there more than once.
    ///
    /// # Errors
    /// [`UpstreamError`], here and below.
    pub async fn tools(&self, user: &UserRef) -> Result<Vec<Value>, UpstreamError> {
        let mut listed = self.list(user, "tools/list", "tools").await?;
        drop_collisions(&mut listed);
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
        self.call_telling(user, name, arguments, meta, None).await
    }

    /// The same, and passes on what the tool says meanwhile.
    ///
    /// # Errors
    /// As [`McpUpstream::call`].
    pub(crate) async fn call_telling(
        &self,
        user: &UserRef,
        name: &str,
        arguments: Map<String, Value>,
        meta: Map<String, Value>,
        notices: Option<&Notices>,
    ) -> Result<Value, UpstreamError> {
        self.call_whole(user, name, arguments, meta, notices, None).await
    }

    /// The same for a caller that can be asked back; then the value may be a question of the server's.
    ///
    /// # Errors
    /// As [`McpUpstream::call`].
    pub(crate) async fn call_asking(
        &self,
        user: &UserRef,
        name: &str,
        arguments: Map<String, Value>,
        notices: Option<&Notices>,
        back: &Back,
    ) -> Result<Value, UpstreamError> {
        self.call_whole(user, name, arguments, Map::new(), notices, Some(back)).await
    }

    async fn call_whole(
        &self,
        user: &UserRef,
        name: &str,
        arguments: Map<String, Value>,
        meta: Map<String, Value>,
        notices: Option<&Notices>,
        back: Option<&Back>,
    ) -> Result<Value, UpstreamError> {
        let call = || async {
            let mut params = Map::from_iter([("name".to_owned(), json!(name)), ("arguments".to_owned(), json!(arguments))]);
            params.extend((!meta.is_empty()).then(|| ("_meta".to_owned(), json!(meta))));
            let mut headers = self.mirror.headers(name, &arguments);
            headers.push(("mcp-name".to_owned(), sentinel::encode(name)));
            self.request(user, Asked { method: "tools/call", params, headers, notices, back }).await
        };
        let done = match call().await {
            // The server wants arguments repeated in headers that we don't know of: refused unseen, so it may be sent again.
            Err(UpstreamError::Rpc { code: code::HEADER, .. }) => {
                Box::pin(self.tools(user)).await.map_err(unsent)?;
                Box::pin(call()).await?
            }
            done => done?,
        };
        if asks(&done) {
            return Ok(Value::Object(done));
        }
        let content = done.get("content").is_none_or(Value::is_array) && done.get("isError").is_none_or(Value::is_boolean);
        if content && (done.contains_key("content") || done.contains_key("structuredContent")) {
            return Ok(Value::Object(done));
        }
        Err(UpstreamError::Protocol("not the result of a tool".to_owned()))
    }

    /// Forgets what a server handed out for a user, when the user's run has ended.
    pub fn forget(&self, user: &str) {
        self.sessions.forget(self.way.owner(user));
    }

    pub(super) async fn list(&self, user: &UserRef, method: &str, key: &str) -> Result<Vec<Map<String, Value>>, UpstreamError> {
        let (mut items, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let params = cursor.take().map(|cursor: Value| ("cursor".to_owned(), cursor)).into_iter().collect();
            let mut page = self.request(user, Asked { method, params, headers: Vec::new(), notices: None, back: None }).await?;
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

    pub(super) async fn request(&self, user: &UserRef, asked: Asked<'_>) -> Result<Map<String, Value>, UpstreamError> {
        let known = *self.speaks.lock();
        let speaks = match known {
            Some(speaks) => speaks,
            None => Box::pin(self.ask(user)).await.map_err(unsent)?,
        };
        let done = match speaks {
            Speaks::Modern => {
                let may_ask = asked.back.is_some_and(Back::is_open);
                self.modern(user, asked).await.and_then(|reply| result_or_questions(reply, may_ask))
            }
            Speaks::Legacy => Box::pin(self.legacy(user, asked)).await,
        };
        if matches!(done, Err(UpstreamError::Refused(400 | 404 | 405) | UpstreamError::Rpc { code: code::VERSION, .. })) {
            *self.speaks.lock() = None;
        }
        done
    }

    /// Which era the server is of. Asked with a request that changes nothing, so that no write is ever sent twice.
    async fn ask(&self, user: &UserRef) -> Result<Speaks, UpstreamError> {
        let reply = self.modern(user, Asked::plain("server/discover", Map::new())).await?;
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

    async fn modern(&self, user: &UserRef, mut asked: Asked<'_>) -> Result<Reply, UpstreamError> {
        let mut meta = Map::from_iter([
            ("io.modelcontextprotocol/protocolVersion".to_owned(), json!(MODERN)),
            ("io.modelcontextprotocol/clientInfo".to_owned(), client_info()),
            ("io.modelcontextprotocol/clientCapabilities".to_owned(), asked.back.map_or_else(|| json!({}), Back::capabilities)),
        ]);
        if let Some(back) = asked.back {
            back.put(&mut asked.params);
        }
        if asked.notices.is_some_and(|notices| notices.wanted().log != LogWish::Nothing) {
            meta.insert("io.modelcontextprotocol/logLevel".to_owned(), json!("debug"));
        }
        if let Some(Value::Object(own)) = asked.params.remove("_meta") {
            meta.extend(own);
        }
        asked.params.insert("_meta".to_owned(), Value::Object(meta));
        asked.headers.push(("mcp-protocol-version".to_owned(), MODERN.to_owned()));
        asked.headers.push(("mcp-method".to_owned(), asked.method.to_owned()));
        self.send(user, asked).await
    }

    async fn legacy(&self, user: &UserRef, asked: Asked<'_>) -> Result<Map<String, Value>, UpstreamError> {
        let kept = self.sessions.of(self.way.owner(&user.id));
        let reused = kept.as_ref().is_some_and(|session| session.id.is_some());
        let session = match kept {
            Some(session) => session,
            None => self.shake_hands(user).await.map_err(unsent)?,
        };
        let reply = self.send(user, asked.within(&session)).await?;
        if !(reused && reply.status == StatusCode::NOT_FOUND) {
            return result(reply);
        }
        // The session is over, so the request was not looked at: once more in a new one.
        self.sessions.forget(self.way.owner(&user.id));
        let session = self.shake_hands(user).await.map_err(unsent)?;
        result(self.send(user, asked.within(&session)).await?)
    }

    async fn shake_hands(&self, user: &UserRef) -> Result<Session, UpstreamError> {
        let _alone = match &self.way {
            Transport::Stdio(_) => Some(self.handshakes.lock().await),
            Transport::Http(_) => None,
        };
        // Somebody else may have done it meanwhile.
        if let Some(session) = self.sessions.of(self.way.owner(&user.id)) {
            return Ok(session);
        }
        let offered = LegacyVersion::V20251125.date();
        let params = json!({"protocolVersion": offered, "capabilities": {}, "clientInfo": client_info()});
        let params = params.as_object().cloned().unwrap_or_default();
        let reply = self.send(user, Asked::plain("initialize", params)).await?;
        let id = reply.session.clone();
        let agreed = result(reply)?;
        let version = agreed.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
        let version = LegacyVersion::ALL.into_iter().find(|known| known.date() == version);
        let version = version.ok_or_else(|| UpstreamError::Protocol("a protocol version we don't speak".to_owned()))?;
        let session = Session { version, id };
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.way.exchange(user, &session_headers(&session), &ready, None, None).await?;
        self.sessions.keep(self.way.owner(&user.id), session.clone());
        Ok(session)
    }

    async fn send(&self, user: &UserRef, asked: Asked<'_>) -> Result<Reply, UpstreamError> {
        let Asked { method, mut params, headers, notices, .. } = asked;
        let id = self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if notices.is_some_and(|notices| notices.wanted().progress.is_some())
            && let Some(meta) = params.entry("_meta").or_insert_with(|| json!({})).as_object_mut()
        {
            meta.insert("progressToken".to_owned(), json!(progress_token(id)));
        }
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.way.exchange(user, &headers, &body, Some(id), notices).await
    }
}

fn client_info() -> Value {
    json!({"name": "hexward", "version": env!("CARGO_PKG_VERSION")})
}
