//! Keys by which a person's own clients reach their tools: made here for oneself, shown once, listed, and ended.

use crate::Shared;
use crate::answer::Refusal;
use crate::body::StrictJson;
use crate::session::Signed;
use aws_lc_rs::rand;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use policy::{KeyId, KeyScope, Network, Timestamp, is_key_name, key_digest, key_token};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{ClientKeyError, KeyRow, NewClientKey};

const DAYS_MAX: i64 = 90;
const DAY_SECS: i64 = 86_400;

/// What a key is asked for with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    name: String,
    app: String,
    #[serde(default)]
    writes: bool,
    tools: Option<Vec<String>>,
    networks: Option<Vec<Network>>,
    #[serde(default = "days_usual")]
    expires_days: i64,
}

const fn days_usual() -> i64 {
    30
}

/// `GET /api/keys`: one's own keys, the newest first.
pub(crate) async fn list(State(web): State<Shared>, Signed { user, .. }: Signed) -> Result<Json<Value>, Refusal> {
    let (rows, now) = (web.store.client_keys_of(user).await?, web.clock.now());
    Ok(Json(rows.iter().map(|row| shown(row, now)).collect()))
}

/// `POST /api/keys`: makes one. Its token stands in this answer and nowhere else.
pub(crate) async fn create(
    State(web): State<Shared>,
    Signed { user, .. }: Signed,
    StrictJson(wanted): StrictJson<Wanted>,
) -> Result<Response, Refusal> {
    let Wanted { name, app, writes, tools, networks, expires_days } = wanted;
    if !is_key_name(&name) {
        return Err(invalid("key.name", "A key's name is 1 to 64 letters, digits, `-`, `_` and `.`."));
    }
    if !(1..=DAYS_MAX).contains(&expires_days) {
        return Err(invalid("key.expires_days", "A key is good for 1 to 90 days."));
    }
    let Some(manifest) = web.runs.app(&app).map(|app| &app.app.manifest).filter(|manifest| manifest.mcp.is_some()) else {
        return Err(invalid("key.app", "There is no such application here, or it has no tools."));
    };
    if tools.iter().flatten().any(|tool| !manifest.tools.contains_key(tool)) {
        return Err(invalid("key.tools", "The application has no such tool."));
    }
    let mut random = [0; 32];
    rand::fill(&mut random).map_err(|_| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server can't make a key right now. Try again.")
    })?;
    let (token, now) = (key_token(&random), web.clock.now());
    let scope = KeyScope { app: Some(app), tools, writes, networks, ..KeyScope::default() };
    let expires_at = now.plus_secs(expires_days.saturating_mul(DAY_SECS));
    let new = NewClientKey { digest: key_digest(token.as_bytes()), user, name, scope, expires_at };
    let row = web.store.create_client_key(new, now).await?;
    let mut body = shown(&row, now);
    if let Some(body) = body.as_object_mut() {
        body.insert("token".to_owned(), json!(token));
    }
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `DELETE /api/keys/{id}`: ends one of one's own. Gateways refuse it within a second.
pub(crate) async fn revoke(
    State(web): State<Shared>,
    Signed { user, .. }: Signed,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let id: KeyId = id.parse().map_err(|_| Refusal::not_found())?;
    match web.store.revoke_client_key(user, id, web.clock.now()).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::not_found()),
    }
}

const fn invalid(code: &'static str, message: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, message)
}

impl From<ClientKeyError> for Refusal {
    fn from(error: ClientKeyError) -> Self {
        match error {
            ClientKeyError::TooMany => Self::new(
                StatusCode::CONFLICT,
                "key.too_many",
                "You have as many keys as you may. End one that you don't need any more.",
            ),
            ClientKeyError::NoUser | ClientKeyError::Ended => Self::not_found(),
            ClientKeyError::Store(error) => error.into(),
        }
    }
}

/// A token is not among what can be shown.
fn shown(row: &KeyRow, now: Timestamp) -> Value {
    let over = |end: Option<Timestamp>| end.is_some_and(|end| now >= end);
    let state = match () {
        () if over(row.revoked_at) => "revoked",
        () if over(row.expires_at) => "expired",
        () => "live",
    };
    let scope = row.scope.clone().unwrap_or_default();
    json!({
        "id": row.id,
        "name": row.name,
        "app": scope.app,
        "writes": scope.writes,
        "tools": scope.tools,
        "networks": scope.networks,
        "state": state,
        "created_at_ms": row.created_at.as_millis(),
        "expires_at_ms": row.expires_at.map(Timestamp::as_millis),
        "used_at_ms": row.used_at.map(Timestamp::as_millis),
    })
}
