//! The MCP server: who may call, and for whom. It keeps nothing between two requests, so that nothing can mix users up.

use crate::map::{Actor, Effect, LimitsByTier, MapError, Maps};
use crate::{resources, tools};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use policy::Clock;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, MetaObject, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, ServerCapabilities, ServerConfig as Announced, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use std::sync::Arc;
use store::Store;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The header that names the user a request is for.
pub const USER_HEADER: &str = "x-hexward-user";
/// The header with the name to call them by; optional, UTF-8.
pub const USER_NAME_HEADER: &str = "x-hexward-user-name";
/// The header that says whose hand it is: `person`, or nothing for an agent.
pub const ACTOR_HEADER: &str = "x-hexward-actor";
/// The header with the user's tier; optional.
pub const TIER_HEADER: &str = "x-hexward-tier";
/// What the gateway calls the call, among what goes with it.
pub const CALL_META: &str = "hexward/call";
/// The way back from what a call did, among what goes with its result.
pub const UNDO_META: &str = "hexward/undo";
/// What stood in the way of an undo, sentence by sentence, among what goes with its result.
pub const CONFLICTS_META: &str = "hexward/conflicts";
/// Among what goes with a call: it shall only be tried out.
pub const DRY_RUN_META: &str = "hexward/dryRun";
/// The same: the digest of the effect that it has to have.
pub const EXPECTED_META: &str = "hexward/expected";
/// Among what goes with the result of a call that was tried out: what it would do.
pub const EFFECT_META: &str = "hexward/effect";
/// The path the server answers on.
pub const PATH: &str = "/mcp";
/// An agent's request. Chunked ones, which don't say how long they are, come from nobody.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A person's: a whole map may come in one.
const DOCUMENT_BYTES_MAX: usize = 33 << 20;
const NAME_CHARS_MAX: usize = 100;
/// An empty or guessable credential is a mistake of whoever starts us.
const CREDENTIAL_BYTES_MIN: usize = 32;

/// How the server is started.
#[derive(Clone)]
pub struct ServerConfig {
    /// What the gateway shows to be let in: at least 32 bytes, new at every start.
    pub credential: String,
    /// `Host` values to answer to; loopback names when empty.
    pub hosts: Vec<String>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// Whom a request is for. Exists only once the credential was checked.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Their id, as it stands in coordinates.
    pub user: String,
    /// What to call them.
    pub name: Option<String>,
    /// Whose hand it is.
    pub actor: Actor,
    /// Their tier, if the gateway says one.
    pub tier: Option<String>,
}

/// Serves until `shutdown`, then finishes what is under way.
///
/// # Errors
/// When the credential is too short, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    store: Store,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    serve_within(LimitsByTier::default(), listener, store, config, shutdown).await
}

/// The same with other limits than the usual ones of what people may keep.
///
/// # Errors
/// As [`serve`].
pub async fn serve_within(
    limits: LimitsByTier,
    listener: TcpListener,
    store: Store,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    if config.credential.len() < CREDENTIAL_BYTES_MIN {
        return Err(std::io::Error::other(format!("hexmap: the credential must have at least {CREDENTIAL_BYTES_MIN} bytes")));
    }
    let app = router(Maps::new(store, Arc::clone(&config.clock)), limits, config, shutdown.clone());
    axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

fn router(maps: Maps, limits: LimitsByTier, config: ServerConfig, shutdown: CancellationToken) -> Router {
    let mut http = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(DOCUMENT_BYTES_MAX)
        .with_cancellation_token(shutdown)
        .enforce_origin_validation();
    if !config.hosts.is_empty() {
        http = http.with_allowed_hosts(config.hosts);
    }
    let limits = Arc::new(limits);
    let serving = move || Ok(Hexmap { maps: maps.clone(), limits: Arc::clone(&limits) });
    let service = StreamableHttpService::new(serving, Arc::new(NeverSessionManager::default()), http);
    let credential: Arc<str> = config.credential.into();
    Router::new().route_service(PATH, service).layer(from_fn_with_state(credential, admit))
}

/// Lets a request through with its [`Caller`], or answers 401.
async fn admit(State(credential): State<Arc<str>>, mut request: Request, next: Next) -> Response {
    let Some(caller) = caller(request.headers(), &credential) else {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response();
    };
    if is_too_large(request.headers(), caller.actor) {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    request.headers_mut().remove(header::AUTHORIZATION);
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn caller(headers: &HeaderMap, credential: &str) -> Option<Caller> {
    let shown = only(headers, header::AUTHORIZATION.as_str())?.strip_prefix(b"Bearer ")?;
    if !bool::from(shown.ct_eq(credential.as_bytes())) {
        return None;
    }
    let user = std::str::from_utf8(only(headers, USER_HEADER)?).ok().filter(|user| crate::coord::is_user(user))?;
    let name = only(headers, USER_NAME_HEADER).and_then(|name| std::str::from_utf8(name).ok());
    let tier = only(headers, TIER_HEADER).and_then(|tier| std::str::from_utf8(tier).ok()).map(str::to_owned);
    let actor = if only(headers, ACTOR_HEADER) == Some(b"person".as_slice()) { Actor::Person } else { Actor::Agent };
    Some(Caller { user: user.to_owned(), name: name.and_then(shown_name), actor, tier })
}

fn is_too_large(headers: &HeaderMap, actor: Actor) -> bool {
    let bytes_max = match actor {
        Actor::Agent => BODY_BYTES_MAX,
        Actor::Person => DOCUMENT_BYTES_MAX,
    };
    let length = only(headers, header::CONTENT_LENGTH.as_str()).and_then(|length| std::str::from_utf8(length).ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length > bytes_max)
}

/// The value of a header that must not come twice.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { Some(value.as_bytes()) }
}

fn shown_name(name: &str) -> Option<String> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    if name.is_empty() { None } else { Some(name) }
}

/// One request's handler.
#[derive(Clone)]
struct Hexmap {
    maps: Maps,
    limits: Arc<LimitsByTier>,
}

impl Hexmap {
    fn maps_of(&self, caller: &Caller) -> Maps {
        self.maps.serving(caller.actor, self.limits.of(caller.tier.as_deref()))
    }
}

/// Invariant: a request without a [`Caller`] never gets here; should it, it is refused.
fn caller_of(context: &RequestContext<RoleServer>) -> Result<Caller, ErrorData> {
    let parts = context.extensions.get::<http::request::Parts>();
    let caller = parts.and_then(|parts| parts.extensions.get::<Caller>()).cloned();
    caller.ok_or_else(|| ErrorData::internal_error("the request names no user", None))
}

impl ServerHandler for Hexmap {
    fn get_info(&self) -> Announced {
        Announced::new(ServerCapabilities::builder().enable_tools().enable_resources().build())
            .with_server_info(Implementation::new("hexmap", env!("CARGO_PKG_VERSION")))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::list().iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::list().to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = caller_of(&context)?;
        let meta = request.meta.as_deref().unwrap_or(&context.meta);
        let call = call_name(meta)?;
        let maps = in_manner(&self.maps_of(&caller), meta)?;
        let maps = call.as_deref().map_or_else(|| maps.clone(), |call| maps.in_call(call));
        let outcome = tools::call(&maps, &caller, &request.name, request.arguments.unwrap_or_default()).await;
        let outcome = outcome.ok_or_else(|| ErrorData::invalid_params("Unknown tool", None))?;
        Ok(match outcome {
            Ok(value) => with(success(value), UNDO_META, call.and_then(|call| tools::way_back(&request.name, &call))),
            Err(MapError::Planned(effect)) => planned(effect),
            Err(error) => with(failure(&error), CONFLICTS_META, conflicts(&error)),
        }
        .into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(resources::list()))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let caller = caller_of(&context)?;
        let unknown = || ErrorData::resource_not_found("Unknown resource", None);
        match resources::read(&self.maps_of(&caller), &caller, &request.uri).await.ok_or_else(unknown)? {
            Ok(value) => Ok(ReadResourceResult::new(vec![resources::contents(&request.uri, &value)]).into()),
            Err(error @ (MapError::NotFound(_) | MapError::NoSuchId(_))) => {
                Err(ErrorData::resource_not_found(error.to_string(), None))
            }
            Err(error) => Err(ErrorData::internal_error(logged(&error), None)),
        }
    }
}

/// What the gateway calls this call, if it says so.
fn call_name(meta: &MetaObject) -> Result<Option<String>, ErrorData> {
    match meta.get(CALL_META) {
        None => Ok(None),
        Some(Value::String(call)) if crate::coord::is_user(call) => Ok(Some(call.clone())),
        Some(_) => Err(ErrorData::invalid_params(format!("{CALL_META} must be a short name of letters, digits, - and _"), None)),
    }
}

/// A result with something for the gateway.
fn with(mut result: CallToolResult, key: &str, value: Option<Value>) -> CallToolResult {
    if let Some(value) = value {
        result.meta.get_or_insert_default().insert(key.to_owned(), value);
    }
    result
}

fn conflicts(error: &MapError) -> Option<Value> {
    if let MapError::Conflict(named) = error { Some(named.clone().into()) } else { None }
}

/// The maps as this call has to use them.
fn in_manner(maps: &Maps, meta: &MetaObject) -> Result<Maps, ErrorData> {
    let wrong = |what: &'static str| Err(ErrorData::invalid_params(what, None));
    match (meta.get(DRY_RUN_META), meta.get(EXPECTED_META)) {
        (None | Some(Value::Bool(false)), None) => Ok(maps.clone()),
        (Some(Value::Bool(true)), None) => Ok(maps.planning()),
        (None | Some(Value::Bool(false)), Some(Value::String(digest))) => Ok(maps.expecting(digest)),
        (Some(Value::Bool(true)), Some(_)) => wrong("hexward/dryRun and hexward/expected don't go together"),
        (_, Some(_)) => wrong("hexward/expected must be a digest as text"),
        (Some(_), None) => wrong("hexward/dryRun must be true or false"),
    }
}

/// Nothing was done; this is what would have been.
fn planned(effect: Effect) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(effect.summary.clone())]);
    let told = json!({"digest": effect.digest, "summary": effect.summary});
    result.meta.get_or_insert_default().insert(EFFECT_META.to_owned(), told);
    result
}

/// An object is also given as structured content.
fn success(value: Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(format!("{value:#}"))]);
    result.structured_content = Some(value).filter(Value::is_object);
    result
}

/// What went wrong is the model's to read: a tool error, never a protocol error.
fn failure(error: &MapError) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(logged(error))])
}

/// The public sentence; what the database said goes to the log alone.
fn logged(error: &MapError) -> String {
    if let MapError::Store(cause) = error {
        tracing::error!(%cause, "hexmap: the database failed");
    }
    error.to_string()
}
