//! What an app offers: of all that its server has, what its manifest lists.

use crate::Proxy;
use crate::context::App;
use crate::definitions::Definition;
use crate::mcp::front::{HostError, ServerInfo};
use crate::mcp::plain;
use crate::mcp::upstream::{UpstreamError, UserRef};
use policy::{ToolEffect, UserId};
use serde_json::Value;

/// What the door says of an app.
pub(crate) fn server_info(app: &App) -> ServerInfo {
    let manifest = &app.manifest;
    let name = manifest.mcp.as_ref().map_or(&manifest.id, |mcp| &mcp.name);
    ServerInfo { name: name.clone(), title: manifest.title.clone(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// The app's tools that its manifest offers, without those that are held or whose arguments can't be checked and, where changes are off, without what changes anything
/// by anybody's word.
pub(crate) async fn offered(proxy: &Proxy, app: &App, user: &UserRef, writes: bool) -> Result<Vec<Value>, HostError> {
    let Some(upstream) = &app.upstream else { return Ok(Vec::new()) };
    let all = upstream.tools(user).await.map_err(|error| unreachable_app(app, error))?;
    let mut seen = proxy.definitions.see(app, &all).await?;
    let mut may = |tool: &Value| {
        // Taken out, so that of two by one name only the first is offered.
        let named = tool.get("name").and_then(Value::as_str).and_then(|name| Some((name, seen.remove(name)?)));
        named.and_then(|(name, known)| Some((app.manifest.tools.get(name)?, known))).is_some_and(
            |(rule, Definition { listed, schema })| {
                !listed.held && schema.is_ok() && (writes || rule.class(listed.hints).effect == ToolEffect::Read)
            },
        )
    };
    Ok(all.into_iter().filter(|tool| may(tool)).map(plain).collect())
}

/// Reads a resource of an app for a person (their map, say): by the same path, but read-only and without a run.
///
/// # Errors
/// [`HostError`] when the manifest does not list it or the app does not answer.
pub async fn read_resource(app: &App, user: UserId, uri: &str) -> Result<Value, HostError> {
    if !app.manifest.allows_resource(uri) {
        return Err(HostError::Unknown);
    }
    let upstream = app.upstream.as_ref().ok_or(HostError::Unknown)?;
    upstream.read_resource(&user_ref(user), uri).await.map_err(|error| unreachable_app(app, error))
}

/// The app's resources that its manifest lists.
pub(crate) async fn resources(app: &App, user: UserId) -> Result<Vec<Value>, HostError> {
    let Some(upstream) = &app.upstream else { return Ok(Vec::new()) };
    let all = upstream.resources(&user_ref(user)).await.map_err(|error| unreachable_app(app, error))?;
    let listed =
        |resource: &Value| resource.get("uri").and_then(Value::as_str).is_some_and(|uri| app.manifest.allows_resource(uri));
    Ok(all.into_iter().filter(listed).collect())
}

/// How addresses of the app's resources are made.
pub(crate) async fn resource_templates(app: &App, user: UserId) -> Result<Vec<Value>, HostError> {
    let Some(upstream) = &app.upstream else { return Ok(Vec::new()) };
    upstream.resource_templates(&user_ref(user)).await.map_err(|error| unreachable_app(app, error))
}

pub(crate) fn user_ref(user: UserId) -> UserRef {
    UserRef::new(user.to_string())
}

pub(crate) fn unreachable_app(app: &App, error: UpstreamError) -> HostError {
    tracing::warn!(app = app.manifest.id, %error, "the app's tools did not answer");
    error.into()
}
