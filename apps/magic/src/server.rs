//! The MCP server: who may call. It keeps nothing between two requests, and no answer depends on whom it is for.

use crate::definitions;
use crate::library::Library;
use crate::tools::{self, ToolError};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig as Announced, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The header that names the user a request is for; there must be one, and nothing is made of it.
pub const USER_HEADER: &str = "x-hexward-user";
/// The path the server answers on.
pub const PATH: &str = "/mcp";
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// An empty or guessable credential is a mistake of whoever starts us.
const CREDENTIAL_BYTES_MIN: usize = 32;

/// How the server is started.
#[derive(Clone)]
pub struct ServerConfig {
    /// What the gateway shows to be let in: at least 32 bytes, new at every start.
    pub credential: String,
    /// `Host` values to answer to; loopback names when empty.
    pub hosts: Vec<String>,
}

/// Serves until `shutdown`, then finishes what is under way.
///
/// # Errors
/// When the credential is too short, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    library: Library,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    if config.credential.len() < CREDENTIAL_BYTES_MIN {
        return Err(std::io::Error::other(format!("magic: the credential must have at least {CREDENTIAL_BYTES_MIN} bytes")));
    }
    let app = router(library, config, shutdown.clone());
    axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

fn router(library: Library, config: ServerConfig, shutdown: CancellationToken) -> Router {
    let mut http = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(BODY_BYTES_MAX)
        .with_cancellation_token(shutdown)
        .enforce_origin_validation();
    if !config.hosts.is_empty() {
        http = http.with_allowed_hosts(config.hosts);
    }
    let handler = Magic { library };
    let service = StreamableHttpService::new(move || Ok(handler.clone()), Arc::new(NeverSessionManager::default()), http);
    let credential: Arc<str> = config.credential.into();
    Router::new().route_service(PATH, service).layer(from_fn_with_state(credential, admit))
}

/// Lets the gateway's requests through, or answers 401.
async fn admit(State(credential): State<Arc<str>>, mut request: Request, next: Next) -> Response {
    if !is_gateway(request.headers(), &credential) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response();
    }
    request.headers_mut().remove(header::AUTHORIZATION);
    request.headers_mut().remove(USER_HEADER);
    next.run(request).await
}

fn is_gateway(headers: &HeaderMap, credential: &str) -> bool {
    let shown = only(headers, header::AUTHORIZATION.as_str()).and_then(|shown| shown.strip_prefix(b"Bearer "));
    let names_somebody = only(headers, USER_HEADER).is_some_and(|user| !user.is_empty());
    names_somebody && shown.is_some_and(|shown| bool::from(shown.ct_eq(credential.as_bytes())))
}

/// The value of a header that must not come twice.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { Some(value.as_bytes()) }
}

/// One request's handler.
#[derive(Clone)]
struct Magic {
    library: Library,
}

impl ServerHandler for Magic {
    fn get_info(&self) -> Announced {
        Announced::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("magic", env!("CARGO_PKG_VERSION")))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        definitions::list().iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(definitions::list().to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let outcome = tools::call(&self.library, &request.name, request.arguments.unwrap_or_default()).await;
        let outcome = outcome.ok_or_else(|| ErrorData::invalid_params("Unknown tool", None))?;
        Ok(match outcome {
            Ok(value) => success(value),
            Err(error) => failure(&error),
        }
        .into())
    }
}

/// An object is also given as structured content.
fn success(value: Value) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(value.to_string())]);
    result.structured_content = Some(value).filter(Value::is_object);
    result
}

/// What went wrong is the model's to read: a tool error, never a protocol error.
fn failure(error: &ToolError) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(error.to_string())])
}
