//! An app's prompts for people's own clients. A prompt is what a person picks, so agents in sandboxes have none.

use crate::context::App;
use crate::mcp::front::{HostError, PromptCall};
use crate::offer::{unreachable_app, user_ref};
use policy::UserId;
use serde_json::{Map, Value};

/// The app's prompts that its manifest lists.
pub(crate) async fn prompts(app: &App, user: UserId) -> Result<Vec<Value>, HostError> {
    let Some(upstream) = &app.upstream else { return Ok(Vec::new()) };
    let all = upstream.prompts(&user_ref(user)).await.map_err(|error| unreachable_app(app, error))?;
    let listed = |prompt: &Value| prompt.get("name").and_then(Value::as_str).is_some_and(|name| is_listed(app, name));
    Ok(all.into_iter().filter(listed).collect())
}

/// One of them, filled in.
pub(crate) async fn prompt(app: &App, user: UserId, call: PromptCall) -> Result<Value, HostError> {
    let upstream = app.upstream.as_ref().filter(|_| is_listed(app, &call.name)).ok_or(HostError::Unknown)?;
    upstream.prompt(&user_ref(user), &call.name, call.arguments, &call.back).await.map_err(|error| unreachable_app(app, error))
}

/// What an argument of a listed prompt, or of a listed resource's address, may be.
pub(crate) async fn complete(app: &App, user: UserId, params: Map<String, Value>) -> Result<Value, HostError> {
    let named = |at: &str| params.get("ref").and_then(|of| of.get(at)).and_then(Value::as_str);
    let listed = named("name").is_some_and(|name| is_listed(app, name))
        || named("uri").is_some_and(|uri| app.manifest.allows_resource(uri));
    let upstream = app.upstream.as_ref().filter(|_| listed).ok_or(HostError::Unknown)?;
    upstream.complete(&user_ref(user), params).await.map_err(|error| unreachable_app(app, error))
}

fn is_listed(app: &App, name: &str) -> bool {
    app.manifest.prompts.iter().any(|listed| listed == name)
}
