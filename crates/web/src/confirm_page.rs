//! The page on which a host's user answers one question in their own browser: `/confirm`. It has no script and can't be framed, and its
//! session is for this question alone.

use crate::answer::Refusal;
use crate::hosts::random_token;
use crate::session::single_cookie;
use crate::{Shared, Web};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use cookie::{Cookie, SameSite};
use policy::{ConfirmationState, digest_bytes};
use store::{Confirmation, ConfirmationLink};

const COOKIE_TLS: &str = "__Host-hexward-confirm";
const COOKIE_PLAIN: &str = "hexward-confirm";
const ANSWER_BYTES_MAX: usize = 1_024;
const GONE: &str = "This link is over or was used before. Go back to where you came from, and open it from there again.";

/// `GET /confirm/{code}`: the code becomes a session, once, and leaves the address.
pub(crate) async fn enter(State(web): State<Shared>, Path(code): Path<String>) -> Result<Response, Refusal> {
    let token = random_token()?;
    let (code, session) = (digest_bytes(code.as_bytes()), digest_bytes(token.as_bytes()));
    if !web.store.open_confirmation_link(code, session, web.clock.now()).await? {
        return Ok(page(StatusCode::GONE, GONE, None));
    }
    // Lax, because somebody comes from the host's page; what changes something must come from this origin all the same.
    let cookie = Cookie::build((web.confirm_cookie(), token)).path("/").http_only(true).same_site(SameSite::Lax);
    let cookie = cookie.secure(web.is_tls()).build().to_string();
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/confirm"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// `GET /confirm`: what would happen. From now on it counts as shown.
pub(crate) async fn show(State(web): State<Shared>, headers: HeaderMap) -> Result<Response, Refusal> {
    let Some(link) = web.link_of(&headers).await? else { return Ok(page(StatusCode::GONE, GONE, None)) };
    match web.store.show_confirmation(link.user, link.confirmation, web.clock.now()).await? {
        Some(asked) if asked.state == ConfirmationState::Pending => Ok(question(&asked)),
        Some(asked) => Ok(page(StatusCode::OK, told(asked.state), link.return_to.as_deref())),
        None => Ok(page(StatusCode::GONE, GONE, None)),
    }
}

/// `POST /confirm` of the page's form: `answer=yes` or `answer=no`.
pub(crate) async fn answer(State(web): State<Shared>, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let Some(link) = web.link_of(&head.headers).await? else { return Ok(page(StatusCode::GONE, GONE, None)) };
    let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
    let approve = match body.as_ref() {
        b"answer=yes" => true,
        b"answer=no" => false,
        _ => return Err(Refusal::new(StatusCode::BAD_REQUEST, "confirm.answer", "Answer with the page's own buttons.")),
    };
    match web.runs.decide(link.user, link.confirmation, approve).await {
        Ok(decided) => Ok(page(StatusCode::OK, told(decided.confirmation.state), link.return_to.as_deref())),
        Err(error) => {
            let refusal = Refusal::from(error);
            // Too quick is no answer: the question is shown again.
            let asked = web.store.show_confirmation(link.user, link.confirmation, web.clock.now()).await?;
            if let Some(asked) = asked.filter(|asked| asked.state == ConfirmationState::Pending) {
                let mut response = question(&asked);
                *response.status_mut() = refusal.status;
                return Ok(response);
            }
            Ok(page(refusal.status, refusal.message, link.return_to.as_deref()))
        }
    }
}

impl Web {
    fn confirm_cookie(&self) -> &'static str {
        if self.is_tls() { COOKIE_TLS } else { COOKIE_PLAIN }
    }

    async fn link_of(&self, headers: &HeaderMap) -> Result<Option<ConfirmationLink>, Refusal> {
        let Some(token) = single_cookie(headers, self.confirm_cookie()) else { return Ok(None) };
        Ok(self.store.confirmation_link_of(digest_bytes(token.as_bytes()), self.clock.now()).await?)
    }
}

const fn told(state: ConfirmationState) -> &'static str {
    match state {
        ConfirmationState::Pending | ConfirmationState::Approved | ConfirmationState::Executing => "It is being done.",
        ConfirmationState::Denied => "You said no, so nothing was done.",
        ConfirmationState::Expired => "This waited for too long, so nothing was done.",
        ConfirmationState::Done => "It was done.",
        ConfirmationState::Failed => "It was tried and did not work. Nothing was changed.",
        ConfirmationState::Uncertain => "Nobody knows whether it took effect. Look before you ask for it again.",
    }
}

fn question(asked: &Confirmation) -> Response {
    let effect = asked.summary.as_deref().unwrap_or("The application does not say what this does.");
    let form = format!(
        "<h1>Shall this be done?</h1><p>{}</p><h2>{} · {}</h2><pre>{}</pre><form method=\"post\" action=\"/confirm\">\
         <button name=\"answer\" value=\"no\">No</button> <button name=\"answer\" value=\"yes\">Yes, do it</button></form>",
        escaped(effect),
        escaped(&asked.app),
        escaped(&asked.tool),
        escaped(&asked.arguments),
    );
    document(StatusCode::OK, &form)
}

fn page(status: StatusCode, text: &str, back: Option<&str>) -> Response {
    let back = back.map(|url| format!("<p><a href=\"{}\" rel=\"noreferrer\">Go back</a></p>", escaped(url))).unwrap_or_default();
    document(status, &format!("<p>{}</p>{back}", escaped(text)))
}

fn document(status: StatusCode, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Confirm</title></head><body><main>{body}</main></body></html>"
    );
    let mut response: Response<Body> = (status, Html(html)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Without any, a browser posts the form from an origin that it calls null, and nobody could answer.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Nothing may turn the order of letters around, or hide some (Unicode Standard Annex 9).
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn nothing_of_an_app_becomes_markup() {
        assert_eq!(escaped("<a href='x'>&\"\u{202e}b"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\\u{202e}b");
    }
}
