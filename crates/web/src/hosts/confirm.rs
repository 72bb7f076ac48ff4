//! A host hands a question over to the person's own browser: a link that opens once, at our own origin. Neither the host nor an agent
//! can answer it.

use super::HostUse;
use crate::Shared;
use crate::answer::Refusal;
use crate::body::StrictJson;
use crate::conversations::id_of;
use crate::path::Path;
use crate::session::Signed;
use aws_lc_rs::rand;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::BASE64URL_NOPAD;
use policy::{ConfirmationId, digest_bytes};
use runs::ConfirmationView;
use serde::{Deserialize, Serialize};
use store::ConfirmationLink;
use utoipa::ToSchema;

const RETURN_CHARS_MAX: usize = 2_000;

/// `{"return_to": "https://shop.example/orders/17"}`
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LinkRequest)]
pub(crate) struct Wanted {
    /// Where the person goes on afterwards: an address at one of the host's own origins, in printable ASCII.
    #[schema(max_length = 2000)]
    return_to: Option<String>,
}

/// A link for the person's own browser.
#[derive(Serialize, ToSchema)]
#[schema(as = ConfirmationLink)]
pub(crate) struct Made {
    /// Good once, at the top level of the browser.
    url: String,
    expires_at_ms: i64,
}

/// `GET /v1/confirmations`: what waits for the user. That a back end reads it does not count as shown.
#[utoipa::path(
    get,
    path = "/v1/confirmations",
    operation_id = "listConfirmations",
    tag = "confirmations",
    summary = "Lists what waits for the user's answer",
    description = "The oldest first. That a back end reads it does not count as shown.",
    responses((status = 200, description = "The questions.", body = Vec<ConfirmationView>)),
)]
pub(crate) async fn listed(State(web): State<Shared>, signed: Signed) -> Result<Json<Vec<ConfirmationView>>, Refusal> {
    let waiting = web.store.waiting_confirmations(signed.user, web.clock.now()).await?;
    Ok(Json(waiting.iter().filter(|asked| signed.sees(&asked.app)).map(ConfirmationView::from).collect()))
}

/// `POST /v1/confirmations/{id}/links`
#[utoipa::path(
    post,
    path = "/v1/confirmations/{id}/links",
    operation_id = "createConfirmationLink",
    tag = "confirmations",
    summary = "Hands a question over to the user's own browser",
    params(("id" = String, Path, format = "uuid", description = "The question.")),
    request_body = Wanted,
    responses((status = 201, description = "The link.", body = Made)),
)]
pub(crate) async fn link(
    State(web): State<Shared>,
    signed: Signed,
    Path(id): Path<String>,
    StrictJson(Wanted { return_to }): StrictJson<Wanted>,
) -> Result<(StatusCode, Json<Made>), Refusal> {
    let id: ConfirmationId = id_of(&id)?;
    let Some(HostUse { host, .. }) = &signed.host else { return Err(Refusal::not_found()) };
    let Some(origin) = web.settings.public_origin.as_deref() else {
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "confirm.origin",
            "The server does not know the address under which people reach it. Ask its operator to set HEXFRAME_API_BASE_URL.",
        ));
    };
    if return_to.as_deref().is_some_and(|url| !leads_to(url, &host.rules.origins)) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "confirm.return_to",
            "return_to must be an address at one of the host's own origins.",
        ));
    }
    let waiting = web.store.waiting_confirmations(signed.user, web.clock.now()).await?;
    let asked = waiting.into_iter().find(|asked| asked.id == id && signed.sees(&asked.app)).ok_or(Refusal::not_found())?;
    let code = random_token()?;
    let expires_at = asked.times.expires_at;
    let link = ConfirmationLink { confirmation: id, user: signed.user, host: host.account.id.clone(), return_to, expires_at };
    web.store.create_confirmation_link(digest_bytes(code.as_bytes()), link).await?;
    let made = Made { url: format!("{origin}/confirm/{code}"), expires_at_ms: expires_at.as_millis() };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Nobody guesses it.
pub(crate) fn random_token() -> Result<String, Refusal> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server can't make a link right now. Try again.")
    })?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

/// Whether an address is at one of these origins: the origin itself, and then a path or nothing.
fn leads_to(url: &str, origins: &[String]) -> bool {
    let rest = |origin: &String| url.strip_prefix(origin.as_str()).map(str::to_owned);
    let printable = url.len() <= RETURN_CHARS_MAX && url.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    printable && origins.iter().filter_map(rest).any(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::leads_to;

    #[test]
    fn one_is_led_back_to_the_host_alone() {
        let origins = ["https://shop.example".to_owned(), "http://localhost:3000".to_owned()];
        for own in ["https://shop.example", "https://shop.example/", "https://shop.example/a?b=c#d", "http://localhost:3000/x"] {
            assert!(leads_to(own, &origins), "{own}");
        }
        for other in [
            "",
            "/orders",
            "https://shop.example.evil.example/",
            "https://shop.example@evil.example/",
            "https://shop.example:444/",
            "http://shop.example/",
            "javascript:alert(1)",
            "https://shop.example/a b",
            "https://shop.example/\r\nx",
            "https://evil.example/https://shop.example/",
        ] {
            assert!(!leads_to(other, &origins), "{other}");
        }
    }
}
