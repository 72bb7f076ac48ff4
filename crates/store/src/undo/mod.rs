//! Undoing what agents did, as the journal has it: what can be undone, in which order, and how far an undo is.
//!
//! Invariant: of one call at most one undo is open, and one of which nobody knows whether it took effect stays the last. Every statement
//! that answers a person is keyed by the owner: another's calls do not exist.

mod plan;

pub(crate) use plan::PLANS;

use crate::tools::{self, ToolState};
use crate::{Place, Store, StoreError, Tx, Value, audit, statements};
use policy::{AuditEvent, CallId, ConversationId, Direction, RunId, Timestamp, UndoPermit, UserId};

/// Calls that one request undoes at most; more are left for the next one.
pub const UNDO_CALLS_MAX: usize = 1_000;
/// An undo that is open for longer never comes back: no app is waited for that long.
const OPEN_MAX_MICROS: i64 = 120_000_000;

statements! { ALL:
    KEEP = "INSERT INTO tool_undos (call_id, inverse, arguments, undone) VALUES (?1, ?2, ?3, 0)";
    /// 1 run. Another run of its conversation that may change things.
    READ_ACTIVE = "SELECT a.id FROM runs a JOIN runs r ON r.conversation_id = a.conversation_id \
                   WHERE r.id = ?1 AND a.state = 'active' AND a.writes = 1";
    /// 1 call, 2 the undo, 3 whether undone, 4 the inverse, 5 its sealed arguments: what was looked at must still hold.
    TAKE = "UPDATE tool_undos SET pending = ?2 \
            WHERE call_id = ?1 AND pending IS NULL AND undone = ?3 AND inverse = ?4 AND arguments = ?5";
    READ_ARGUMENTS = "SELECT arguments FROM tool_undos WHERE call_id = ?1 AND arguments IS NOT NULL";
    INSERT = "INSERT INTO tool_calls (id, run_id, user_id, app, tool, tool_use_id, effect, arguments, state, opened_at, undoes, gateway) \
              SELECT CAST(?1 AS TEXT), run_id, user_id, app, CAST(?3 AS TEXT), CAST(?4 AS TEXT), 'write', CAST(?5 AS TEXT), 'open', \
              CAST(?6 AS BIGINT), id, CAST(?7 AS TEXT) FROM tool_calls WHERE id = ?2";
    TURN = "UPDATE tool_undos SET undone = 1 - undone, pending = NULL, inverse = ?3, arguments = ?4 \
            WHERE call_id = ?1 AND pending = ?2";
    RELEASE = "UPDATE tool_undos SET pending = NULL WHERE call_id = ?1 AND pending = ?2";
    LATE = "UPDATE tool_calls SET state = 'uncertain', settled_at = ?1 \
            WHERE undoes IS NOT NULL AND state = 'open' AND opened_at < ?2";
}

/// The call by which an app takes back what a call of it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inverse {
    /// The tool.
    pub tool: String,
    /// Its arguments, a JSON object as text.
    pub arguments: String,
}

/// What is to be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UndoScope {
    /// One call.
    Call(CallId),
    /// Everything that a run did.
    Run(RunId),
    /// Everything that agents did for the person in an app.
    Since {
        /// The app.
        app: String,
        /// From when on.
        at: Timestamp,
    },
}

/// How a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndoStanding {
    /// It can be undone.
    Possible,
    /// It was undone, and can be done again.
    Undone,
    /// It was undone, and there is no way on.
    Final,
    /// There is no way back from it.
    NoWayBack,
    /// An undo of it is under way.
    Pending,
    /// Nobody knows whether it, or the undo of it, took effect. Never tried again.
    Uncertain,
}

impl UndoStanding {
    /// As pages and the command show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Undone => "undone",
            Self::Final => "final",
            Self::NoWayBack => "no_way_back",
            Self::Pending => "pending",
            Self::Uncertain => "uncertain",
        }
    }

    /// From the call's state, the tool that goes on from it, whether it is undone, and the state of an undo that is not over.
    fn of(state: &str, inverse: bool, undone: Option<i64>, pending: Option<&str>) -> Self {
        match (state, undone, pending) {
            ("uncertain", ..) => Self::Uncertain,
            (_, None, _) => Self::NoWayBack,
            (_, _, Some("open")) => Self::Pending,
            (_, _, Some(_)) => Self::Uncertain,
            (_, Some(0), None) if inverse => Self::Possible,
            (_, Some(0), None) => Self::NoWayBack,
            (_, Some(_), None) if inverse => Self::Undone,
            (_, Some(_), None) => Self::Final,
        }
    }
}

/// One change that an agent made.
#[derive(Clone, Debug)]
pub struct UndoEntry {
    /// The journal's entry.
    pub call: CallId,
    /// In which run.
    pub run: RunId,
    /// In which conversation, where there is one.
    pub conversation: Option<ConversationId>,
    /// What the model called it.
    pub tool_use_id: String,
    /// The tool.
    pub tool: String,
    /// How it stands.
    pub standing: UndoStanding,
    /// The call that goes on from there.
    pub inverse: Option<Inverse>,
}

/// What is to be undone or done again, in order.
#[derive(Clone, Debug)]
pub struct UndoPlan {
    /// The app of all of it.
    pub app: String,
    /// Whose.
    pub user: UserId,
    /// The calls: the newest first to undo, the oldest first to do again.
    pub entries: Vec<UndoEntry>,
    /// Whether there are more than one request undoes.
    pub more: bool,
    /// Whether an agent is changing things there right now.
    pub active: bool,
}

/// An undo that is permitted and journaled. Only [`Store::begin_undo`] makes one.
#[derive(Debug)]
pub struct OpenUndo {
    id: CallId,
    permit: UndoPermit,
    arguments: String,
}

impl OpenUndo {
    /// The undo's own id.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.id
    }
    /// What was permitted.
    #[must_use]
    pub const fn permit(&self) -> &UndoPermit {
        &self.permit
    }
    /// What to call the inverse with.
    #[must_use]
    pub fn arguments(&self) -> &str {
        &self.arguments
    }
}

/// Why an undo was not begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginUndoError {
    /// Another undo of the call was faster, or it stands otherwise by now.
    #[error("another undo of this call was faster")]
    Taken,
    /// An agent is changing things in the conversation.
    #[error("an agent is changing things in this conversation")]
    Active,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Journals an undo before it leaves, with its audit entry, in one commit. Of two at once one wins.
    ///
    /// # Errors
    /// [`BeginUndoError`]; then nothing was written.
    pub async fn begin_undo(
        &self,
        permit: UndoPermit,
        arguments: String,
        gateway: Option<&str>,
        now: Timestamp,
    ) -> Result<OpenUndo, BeginUndoError> {
        let (id, gateway) = (CallId::random(), gateway.map(str::to_owned));
        let (way, direction, by) = (permit.way().clone(), permit.direction(), permit.by());
        let kept = arguments.clone();
        self.write(move |tx| {
            if tx.query_opt(READ_ACTIVE, &[way.run.to_string().into()])?.is_some() {
                return Err(BeginUndoError::Active);
            }
            let call = Value::from(way.call.to_string());
            let undone = Value::from(direction == Direction::Redo);
            let key = tx.key_of(&way.user.to_string(), Some(now))?;
            let Some(row) = tx.query_opt(READ_ARGUMENTS, std::slice::from_ref(&call))? else { return Err(BeginUndoError::Taken) };
            let sealed = row.text(0)?;
            if key.open(way_of(&way.call.to_string()), &sealed)? != kept {
                return Err(BeginUndoError::Taken);
            }
            if tx.execute(TAKE, &[call.clone(), id.to_string().into(), undone, (&way.inverse).into(), sealed.into()])? != 1 {
                return Err(BeginUndoError::Taken);
            }
            let arguments = key.seal(tools::arguments_of(&id.to_string()), &kept)?;
            let params = [
                id.to_string().into(),
                call,
                (&way.inverse).into(),
                format!("undo-{id}").into(),
                arguments.into(),
                now.0.into(),
                gateway.clone().into(),
            ];
            tx.execute(INSERT, &params)?;
            let event = AuditEvent::UndoOpened {
                call: id,
                undoes: way.call,
                run: way.run,
                user: way.user,
                tool: way.inverse.clone(),
                redo: direction == Direction::Redo,
                by: by.as_str(),
            };
            Ok(audit::append(tx, &event, now)?)
        })
        .await?;
        Ok(OpenUndo { id, permit, arguments })
    }

    /// Journals how an undo came out, with its audit entry, in one commit. `onward` is the call that takes it back in turn. One that
    /// may have taken effect stays the call's last.
    ///
    /// # Errors
    /// [`StoreError`]; the undo then stays open and is later shown as uncertain.
    pub async fn end_undo(
        &self,
        open: OpenUndo,
        state: ToolState,
        result: String,
        onward: Option<Inverse>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (id, of_call, run, owner) = (open.id, open.permit.way().call, open.permit.way().run, open.permit.way().user);
        self.write(move |tx| {
            if !tools::settle(tx, id, state, &result, now)? {
                return Ok(());
            }
            let (call, undo) = (Value::from(of_call.to_string()), Value::from(id.to_string()));
            match state {
                ToolState::Done => {
                    let (tool, arguments) = onward.clone().map(|onward| (onward.tool, onward.arguments)).unzip();
                    let key = tx.key_of(&owner.to_string(), Some(now))?;
                    let arguments = key.seal_opt(way_of(&of_call.to_string()), arguments.as_deref())?;
                    tx.execute(TURN, &[call, undo, tool.into(), arguments.into()])?;
                }
                ToolState::Failed => {
                    tx.execute(RELEASE, &[call, undo])?;
                }
                ToolState::Uncertain => {}
            }
            audit::append(tx, &AuditEvent::UndoEnded { call: id, run, outcome: state.as_str() }, now)
        })
        .await
    }

    /// Marks undos that nobody waits for any more: whoever made them is gone. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_undos(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |tx| tx.execute(LATE, &[now.0.into(), now.0.saturating_sub(OPEN_MAX_MICROS).into()])).await
    }
}

/// Keeps the way back from a call.
pub(crate) fn keep(tx: &mut dyn Tx, call: CallId, inverse: &Inverse, now: Timestamp) -> Result<(), StoreError> {
    let call = call.to_string();
    let owner =
        tools::owner(tx, &call)?.ok_or_else(|| StoreError::Statement("a call that was settled is not there".to_owned()))?;
    let arguments = tx.key_of(&owner, Some(now))?.seal(way_of(&call), &inverse.arguments)?;
    tx.execute(KEEP, &[call.into(), (&inverse.tool).into(), arguments.into()]).map(|_| ())
}

/// Where the arguments of a call's way back stand.
const fn way_of(call: &str) -> Place<'_> {
    Place { table: "tool_undos", column: "arguments", row: call }
}
