//! Who is let in for what: in front of every route of `/v1/` that needs a user.

use super::{Host, HostUse};
use crate::Shared;
use crate::answer::Refusal;
use crate::session::Signed;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use policy::{AuditEvent, DenialCode, HostAction, HostKey, ShownKey, UserId};
use std::sync::Arc;
use store::{Shown, StoreError};

/// One route's entrance.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) web: Shared,
    pub(crate) action: HostAction,
}

/// One answer for all that can be wrong with a key: who guesses learns nothing from it.
const NO_KEY: Refusal = Refusal::new(
    StatusCode::UNAUTHORIZED,
    "key",
    "No valid service key was shown as Authorization: Bearer. Use one that the operator made for this host.",
);
const NO_STORE: Refusal = Refusal::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "store.unavailable",
    "The server can't reach its database right now, so no key can be checked. Try again in a moment.",
);

/// Lets a request in with the user for whom it is made.
pub(crate) async fn admit(State(entry): State<Entry>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let Entry { web, action } = entry;
    let (host, key) = host_of(&web, request.extensions().get::<ShownKey>().cloned()).await?;
    match user_of(&web, &host, &key, action, (request.method(), request.headers())).await {
        Ok(signed) => {
            request.headers_mut().remove(header::COOKIE);
            request.extensions_mut().insert(signed);
            let response = next.run(request).await;
            if let Some(code) = response.extensions().get::<DenialCode>() {
                write_down(&web, &key, *code).await;
            }
            Ok(response)
        }
        Err(Denied::Rule(code)) => {
            write_down(&web, &key, code).await;
            Err(Refusal::denied(status_of(code), code))
        }
        Err(Denied::Store(error)) => Err(error.into()),
    }
}

/// Lets a request in that shows any host's key; nothing of a user's may be behind it.
pub(crate) async fn keyed(State(web): State<Shared>, request: Request, next: Next) -> Result<Response, Refusal> {
    host_of(&web, request.extensions().get::<ShownKey>().cloned()).await?;
    Ok(next.run(request).await)
}

/// The host whose key a request shows.
async fn host_of(web: &Shared, shown: Option<ShownKey>) -> Result<(Arc<Host>, Arc<HostKey>), Refusal> {
    let key = match shown {
        Some(ShownKey::Good(key)) => key,
        Some(ShownKey::Unavailable) => return Err(NO_STORE),
        Some(ShownKey::None) | None => return Err(NO_KEY),
    };
    // A key whose host is not configured any more opens nothing.
    let Some(host) = web.hosts.host(&key.host).map(Arc::clone) else {
        write_down(web, &key, DenialCode::HostUnknown).await;
        return Err(NO_KEY);
    };
    Ok((host, key))
}

fn status_of(code: DenialCode) -> StatusCode {
    if code == DenialCode::AssertionKeys {
        StatusCode::SERVICE_UNAVAILABLE
    } else if code == DenialCode::HostAction {
        StatusCode::FORBIDDEN
    } else {
        StatusCode::UNAUTHORIZED
    }
}

enum Denied {
    Rule(DenialCode),
    Store(StoreError),
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<DenialCode> for Denied {
    fn from(code: DenialCode) -> Self {
        Self::Rule(code)
    }
}

async fn user_of(
    web: &Shared,
    host: &Arc<Host>,
    key: &Arc<HostKey>,
    action: HostAction,
    (method, headers): (&Method, &HeaderMap),
) -> Result<Signed, Denied> {
    if !key.scope.allows_action(action) {
        return Err(DenialCode::HostAction.into());
    }
    let now = web.clock.now();
    let verified = host.verify(headers, now).await?;
    let shown = Shown {
        host: host.account.id.clone(),
        id_digest: verified.id_digest,
        token_digest: verified.token_digest,
        key: key.id,
        expires_at: verified.asserted.until,
    };
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let is_new = if reads { web.store.show_assertion(shown).await? } else { web.store.spend_assertion(shown).await? };
    if !is_new {
        return Err(DenialCode::AssertionReplayed.into());
    }
    let (issuer, subject) = (host.rules.user_issuer(), verified.asserted.subject);
    let user: UserId = match web.store.user_named(&issuer, &subject).await? {
        Some(user) => user,
        None => web.store.user_of(&issuer, &subject, now).await?,
    };
    let host = HostUse { host: Arc::clone(host), key: Arc::clone(key), subject: subject.into() };
    Ok(Signed { user, standing: verified.asserted.standing, host: Some(host) })
}

/// For the operator; one in a minute for each key.
async fn write_down(web: &Shared, key: &HostKey, code: DenialCode) {
    let now = web.clock.now();
    let Some(unwritten) = web.hosts.is_written(key.id, now) else { return };
    tracing::warn!(key = %key.id, host = key.host, %code, unwritten, "a host's request was refused");
    if let Err(error) = web.store.record(AuditEvent::HostRefused { key: key.id, code, unwritten }, now).await {
        tracing::error!(%error, "a refusal could not be written down");
    }
}
