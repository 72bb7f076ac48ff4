//! Everything that is kept of a user of a host: handed out as one document, and erased.

use crate::answer::Refusal;
use crate::hosts::HostUse;
use crate::session::Signed;
use crate::{Shared, Web};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use policy::{AuditEvent, Timestamp, UserId};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::{CONVERSATIONS, MESSAGES, SECTIONS, Section, StoreError};
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// Documents of one host's users that are written at the same time.
pub(crate) const EXPORTS_MAX: usize = 2;
/// Whoever takes nothing for so long is not waited for.
const TAKEN_WAIT: Duration = Duration::from_secs(20);
/// What is waited for at a time: so much comes through within that over any line that is worth it.
const PIECE_BYTES: usize = 64 << 10;
/// However slowly somebody reads, a document is over then.
const DOCUMENT_WAIT: Duration = Duration::from_secs(600);
/// Before a log that was in use is tried to be cut off again.
const SCRUB_PAUSE: Duration = Duration::from_secs(10);
/// How long a stopped run may take to end.
const END_WAIT: Duration = Duration::from_secs(30);
const BUSY_SECS: i64 = 10;
/// Of the format of the document.
const VERSION: u32 = 1;

/// What comes of a look at, or a change of, an app's data.
pub type OfApp<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What the apps that come with the gateway keep of users, in the gateway's own database.
pub trait AppData: Send + Sync {
    /// The ids of these apps. What others keep is with their own servers.
    fn apps(&self) -> &[&'static str];
    /// Some of what an app keeps of a user, and what the next ones are asked for with; none after the last.
    fn export<'a>(&'a self, app: &'a str, user: UserId, after: Option<String>) -> OfApp<'a, (Vec<Value>, Option<String>)>;
    /// Erases everything that the apps keep of a user; returns how many things of each.
    fn erase(&self, user: UserId) -> OfApp<'_, Vec<(&'static str, u64)>>;
}

/// Where there are no apps of the gateway's own.
pub(crate) struct NoApps;

impl AppData for NoApps {
    fn apps(&self) -> &[&'static str] {
        &[]
    }
    fn export<'a>(&'a self, _: &'a str, _: UserId, _: Option<String>) -> OfApp<'a, (Vec<Value>, Option<String>)> {
        Box::pin(async { Ok((Vec::new(), None)) })
    }
    fn erase(&self, _: UserId) -> OfApp<'_, Vec<(&'static str, u64)>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// `GET /v1/user/export`: a JSON object that is complete where it ends with its last brace.
#[utoipa::path(
    get,
    path = "/v1/user/export",
    operation_id = "exportUser",
    tag = "user",
    summary = "Reads everything that is kept of the user",
    description = "Members: `format`, `version`, `exported_at_ms`, `user`, `usage`, then lists and what the apps keep. It is written as it is \
                   read; where something fails the connection breaks off, and what came is no JSON.",
    responses((status = 200, description = "Everything that is kept of the user.", body = Object)),
)]
pub(crate) async fn export(State(web): State<Shared>, signed: Signed) -> Result<Response, Refusal> {
    let Some(HostUse { host, key, .. }) = &signed.host else { return Err(Refusal::not_found()) };
    let place = Arc::clone(&host.exports).try_acquire_owned().map_err(|_| BUSY)?;
    let now = web.clock.now();
    let (user, apps) = (signed.user, host.rules.apps.clone());
    // Also the calls of a moment ago.
    if let Err(error) = web.runs.flush_calls().await {
        tracing::warn!(%error, "an export is made without the calls of the last moment");
    }
    let head = head(&web, &signed, now).await?;
    web.store.record(AuditEvent::UserExported { user, key: key.id }, now).await?;
    let (outlet, body) = Outlet::new(TAKEN_WAIT);
    let stop = web.stop.clone();
    tokio::spawn(async move {
        let writer = Writer { web, user, outlet };
        let writing = tokio::time::timeout(DOCUMENT_WAIT, writer.write(head, &apps));
        tokio::select! {
            // Too late, it breaks off as it is dropped.
            _ = writing => {}
            () = stop.cancelled() => {}
        }
        drop(place);
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

const BUSY: Refusal = Refusal::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "document.busy",
    "As many exports of this host's users as may are being written right now. Read those, or try again in a moment.",
)
.after(BUSY_SECS);

/// The members before the lists.
async fn head(web: &Web, signed: &Signed, now: Timestamp) -> Result<Value, Refusal> {
    let row = web.store.user_row(signed.user).await?.ok_or(Refusal::not_found())?;
    let usage = web.store.usage_of(signed.user).await?;
    Ok(json!({
        "format": "hexward.user", "version": VERSION, "exported_at_ms": now.as_millis(),
        "user": {"id": signed.user, "issuer": row.issuer, "subject": row.subject, "tier": signed.standing.as_str(),
                 "created_at_ms": row.created_at.as_millis()},
        "usage": usage,
    }))
}

/// Where a document leaves, none being its end. What is dropped before that breaks off, for what is incomplete must not look complete.
struct Outlet {
    pieces: mpsc::Sender<Option<Bytes>>,
    wait: Duration,
}

impl Outlet {
    fn new(wait: Duration) -> (Self, Body) {
        let (pieces, written) = mpsc::channel(1);
        let body = stream::unfold(Some(written), |written| async move {
            let mut written: mpsc::Receiver<Option<Bytes>> = written?;
            match written.recv().await {
                Some(Some(piece)) => Some((Ok(piece), Some(written))),
                Some(None) => None,
                None => Some((Err(io::Error::other("the export broke off")), None)),
            }
        });
        (Self { pieces, wait }, Body::from_stream(body))
    }

    /// In pieces with bytes of their own: one that nobody takes holds no whole page.
    async fn send(&self, text: &str) -> Result<(), Broken> {
        for piece in text.as_bytes().chunks(PIECE_BYTES) {
            self.put(Some(Bytes::copy_from_slice(piece))).await?;
        }
        Ok(())
    }

    async fn end(&self) -> Result<(), Broken> {
        self.put(None).await
    }

    async fn put(&self, piece: Option<Bytes>) -> Result<(), Broken> {
        self.pieces.send_timeout(piece, self.wait).await.map_err(|_| Broken::Gone)
    }
}

struct Writer {
    web: Shared,
    user: UserId,
    outlet: Outlet,
}

/// Why a document was not written to its end.
enum Broken {
    /// Nobody reads it any more, or far too slowly.
    Gone,
    Store(StoreError),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Writer {
    async fn write(&self, head: Value, apps: &[String]) {
        match self.document(head, apps).await {
            Ok(()) | Err(Broken::Gone) => {}
            Err(Broken::Store(error)) => tracing::error!(%error, user = %self.user, "an export broke off"),
        }
    }

    async fn send(&self, text: String) -> Result<(), Broken> {
        self.outlet.send(&text).await
    }

    async fn document(&self, head: Value, apps: &[String]) -> Result<(), Broken> {
        let mut head = head.to_string();
        head.pop();
        self.send(head).await?;
        self.conversations().await?;
        for section in SECTIONS {
            self.send(format!(",\"{}\":[", section.name)).await?;
            self.rows(section, None).await?;
            self.send("]".to_owned()).await?;
        }
        let own = self.web.hosts.data.apps();
        self.send(",\"apps\":{".to_owned()).await?;
        for (index, app) in own.iter().filter(|app| apps.iter().any(|known| known == *app)).enumerate() {
            self.send(format!("{}\"{app}\":[", comma(index))).await?;
            self.app(app).await?;
            self.send("]".to_owned()).await?;
        }
        self.send(format!("}},\"apps_elsewhere\":{}}}\n", json!(elsewhere(own, apps)))).await?;
        self.outlet.end().await
    }

    async fn conversations(&self) -> Result<(), Broken> {
        self.send(format!(",\"{}\":[", CONVERSATIONS.name)).await?;
        let (mut after, mut count) = (Some(CONVERSATIONS.begin()), 0);
        while let Some(from) = after {
            let page = self.web.store.export_page(self.user, CONVERSATIONS, None, from).await?;
            for row in page.rows {
                let id = row.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
                let mut row = row.to_string();
                row.pop();
                self.send(format!("{}{row},\"{}\":[", comma(count), MESSAGES.name)).await?;
                self.rows(MESSAGES, Some(id)).await?;
                self.send("]}".to_owned()).await?;
                count += 1;
            }
            after = page.next;
        }
        self.send("]".to_owned()).await
    }

    async fn rows(&self, section: Section, conversation: Option<String>) -> Result<(), Broken> {
        let (mut after, mut count) = (Some(section.begin()), 0);
        while let Some(from) = after {
            let page = self.web.store.export_page(self.user, section, conversation.clone(), from).await?;
            count += self.list(count, &page.rows).await?;
            after = page.next;
        }
        Ok(())
    }

    async fn app(&self, app: &str) -> Result<(), Broken> {
        let (mut after, mut count) = (None, 0);
        loop {
            let (rows, next) = self.web.hosts.data.export(app, self.user, after).await?;
            count += self.list(count, &rows).await?;
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    async fn list(&self, before: usize, rows: &[Value]) -> Result<usize, Broken> {
        let rows: Vec<String> =
            rows.iter().enumerate().map(|(index, row)| format!("{}{row}", comma(before.saturating_add(index)))).collect();
        if !rows.is_empty() {
            self.send(rows.concat()).await?;
        }
        Ok(rows.len())
    }
}

const fn comma(index: usize) -> &'static str {
    if index == 0 { "" } else { "," }
}

/// Apps of a host whose data is not here.
fn elsewhere(own: &[&'static str], apps: &[String]) -> Vec<String> {
    apps.iter().filter(|app| !own.iter().any(|known| known == app)).cloned().collect()
}

/// What was erased, in rows of each kind.
#[derive(Serialize, ToSchema)]
pub(crate) struct Erasure {
    /// Of the gateway's own.
    erased: BTreeMap<&'static str, u64>,
    /// Of each app that comes with the gateway.
    apps: BTreeMap<&'static str, u64>,
    /// Apps of the host whose servers are elsewhere: what they keep they keep.
    apps_elsewhere: Vec<String>,
    /// What stays, without a name: money and what was done, by ids that lead to nobody.
    kept: [&'static str; 2],
}

/// `DELETE /v1/user`: ends what runs for the user, and erases what is kept of them. Done again, it does nothing more.
#[utoipa::path(
    delete,
    path = "/v1/user",
    operation_id = "eraseUser",
    tag = "user",
    summary = "Ends what runs for the user, and erases what is kept of them",
    description = "Done again, it does nothing more. The next assertion of the same subject makes a new user.",
    responses((status = 200, description = "What was erased.", body = Erasure)),
)]
pub(crate) async fn erase(State(web): State<Shared>, signed: Signed) -> Result<Json<Erasure>, Refusal> {
    let Some(HostUse { host, key, .. }) = &signed.host else { return Err(Refusal::not_found()) };
    let (user, apps, key) = (signed.user, host.rules.apps.clone(), key.id);
    // What was begun is done, whether or not somebody waits for it.
    let erasing = tokio::spawn(async move { erase_all(&web, user, key, &apps).await });
    erasing.await.unwrap_or(Err(Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "The server failed to erase this user. Try again; it was told to its operator.",
    )))
}

const ELSEWHERE: Refusal = Refusal::new(
    StatusCode::CONFLICT,
    "run.elsewhere",
    "Something of this user is still being worked on, maybe at another gateway, and nothing was erased. Stop it there, or wait \
     for its end, and try again.",
);

const BEGUN: Refusal = Refusal::new(
    StatusCode::CONFLICT,
    "run.elsewhere",
    "Something of this user was begun while they were being erased: only what apps keep is gone. Stop it, and try again.",
);

/// Goes on trying, once for all who were erased meanwhile.
fn scrub_later(web: &Shared) {
    if web.hosts.scrub_owed.swap(true, Ordering::SeqCst) {
        return;
    }
    let web = Arc::clone(web);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(SCRUB_PAUSE) => {}
                () = web.stop.cancelled() => return,
            }
            // Before it is tried, so that whoever comes in the middle of it is not forgotten.
            web.hosts.scrub_owed.store(false, Ordering::SeqCst);
            match web.store.scrub().await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "what was erased still stands in the database's log"),
            }
            if web.hosts.scrub_owed.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    });
}

async fn erase_all(web: &Shared, user: UserId, key: policy::KeyId, apps: &[String]) -> Result<Json<Erasure>, Refusal> {
    web.runs.end_all_of(user, END_WAIT).await;
    if web.store.active_run_of(user).await?.is_some() {
        return Err(ELSEWHERE);
    }
    // The apps first: as long as the user is there, all of it can be done again.
    let mut of_apps = web.hosts.data.erase(user).await?;
    let erased = web.store.erase_user(user, Some(key), web.clock.now()).await?.ok_or(BEGUN)?;
    // What began meanwhile can't write any more; what it wrote for an app before goes as well.
    web.runs.end_all_of(user, END_WAIT).await;
    for ((_, count), (_, later)) in of_apps.iter_mut().zip(web.hosts.data.erase(user).await?) {
        *count = count.saturating_add(later);
    }
    if let Err(error) = web.runs.empty_journal().await {
        tracing::warn!(%error, "what was erased stands, sealed, in the ledger's journal for now, and goes within ten minutes");
    }
    if let Err(error) = web.store.scrub().await {
        tracing::warn!(%error, "what was erased stands in the database's log for now: it is cut off as soon as nobody reads from it");
        scrub_later(web);
    }
    Ok(Json(Erasure {
        erased,
        apps: of_apps.into_iter().collect(),
        apps_elsewhere: elsewhere(web.hosts.data.apps(), apps),
        kept: ["ledger", "audit"],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_document_that_is_not_ended_breaks_off() {
        for ends in [true, false] {
            let (outlet, body) = Outlet::new(TAKEN_WAIT);
            let writing = tokio::spawn(async move {
                let sent = outlet.send("{").await.is_ok();
                sent && (!ends || outlet.end().await.is_ok())
            });
            let read = body.collect().await;
            assert_eq!(read.is_ok(), ends, "what is incomplete does not look complete");
            assert!(writing.await.expect("written"));
        }
    }

    #[tokio::test]
    async fn who_takes_nothing_is_not_waited_for() {
        let (outlet, _unread) = Outlet::new(Duration::from_millis(50));
        assert!(outlet.send("x").await.is_ok(), "one fits");
        assert!(matches!(outlet.send("x").await, Err(Broken::Gone)));
    }

    #[tokio::test]
    async fn who_takes_a_large_page_slowly_is_waited_for() {
        let (outlet, body) = Outlet::new(Duration::from_millis(500));
        let page = "x".repeat(PIECE_BYTES * 8 + 1);
        let writing = tokio::spawn(async move { outlet.send(&page).await.is_ok() && outlet.end().await.is_ok() });
        let (mut body, mut bytes) = (body, 0);
        while let Some(frame) = body.frame().await {
            bytes += frame.expect("more of it").into_data().expect("bytes").len();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(writing.await.expect("written"), "each piece came in time, the page did not");
        assert_eq!(bytes, PIECE_BYTES * 8 + 1);
    }
}
