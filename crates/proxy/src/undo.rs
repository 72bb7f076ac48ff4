//! The way of an undo: the person's own calls, the manifest's pairing, the journal, the inverse, the journal again; one call after the
//! other, in reverse order, within one app. It ends at the first that does not work out and says how far it came.
//!
//! Nothing here is reachable from a sandbox, and nothing is forced: what an app refuses stays as it is.

use crate::calling::{UNCERTAIN, UNREACHABLE, is_error, shown};
use crate::context::App;
use crate::mcp::upstream::UpstreamError;
use crate::offer::user_ref;
use crate::way_back;
use policy::{Clock, Direction, UndoneBy, UserId, WayBack, admit_undo};
use serde_json::{Map, Value};
use std::time::{Duration, Instant};
use store::{BeginUndoError, Change, Inverse, OpenUndo, Store, StoreError, ToolState, UndoEntry, UndoPlan, UndoStanding};

/// After so long no further call is begun: whoever asked still gets an answer, and asks again for the rest.
const BEGIN_WITHIN: Duration = Duration::from_secs(20);

/// Whoever undoes, for one request.
pub struct Undoing<'a> {
    /// The journal.
    pub store: &'a Store,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// This gateway's name in the database; none for a command.
    pub gateway: Option<&'a str>,
    /// Undo or redo.
    pub direction: Direction,
    /// For whom.
    pub by: UndoneBy,
}

/// What came of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UndoOutcome {
    /// It is undone, or done again.
    Done,
    /// It was so already.
    Already,
    /// What came later stands in the way; each sentence names one thing. Nothing was changed.
    Conflict(Vec<String>),
    /// The app did not do it.
    Failed(String),
    /// Nobody knows whether it took effect. It is not tried again.
    Uncertain,
    /// There is no way back from it.
    NoWayBack,
    /// Another undo of it is under way.
    Busy,
    /// An agent began to change things in its conversation.
    Active,
    /// It was not tried, because of what came before it.
    Left,
}

impl UndoOutcome {
    /// As pages and the command show it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Already => "already",
            Self::Conflict(_) => "conflict",
            Self::Failed(_) => "failed",
            Self::Uncertain => "uncertain",
            Self::NoWayBack => "no_way_back",
            Self::Busy => "busy",
            Self::Active => "active",
            Self::Left => "left",
        }
    }

    /// Whether those that come after it may be tried. What can't be undone at all keeps nobody from undoing the rest: where they depend on
    /// it, the app says so.
    const fn goes_on(&self) -> bool {
        matches!(self, Self::Done | Self::Already | Self::NoWayBack)
    }
}

/// One call of a report.
#[derive(Clone, Debug)]
pub struct UndoLine {
    /// The call as it was found.
    pub entry: UndoEntry,
    /// What came of it.
    pub outcome: UndoOutcome,
}

/// What came of a request to undo.
#[derive(Clone, Debug)]
pub struct UndoReport {
    /// Call by call, in the order in which they were tried.
    pub lines: Vec<UndoLine>,
    /// Whether there is more, for another request.
    pub more: bool,
}

impl Undoing<'_> {
    /// Undoes a plan, as far as it goes.
    ///
    /// # Errors
    /// [`StoreError`] when the journal failed. What was undone before that stands in it.
    pub async fn carry_out(&self, app: &App, plan: UndoPlan) -> Result<UndoReport, StoreError> {
        let (begun, mut lines, mut stopped, mut more) = (Instant::now(), Vec::new(), false, plan.more);
        for entry in plan.entries {
            if begun.elapsed() > BEGIN_WITHIN {
                more = true;
                stopped = true;
            }
            let outcome = match stopped {
                true => Ok(UndoOutcome::Left),
                false => self.one(app, plan.user, &entry).await,
            };
            match outcome {
                Ok(outcome) => {
                    stopped |= !outcome.goes_on();
                    lines.push(UndoLine { entry, outcome });
                }
                Err(error) => {
                    self.announce(app, plan.user, &lines);
                    return Err(error);
                }
            }
        }
        self.announce(app, plan.user, &lines);
        if let Some(upstream) = &app.upstream {
            upstream.forget(&plan.user.to_string());
        }
        Ok(UndoReport { lines, more })
    }

    async fn one(&self, app: &App, user: UserId, entry: &UndoEntry) -> Result<UndoOutcome, StoreError> {
        let inverse = match (entry.standing, self.direction, &entry.inverse) {
            (UndoStanding::Possible, Direction::Undo, Some(inverse)) | (UndoStanding::Undone, Direction::Redo, Some(inverse)) => {
                inverse
            }
            (UndoStanding::Undone | UndoStanding::Final, Direction::Undo, _) | (UndoStanding::Possible, Direction::Redo, _) => {
                return Ok(UndoOutcome::Already);
            }
            (UndoStanding::Pending, ..) => return Ok(UndoOutcome::Busy),
            (UndoStanding::Uncertain, ..) => return Ok(UndoOutcome::Uncertain),
            (UndoStanding::NoWayBack | UndoStanding::Final | UndoStanding::Possible | UndoStanding::Undone, ..) => {
                return Ok(UndoOutcome::NoWayBack);
            }
        };
        let way = WayBack {
            call: entry.call,
            run: entry.run,
            user,
            app: app.manifest.id.clone(),
            tool: entry.tool.clone(),
            inverse: inverse.tool.clone(),
        };
        let Ok(permit) = admit_undo(way, user, &app.manifest, self.direction, self.by) else {
            return Ok(UndoOutcome::NoWayBack);
        };
        match self.store.begin_undo(permit, inverse.arguments.clone(), self.gateway, self.clock.now()).await {
            Ok(open) => self.call(app, open).await,
            Err(BeginUndoError::Taken) => Ok(UndoOutcome::Busy),
            Err(BeginUndoError::Active) => Ok(UndoOutcome::Active),
            Err(BeginUndoError::Store(error)) => Err(error),
        }
    }

    /// Calls the inverse; using up the open undo is what allows it. Never repeated.
    async fn call(&self, app: &App, open: OpenUndo) -> Result<UndoOutcome, StoreError> {
        let way = open.permit().way().clone();
        let arguments: Map<String, Value> = serde_json::from_str(open.arguments()).unwrap_or_default();
        let mut result = match &app.upstream {
            Some(upstream) => upstream.call_with(&user_ref(way.user), &way.inverse, arguments, way_back::naming(open.id())).await,
            None => Err(UpstreamError::Unreachable("the app has no server".to_owned())),
        };
        let said = result.as_mut().map(way_back::take).unwrap_or_default();
        let text = result.as_ref().map(shown).unwrap_or_default();
        let outcome = match &result {
            Ok(result) if is_error(result) => {
                said.conflicts().map_or_else(|| UndoOutcome::Failed(text.clone()), UndoOutcome::Conflict)
            }
            Ok(_) => UndoOutcome::Done,
            Err(error) => {
                tracing::warn!(app = app.manifest.id, %error, undo = %open.id(), "an undo was not answered");
                if error.outcome_unknown() { UndoOutcome::Uncertain } else { UndoOutcome::Failed(UNREACHABLE.to_owned()) }
            }
        };
        let (state, text) = match &outcome {
            UndoOutcome::Done => (ToolState::Done, text),
            UndoOutcome::Uncertain => (ToolState::Uncertain, UNCERTAIN.to_owned()),
            UndoOutcome::Already
            | UndoOutcome::Conflict(_)
            | UndoOutcome::Failed(_)
            | UndoOutcome::NoWayBack
            | UndoOutcome::Busy
            | UndoOutcome::Active
            | UndoOutcome::Left => (ToolState::Failed, text),
        };
        let onward: Option<Inverse> = said.onward(&app.manifest, &way.tool, &way.inverse);
        self.store.end_undo(open, state, text, onward, self.clock.now()).await?;
        Ok(outcome)
    }

    /// Pages that show the app or the conversations look again.
    fn announce(&self, app: &App, user: UserId, lines: &[UndoLine]) {
        let changed = |line: &&UndoLine| matches!(line.outcome, UndoOutcome::Done | UndoOutcome::Uncertain);
        let mut conversations: Vec<_> = lines.iter().filter(changed).map(|line| line.entry.conversation).collect();
        if conversations.is_empty() {
            return;
        }
        self.store.announce(Change::App { user: user.to_string(), app: app.manifest.id.clone() });
        conversations.sort_unstable();
        conversations.dedup();
        for conversation in conversations.into_iter().flatten() {
            self.store.announce(Change::Undo { user, conversation });
        }
    }
}
