//! `GET /v1/models`: pages of a list that is short, and one model by its name.

use http::StatusCode;
use serde_json::{Value, json};

pub const PATH: &str = "/v1/models";
/// These are listed; any other `claude-` model is served as well.
const MODELS: [(&str, &str); 6] = [
    ("claude-opus-5-5", "Claude Opus 5.5"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5"),
    ("claude-haiku-5-5", "Claude Haiku 5.5"),
    ("claude-opus-5", "Claude Opus 5"),
    ("claude-sonnet-5", "Claude Sonnet 5"),
    ("claude-haiku-4-5", "Claude Haiku 4.5"),
];
/// The real one's default and maximum.
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 1000;

/// Why there is no answer.
#[derive(Debug)]
pub struct NotThere {
    pub status: StatusCode,
    pub kind: &'static str,
    pub message: String,
}

/// # Errors
/// [`NotThere`] in the API's words.
pub fn answer(path: &str, query: &str) -> Result<String, NotThere> {
    match path.strip_prefix("/v1/models/") {
        None => page(query),
        Some(id) => {
            let found = MODELS.iter().find(|(known, _)| *known == id);
            let missing = || NotThere { status: StatusCode::NOT_FOUND, kind: "not_found_error", message: format!("model: {id}") };
            found.map(|known| model(known).to_string()).ok_or_else(missing)
        }
    }
}

fn page(query: &str) -> Result<String, NotThere> {
    let field = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let limit = match field("limit").map(str::parse::<usize>) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(_) => {
            let message = "limit: Input should be between 1 and 1000".to_owned();
            return Err(NotThere { status: StatusCode::BAD_REQUEST, kind: "invalid_request_error", message });
        }
    };
    let after = field("after_id").and_then(|id| MODELS.iter().position(|(known, _)| *known == id)).map_or(0, |place| place + 1);
    let rest = MODELS.get(after..).unwrap_or_default();
    let data: Vec<Value> = rest.iter().take(limit).map(model).collect();
    let id = |model: Option<&Value>| model.and_then(|model| model.get("id")).cloned();
    let (first, last) = (id(data.first()), id(data.last()));
    Ok(json!({"data": data, "has_more": rest.len() > limit, "first_id": first, "last_id": last}).to_string())
}

fn model((id, name): &(&str, &str)) -> Value {
    json!({"type": "model", "id": id, "display_name": name, "created_at": "2026-09-01T00:00:00Z"})
}
