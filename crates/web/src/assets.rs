//! The pages, embedded at build time.

use crate::answer::Refusal;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

mod table {
    include!(concat!(env!("OUT_DIR"), "/pages.rs"));
}

const NOT_BUILT: &str =
    "<!doctype html><title>Hexward</title><p>The pages are not built. Run <code>make ui</code> and build the program again.</p>";
/// Names of assets hold a digest of their content, so they may be kept for ever.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// `GET /`
pub(crate) async fn index() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    match find("index.html") {
        Some(page) => (headers, page).into_response(),
        None => (headers, NOT_BUILT).into_response(),
    }
}

/// `GET /assets/...`
pub(crate) async fn file(Path(path): Path<String>) -> Result<Response, Refusal> {
    let name = format!("assets/{path}");
    let bytes = find(&name).ok_or(Refusal::not_found())?;
    let kind = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json" | "map") => "application/json",
        Some(_) | None => "application/octet-stream",
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, FOREVER)], bytes).into_response())
}

/// Exact names only: nothing is looked up in a file system.
fn find(name: &str) -> Option<&'static [u8]> {
    table::FILES.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}
