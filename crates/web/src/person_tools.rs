//! What people do in an app's page with their own hand: `POST /api/apps/{app}/tools/{tool}`.

use crate::Shared;
use crate::answer::Refusal;
use crate::body::read_json;
use crate::path::Path;
use crate::serve::Peer;
use crate::session::Signed;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;
use utoipa::ToSchema;

/// A tile's content has up to 20,000 characters.
const BYTES_MAX: usize = 256 << 10;
const TOO_LARGE: Refusal =
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body.too_large", "The request is larger than 256 KiB. Send less at a time.");
/// Documents, where the manifest says that the tool takes them.
const DOCUMENT_BYTES_MAX: usize = 32 << 20;
const DOCUMENT_TOO_LARGE: Refusal = Refusal::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "body.too_large",
    "The document is larger than 32 MiB. Divide it, and send one part after the other.",
);
/// How long one waits for its turn; others' documents are in memory meanwhile.
const DOCUMENT_WAIT: Duration = Duration::from_secs(20);
const BUSY_SECS: i64 = 10;

/// `{"arguments": {...}}`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonCall {
    /// As the tool takes them.
    #[schema(value_type = Object)]
    arguments: Map<String, Value>,
}

/// What the tool did, or why it did nothing.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ToolAnswer)]
pub(crate) enum Answer {
    /// It did it.
    Done {
        /// True.
        ok: bool,
        /// What the tool answered.
        #[schema(required)]
        result: Option<Value>,
        /// The tool and the arguments that undo it; none where there is no such way back.
        #[schema(required)]
        undo: Option<Value>,
    },
    /// It did nothing.
    Nothing {
        /// False.
        ok: bool,
        /// Why, in the app's words.
        message: String,
    },
}

/// Calls a tool that the app's manifest lists for people, for the person of the session and for nobody else. The answer is
/// `{"ok": true, "result": {...}, "undo": ...}`, or `{"ok": false, "message": "..."}` in the words of the app where it did
/// nothing. `undo` is the tool and the arguments that undo it, or null.
#[utoipa::path(
    post,
    path = "/v1/apps/{app}/tools/{tool}",
    operation_id = "callTool",
    tag = "apps",
    summary = "Calls one of the tools that an app has for people",
    description = "At most 256 KiB, or 32 MiB for a tool that takes documents.",
    params(
        ("app" = String, Path, description = "The app's id."),
        ("tool" = String, Path, description = "One of those that the app's manifest lists for people."),
    ),
    request_body = PersonCall,
    responses((status = 200, description = "What the tool did, or why it did nothing.", body = Answer)),
)]
pub(crate) async fn call(
    State(web): State<Shared>,
    signed: Signed,
    peer: Option<Extension<Peer>>,
    Path((app, tool)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Answer>, Refusal> {
    let known = web.runs.app(&app).filter(|_| signed.sees(&app));
    let rule = known.and_then(|known| known.app.manifest.people.get(&tool)).cloned();
    // Before a byte of the body is read: what is not for people does not exist.
    let rule = rule.ok_or(Refusal::not_found())?;
    let (bytes_max, too_large, place) = if rule.large {
        let place = tokio::time::timeout(DOCUMENT_WAIT, web.documents.acquire()).await;
        (DOCUMENT_BYTES_MAX, DOCUMENT_TOO_LARGE, Some(place.map_err(|_| busy())?.map_err(|_| busy())?))
    } else {
        (BYTES_MAX, TOO_LARGE, None)
    };
    let PersonCall { arguments } = read_json(request, bytes_max, too_large).await?;
    // A host's own address says nothing of its users.
    let address = peer.filter(|_| signed.host.is_none()).map(|Extension(Peer(address))| address);
    let answer = web.runs.call_tool((signed.user, address), &app, &tool, arguments).await?;
    drop(place);
    Ok(Json(if answer.ok {
        Answer::Done { ok: true, result: answer.content, undo: answer.undo }
    } else {
        Answer::Nothing { ok: false, message: answer.text }
    }))
}

const fn busy() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "document.busy",
        "Other documents are being read right now. Try again in a moment.",
    )
    .after(BUSY_SECS)
}
