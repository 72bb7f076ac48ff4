//! The way of a tool call that a person makes with their own hand, from an app's page: the manifest's word for people, the journal,
//! the tool, the journal again. No run, no model and no agent is in it; the server is the same, and is reached the same way.

use crate::Proxy;
use crate::calling::{is_error, shown};
use crate::context::App;
use crate::mcp::upstream::UpstreamError;
use crate::offer::{unreachable_app, user_ref};
use crate::way_back;
use policy::{UserId, admit_person, digest_bytes};
use serde_json::{Map, Value, json};
use store::{Change, PersonRead, StoreError, ToolState};

/// What a tool answered a person.
#[derive(Debug)]
pub struct PersonAnswer {
    /// Whether it did what it was asked.
    pub ok: bool,
    /// The structured content, if it gave one.
    pub content: Option<Value>,
    /// Its texts, bounded: for people, if it did not.
    pub text: String,
    /// The way back from what it did, if the manifest has one that people may go: a tool and its arguments.
    pub undo: Option<Value>,
}

/// Why a tool did not answer a person.
#[derive(Debug, thiserror::Error)]
pub enum PersonCallError {
    /// There is no such app or tool for people.
    #[error("there is no such tool for people")]
    Unknown,
    /// The app's server did not answer, and certainly did nothing.
    #[error("the app's server did not answer")]
    Unreachable,
    /// Nobody knows whether it did what it was asked.
    #[error("the app's answer was lost")]
    Uncertain,
    /// The journal failed, so the call was not made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Proxy {
    /// Calls a tool of an app for a person.
    ///
    /// Run it as a task of its own: whoever drops it takes the journal's second entry with it.
    ///
    /// # Errors
    /// [`PersonCallError`].
    pub async fn call_for_person(
        &self,
        app: &App,
        user: UserId,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Result<PersonAnswer, PersonCallError> {
        let text = Value::Object(arguments.clone()).to_string();
        let digest = digest_bytes(text.as_bytes());
        let permit = admit_person(user, tool, digest, &app.manifest).map_err(|_| PersonCallError::Unknown)?;
        let upstream = app.upstream.as_ref().ok_or(PersonCallError::Unknown)?;
        let now = self.clock.now();
        let permit = match self.store.begin_person_read(permit, now) {
            Ok(read) => return self.read_for_person(app, read, (text, arguments)).await,
            Err(permit) => permit,
        };
        let open = self.store.open_person_call(permit, &app.manifest.id, &text, now).await?;
        drop(text);
        let (asker, meta) = (user_ref(user).in_person(), way_back::naming(open.id()));
        let mut result = upstream.call_with(&asker, open.permit().tool(), arguments, meta).await;
        let said = result.as_mut().map(way_back::take).unwrap_or_default();
        let inverse = said.inverse(&app.manifest, open.permit().tool());
        let (state, kept) = came(&result);
        if let Err(error) = self.store.settle_tool_call(open.id(), state, kept, self.clock.now()).await {
            tracing::error!(%error, call = %open.id(), "a person's call could not be settled; it will be uncertain");
        }
        if state != ToolState::Failed {
            self.store.announce(Change::App { user: user.to_string(), app: app.manifest.id.clone() });
        }
        let undo = inverse.filter(|inverse| app.manifest.people.contains_key(&inverse.tool)).and_then(|inverse| {
            let arguments: Value = serde_json::from_str(&inverse.arguments).ok()?;
            Some(json!({"tool": inverse.tool, "arguments": arguments}))
        });
        result.map(|result| answer(result, undo)).map_err(|error| failure(app, error))
    }

    /// A read changes nothing, so it is written down once, when it came back; what could not be written down is not answered.
    async fn read_for_person(
        &self,
        app: &App,
        read: PersonRead,
        (text, arguments): (String, Map<String, Value>),
    ) -> Result<PersonAnswer, PersonCallError> {
        let upstream = app.upstream.as_ref().ok_or(PersonCallError::Unknown)?;
        let (asker, meta) = (user_ref(read.permit().user()).in_person(), way_back::naming(read.id()));
        let mut result = upstream.call_with(&asker, read.permit().tool(), arguments, meta).await;
        drop(result.as_mut().map(way_back::take));
        self.store.end_person_read(read, &app.manifest.id, &text, came(&result), self.clock.now()).await?;
        result.map(|result| answer(result, None)).map_err(|error| failure(app, error))
    }
}

/// How a call came out. What a tool did for a person is on their page; the journal keeps the reason where it did nothing.
fn came(result: &Result<Value, UpstreamError>) -> (ToolState, String) {
    match result {
        Ok(result) if is_error(result) => (ToolState::Failed, shown(result)),
        Ok(_) => (ToolState::Done, String::new()),
        Err(error) if error.outcome_unknown() => (ToolState::Uncertain, String::new()),
        Err(_) => (ToolState::Failed, String::new()),
    }
}

fn answer(mut result: Value, undo: Option<Value>) -> PersonAnswer {
    let ok = !is_error(&result);
    let text = shown(&result);
    let content = result.as_object_mut().and_then(|fields| fields.remove("structuredContent")).filter(Value::is_object);
    PersonAnswer { ok, content, text, undo: undo.filter(|_| ok) }
}

fn failure(app: &App, error: UpstreamError) -> PersonCallError {
    let uncertain = error.outcome_unknown();
    // What the server says of itself is for the log.
    let _ = unreachable_app(app, error);
    if uncertain { PersonCallError::Uncertain } else { PersonCallError::Unreachable }
}
