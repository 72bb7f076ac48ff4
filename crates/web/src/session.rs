//! Sessions: kept on the server, known by a random token in a cookie. Of the token only a keyed digest is stored.

use crate::answer::Refusal;
use crate::hosts::HostUse;
use crate::{Shared, Web};
use aws_lc_rs::{hmac, rand};
use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cookie::{Cookie, SameSite};
use data_encoding::BASE64URL_NOPAD;
use policy::{ConversationId, MESSAGE_CHARS_MAX, Manifest, RunId, Standing, UserId};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

/// Anonymous people: one user for each session.
const ISSUER: &str = "hexward:anonymous";
const TOKEN_BYTES: usize = 32;
/// `__Host-` binds a cookie to this host over TLS; on plain loopback browsers would not keep it.
const COOKIE_TLS: &str = "__Host-hexward-session";
const COOKIE_PLAIN: &str = "hexward-session";

/// For whom a request is made: the user of its session, or the one that a host's back end asserts. Routes that take it can't be reached
/// without one.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) user: UserId,
    pub(crate) standing: Standing,
    /// The host that asks, where it is one.
    pub(crate) host: Option<HostUse>,
}

impl Signed {
    /// Whether an app, or a skill of it, is there for this request. People have all.
    pub(crate) fn sees(&self, app: &str) -> bool {
        self.host.as_ref().is_none_or(|host| host.allows_app(app))
    }

    /// The key of the app of the user's conversation.
    pub(crate) async fn app_of_conversation(&self, web: &Web, id: ConversationId) -> Result<String, Refusal> {
        let app = web.store.app_of_conversation(self.user, id).await?;
        app.filter(|app| self.sees(app)).ok_or(Refusal::not_found())
    }

    /// Whether a run is of an app that is there for this request. Whose it is, every use of it says by itself.
    pub(crate) async fn check_run(&self, web: &Web, run: RunId) -> Result<(), Refusal> {
        if self.host.is_none() {
            return Ok(());
        }
        let app = web.store.app_of_run(self.user, run).await?;
        app.filter(|app| self.sees(app)).map(drop).ok_or(Refusal::not_found())
    }
}

impl FromRequestParts<Shared> for Signed {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, web: &Shared) -> Result<Self, Refusal> {
        // Only the door for hosts puts it there, and that lets no cookie pass.
        if let Some(signed) = parts.extensions.get::<Self>() {
            return Ok(signed.clone());
        }
        let signed = |user| Self { user, standing: Standing::Anonymous, host: None };
        web.user_of(&parts.headers).await?.map(signed).ok_or(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "session.none",
            "Your session is over. Reload the page to begin a new one.",
        ))
    }
}

/// `GET /api/session`: who one is and what the page needs to know; begins an anonymous session when there is none.
pub(crate) async fn show(State(web): State<Shared>, headers: HeaderMap) -> Result<Response, Refusal> {
    let (user, fresh) = match web.user_of(&headers).await? {
        Some(user) => (user, None),
        None => {
            let (user, token) = web.begin_session().await?;
            (user, Some(token))
        }
    };
    let settings = &web.settings;
    let manifest = web.runs.app(&settings.app).map(|app| &app.app.manifest).ok_or(Refusal::not_found())?;
    let apps = web.runs.apps().map(|app| &app.app.manifest).filter(|app| app.skill.is_none() && !app.people.is_empty());
    let apps: Vec<Value> = apps.map(told).collect();
    let body = json!({
        "user": {"id": user, "kind": "anonymous"},
        "app": told(manifest),
        "apps": apps,
        "mode": {"sandboxed": web.runs.driver().confines(), "warning": settings.warning, "model": settings.model},
        "limits": {"message_chars_max": MESSAGE_CHARS_MAX},
        "writes_default": settings.writes_default,
    });
    let mut response = Json(body).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(token) = fresh {
        let value = HeaderValue::from_str(&web.cookie(token)).map_err(|_| broken_random())?;
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    Ok(response)
}

/// What people read of an app.
fn told(app: &Manifest) -> Value {
    let skills = app.skills.iter().filter(|(_, skill)| skill.is_for(Standing::Anonymous));
    let skills: Vec<Value> = skills.map(|(name, skill)| json!({"id": name, "title": skill.title})).collect();
    json!({"id": app.id, "title": app.title, "greeting": app.greeting, "suggestions": app.suggestions, "skills": skills})
}

const fn broken_random() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server can't make a session right now. Try again.")
}

impl Web {
    async fn begin_session(&self) -> Result<(UserId, String), Refusal> {
        let mut bytes = [0; TOKEN_BYTES];
        rand::fill(&mut bytes).map_err(|_| broken_random())?;
        let token = BASE64URL_NOPAD.encode(&bytes);
        let digest = self.digest(&token);
        let now = self.clock.now();
        // The subject is not the token: who reads the database can't sign in as anybody.
        let subject = BASE64URL_NOPAD.encode(&policy::digest_bytes(&digest));
        let user = self.store.user_of(ISSUER, &subject, now).await?;
        self.store.open_session(digest, user, now).await?;
        Ok((user, token))
    }

    async fn user_of(&self, headers: &HeaderMap) -> Result<Option<UserId>, Refusal> {
        let Some(token) = token_of(headers, self.cookie_name()) else { return Ok(None) };
        Ok(self.store.user_of_session(self.digest(&token), self.clock.now()).await?)
    }

    fn digest(&self, token: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.settings.session_key.expose_secret().as_bytes());
        policy::digest_bytes(hmac::sign(&key, token.as_bytes()).as_ref())
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.settings.public_origin.as_deref().is_some_and(|origin| origin.starts_with("https://"))
    }

    fn cookie_name(&self) -> &'static str {
        if self.is_tls() { COOKIE_TLS } else { COOKIE_PLAIN }
    }

    fn cookie(&self, token: String) -> String {
        let cookie = Cookie::build((self.cookie_name(), token)).path("/").http_only(true).same_site(SameSite::Strict);
        cookie.secure(self.is_tls()).build().to_string()
    }
}

/// A cookie's value, if exactly one of this name was sent.
pub(crate) fn single_cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    token_of(headers, name)
}

/// The session's token, if exactly one well-formed one was sent.
fn token_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let lists = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found =
        lists.flat_map(|list| Cookie::split_parse(list.to_owned())).filter_map(Result::ok).filter(|cookie| cookie.name() == name);
    let first = found.next()?;
    let is_token = BASE64URL_NOPAD.decode(first.value().as_bytes()).is_ok_and(|bytes| bytes.len() == TOKEN_BYTES);
    (found.next().is_none() && is_token).then(|| first.value().to_owned())
}
