//! Calls that wait for their owner's yes, whichever door they came through. [`ask`] is how such a call is made: it has the effect
//! told by the application, asks the person, waits for a while and says what to tell the caller. [`decide`] is how the person's
//! answer comes in; from there on nobody but the gateway takes part, so a yes is carried out also when whoever asked is gone.
//!
//! Invariant: nothing that a caller sends reaches [`decide`]. It is called for a person with a session, and with an id that no
//! caller is told.

mod execute;
mod words;

pub use execute::{DecideError, Decided, decide};
pub(crate) use words::Answer;

use crate::Proxy;
use crate::calling::is_error;
use crate::context::App;
use crate::mcp::front::HostError;
use crate::mcp::visible;
use crate::offer::user_ref;
use crate::way_back;
use policy::{AuditEvent, Denial, DenialCode, ToolQuestion};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Change, Confirmation, NewConfirmation, OpenError};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// Says to an application that it shall tell what a call would do, and do nothing.
pub const DRY_RUN_META: &str = "hexward/dryRun";
/// Says which effect a call has to have, by the digest that the application told.
pub const EXPECTED_META: &str = "hexward/expected";
/// What an application says that a call would do: `{"digest", "summary"}`.
pub const EFFECT_META: &str = "hexward/effect";
/// How long a caller waits for the person, unless the configuration says otherwise. Agents give a call up after 60 seconds.
pub const CONFIRMATION_WAIT: Duration = Duration::from_secs(45);
/// Another gateway may have taken the answer, so it is looked for this often.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
const SUMMARY_CHARS_MAX: usize = 500;
const DIGEST_CHARS_MAX: usize = 128;

/// A call that needs a yes.
pub(crate) struct Asked<'a> {
    /// The app.
    pub(crate) app: &'a App,
    /// That it may be asked.
    pub(crate) question: ToolQuestion,
    /// The `tool_use` id, or what stands for it: each is asked about once.
    pub(crate) tool_use_id: &'a str,
    /// The name of the client, where it is not an agent of ours.
    pub(crate) asked_by: Option<String>,
    /// The arguments as they will be sent.
    pub(crate) arguments: Map<String, Value>,
    /// When whoever asks can't wait any longer.
    pub(crate) until: Instant,
    /// Whoever asks is gone.
    pub(crate) over: CancellationToken,
}

/// What a call would do, as its application says.
struct Effect {
    summary: String,
    digest: String,
}

/// Asks the owner of a call and waits for a while. `shown` is told of the question once it is there.
///
/// # Errors
/// [`AskError`]; then nobody was asked and nothing was done, unless the database was lost meanwhile.
pub(crate) async fn ask<F, Told>(proxy: &Arc<Proxy>, asked: Asked<'_>, shown: F) -> Result<Answer, AskError>
where
    F: FnOnce(Confirmation) -> Told,
    Told: Future<Output = ()>,
{
    let effect = match dry_run(&asked).await? {
        Planned::Effect(effect) => effect,
        // It would fail, so there is nothing to ask.
        Planned::Fails(result) => return Ok(Answer::failed(result)),
    };
    let (summary, effect_digest) = effect.map_or((None, None), |effect| (Some(effect.summary), Some(effect.digest)));
    let new = NewConfirmation {
        app: asked.app.manifest.id.clone(),
        tool_use_id: asked.tool_use_id.to_owned(),
        asked_by: asked.asked_by,
        arguments: Value::Object(asked.arguments).to_string(),
        summary,
        effect_digest,
        gateway: proxy.gateway.clone(),
        question: asked.question,
    };
    // Before it can be answered, so that no answer is missed.
    let mut changes = proxy.store.changes();
    let confirmation = proxy.store.ask(new, proxy.clock.now()).await?;
    tracing::info!(confirmation = %confirmation.id, app = confirmation.app, tool = confirmation.tool, "a person is asked to confirm a call");
    let (id, user) = (confirmation.id, confirmation.user.to_string());
    shown(confirmation).await;
    let answered = async {
        while !proxy.store.confirmation(id).await?.is_none_or(|row| row.state.is_over()) {
            let news = async {
                loop {
                    match changes.recv().await {
                        Ok(Change::Confirmation { user: of }) if of == user => return,
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            let _ = tokio::time::timeout(LOOK_PAUSE, news).await;
        }
        Ok::<_, store::StoreError>(())
    };
    tokio::select! {
        looked = answered => looked?,
        () = asked.over.cancelled() => {}
        () = tokio::time::sleep_until(asked.until.into()) => {}
    }
    // Whoever asked goes on; what comes later is told to the conversation.
    Ok(Answer::of(&proxy.store.leave_confirmation(id).await?))
}

/// Why a call could not be asked about.
#[derive(Debug)]
pub(crate) enum AskError {
    /// It may not be, or not be written down.
    Open(OpenError),
    /// Its application did not answer, and did nothing.
    Host(HostError),
}

impl From<OpenError> for AskError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<store::StoreError> for AskError {
    fn from(error: store::StoreError) -> Self {
        Self::Open(OpenError::Store(error))
    }
}

/// What came of a dry run.
enum Planned {
    /// What it would do, if the application can say that.
    Effect(Option<Effect>),
    /// It would fail like this.
    Fails(Value),
}

/// The gateway's own question to the application; nobody else's words come into what the person is shown.
async fn dry_run(asked: &Asked<'_>) -> Result<Planned, AskError> {
    let (manifest, request) = (&asked.app.manifest, asked.question.request());
    if !manifest.tools.get(&request.tool).is_some_and(|rule| rule.dry_run) {
        return Ok(Planned::Effect(None));
    }
    let denied = || AskError::Open(OpenError::Denied(Denial::new(DenialCode::ConfirmationUnknown, &request.tool)));
    let upstream = asked.app.upstream.as_ref().ok_or_else(denied)?;
    let meta = Map::from_iter([(DRY_RUN_META.to_owned(), json!(true))]);
    let user = user_ref(asked.question.user());
    let planned = upstream.call_with(&user, &request.tool, asked.arguments.clone(), meta).await;
    // Whatever became of it, a dry run changes nothing.
    let mut result = planned.map_err(|error| AskError::Host(HostError::Upstream(error.to_string())))?;
    let effect = effect_in(&result);
    let _ours = way_back::take(&mut result);
    if is_error(&result) {
        return Ok(Planned::Fails(result));
    }
    effect.map(|effect| Planned::Effect(Some(effect))).ok_or_else(denied)
}

/// The effect in a result: a sentence without anything that can't be seen, and a digest.
fn effect_in(result: &Value) -> Option<Effect> {
    let text = |name: &str| result.get("_meta")?.get(EFFECT_META)?.get(name)?.as_str();
    let summary: String = visible(text("summary")?).chars().filter(|c| !c.is_control()).take(SUMMARY_CHARS_MAX).collect();
    let digest =
        text("digest").filter(|digest| digest.len() <= DIGEST_CHARS_MAX && digest.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let good = !summary.trim().is_empty() && !digest.is_empty();
    good.then(|| Effect { summary, digest: digest.to_owned() })
}

/// Writes down why something that was confirmed was not done after all.
async fn record(proxy: &Proxy, confirmation: &Confirmation, denial: Denial) {
    proxy.record(AuditEvent::Denied { run: Some(confirmation.run), denial }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_is_a_sentence_that_can_be_seen_and_a_digest() {
        let of =
            |effect: Value| effect_in(&json!({"_meta": {EFFECT_META: effect}})).map(|effect| (effect.summary, effect.digest));
        let seen = of(json!({"summary": "Deletes A\u{202e}B\n and 41 tiles", "digest": "a1"}));
        assert_eq!(seen, Some(("Deletes AB and 41 tiles".to_owned(), "a1".to_owned())));
        for bad in [
            json!({}),
            json!({"summary": "x"}),
            json!({"summary": "", "digest": "a"}),
            json!({"summary": "x", "digest": ""}),
            json!({"summary": "\u{200b}", "digest": "a"}),
            json!({"summary": "x", "digest": "a b"}),
            json!("x"),
            json!({"summary": 1, "digest": 2}),
        ] {
            assert_eq!(of(bad.clone()), None, "{bad}");
        }
        let long = of(json!({"summary": "x".repeat(9_000), "digest": "a"})).expect("it is cut");
        assert_eq!(long.0.len(), SUMMARY_CHARS_MAX);
        assert!(effect_in(&json!({"content": []})).is_none());
    }
}
