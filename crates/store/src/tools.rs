//! The tool journal: a call is written down before it leaves and after it came back.
//!
//! What changes something survives a loss of power. What only reads comes here by way of the ledger's journal, and the last moment of it
//! may be lost by one.

use crate::ledger::{ReadEnded, ReadOpened};
use crate::undo::{self, Inverse};
use crate::{OpenError, Place, Store, StoreError, Tx, audit, erase, statements};
use data_encoding::HEXLOWER;
use policy::{AuditEvent, CallId, Denial, DenialCode, RunId, Timestamp, ToolEffect, ToolPermit, UserId};

statements! { ALL:
    INSERT = "INSERT INTO tool_calls (id, run_id, user_id, app, tool, tool_use_id, effect, arguments, state, opened_at) \
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'open', ?9)";
    /// As it came out, or open. The journal may be read again.
    INSERT_READ = "INSERT INTO tool_calls (id, run_id, user_id, app, tool, tool_use_id, effect, arguments, state, result, opened_at, settled_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'read', ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING";
    SETTLE = "UPDATE tool_calls SET state = ?2, result = ?3, settled_at = ?4 WHERE id = ?1 AND state = 'open'";
    LEFT_OPEN = "UPDATE tool_calls SET state = 'uncertain', settled_at = ?1 \
                 WHERE state = 'open' AND (gateway = ?2 OR (undoes IS NULL AND run_id IN (SELECT id FROM runs WHERE gateway = ?2 \
                 UNION SELECT id FROM client_windows WHERE gateway = ?2)))";
    OWNER = "SELECT user_id FROM tool_calls WHERE id = ?1";
    LIST_OF_RUN = "SELECT tool, effect, state FROM tool_calls WHERE run_id = ?1 ORDER BY id";
}

/// A tool call that is permitted and journaled: what calling the tool needs. Only [`Store::open_tool_call`] and
/// [`Store::begin_confirmed`] make one.
#[derive(Debug)]
pub struct OpenToolCall {
    id: CallId,
    permit: ToolPermit,
}

impl OpenToolCall {
    /// For what was journaled in a commit of its own.
    pub(crate) const fn opened(id: CallId, permit: ToolPermit) -> Self {
        Self { id, permit }
    }

    /// The call's id.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.id
    }
    /// What was permitted.
    #[must_use]
    pub const fn permit(&self) -> &ToolPermit {
        &self.permit
    }
}

/// A line of the journal about to be written.
pub(crate) struct Entry {
    pub(crate) id: CallId,
    pub(crate) run: RunId,
    pub(crate) user: UserId,
    pub(crate) app: String,
    pub(crate) tool: String,
    pub(crate) tool_use_id: String,
    pub(crate) effect: ToolEffect,
    pub(crate) arguments: String,
    /// Of the canonical arguments, hexadecimal.
    pub(crate) digest: String,
}

impl Entry {
    /// Writes it down inside the caller's transaction, with its audit entry.
    pub(crate) fn insert(&self, tx: &mut dyn Tx, now: Timestamp) -> Result<(), StoreError> {
        let effect = match self.effect {
            ToolEffect::Read => "read",
            ToolEffect::Write => "write",
        };
        let (id, user) = (self.id.to_string(), self.user.to_string());
        let arguments = tx.key_of(&user, Some(now))?.seal(arguments_of(&id), &self.arguments)?;
        let params = [
            id.into(),
            self.run.to_string().into(),
            user.into(),
            (&self.app).into(),
            (&self.tool).into(),
            (&self.tool_use_id).into(),
            effect.into(),
            arguments.into(),
            now.0.into(),
        ];
        tx.execute(INSERT, &params)?;
        let (tool, arguments) = (self.tool.clone(), self.digest.clone());
        audit::append(tx, &AuditEvent::ToolCallOpened { call: self.id, run: self.run, tool, arguments }, now)
    }
}

/// How a tool call came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolState {
    /// The tool did it.
    Done,
    /// The tool said that it did not do it.
    Failed,
    /// Nobody knows: the answer was lost. Never retried.
    Uncertain,
}

impl ToolState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Uncertain => "uncertain",
        }
    }
}

impl Store {
    /// Journals a permitted call before it leaves, with its audit entry, in one commit. The same emission opens once. What only reads
    /// goes into the ledger's journal instead ([`crate::Ledger::begin_read`]).
    ///
    /// # Errors
    /// [`OpenError::Denied`] when this `tool_use_id` was used in this run before, [`OpenError::Store`] when the database failed.
    pub async fn open_tool_call(
        &self,
        permit: ToolPermit,
        app: &str,
        tool_use_id: &str,
        arguments: String,
        now: Timestamp,
    ) -> Result<OpenToolCall, OpenError> {
        let id = CallId::random();
        let again = Denial::new(DenialCode::ToolNotEmitted, &permit.request().tool);
        let entry = Entry {
            id,
            run: permit.run(),
            user: permit.user(),
            app: app.to_owned(),
            tool: permit.request().tool.clone(),
            tool_use_id: tool_use_id.to_owned(),
            effect: permit.effect(),
            arguments,
            digest: HEXLOWER.encode(&permit.request().arguments_digest),
        };
        match self.write(move |tx| entry.insert(tx, now)).await {
            Ok(()) => Ok(OpenToolCall { id, permit }),
            Err(StoreError::Duplicate(_)) => Err(OpenError::Denied(again)),
            Err(error) => Err(error.into()),
        }
    }

    /// Journals the way back.
    ///
    /// # Errors
    /// [`StoreError`]; the call then stays open and is later shown as uncertain.
    pub async fn settle_tool_call(&self, id: CallId, state: ToolState, result: String, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| settle(tx, id, state, &result, now).map(|_| ())).await
    }

    /// The same of a call that can be undone, with how, in one commit.
    ///
    /// # Errors
    /// As [`Store::settle_tool_call`].
    pub async fn settle_reversible_call(
        &self,
        id: CallId,
        result: String,
        inverse: Inverse,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            if settle(tx, id, ToolState::Done, &result, now)? {
                undo::keep(tx, id, &inverse, now)?;
            }
            Ok(())
        })
        .await
    }

    /// Marks calls of a former life of this gateway that never came back; returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_tool_calls(&self, gateway: &str, now: Timestamp) -> Result<u64, StoreError> {
        let gateway = gateway.to_owned();
        self.write(move |tx| tx.execute(LEFT_OPEN, &[now.0.into(), (&gateway).into()])).await
    }

    /// The calls of a run in order: (tool, effect, state).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tool_calls_of(&self, run: RunId) -> Result<Vec<(String, String, String)>, StoreError> {
        self.read(move |tx| {
            let rows = tx.query(LIST_OF_RUN, &[run.to_string().into()])?;
            rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?, row.text(2)?))).collect()
        })
        .await
    }
}

/// Writes down a read as the ledger's journal tells of it, with its audit entry; once. Of whoever was erased meanwhile there is the audit
/// entry alone, which has ids and a digest (twice, where a killed gateway's journal is read again), and the answer is true.
pub(crate) fn insert_read(tx: &mut dyn Tx, call: &ReadOpened, end: Option<&ReadEnded>) -> Result<bool, StoreError> {
    let (id, user, at) = (call.id.to_string(), call.user.to_string(), Timestamp(call.at));
    let opened = AuditEvent::ToolCallOpened {
        call: call.id,
        run: call.run,
        tool: String::from(&*call.tool),
        arguments: String::from(&*call.digest),
    };
    let key = match tx.key_of(&user, Some(at)) {
        Ok(key) => key,
        Err(error @ (StoreError::Sealed(_) | StoreError::MasterKey(_))) => {
            let of_erased = erase::is_erased(tx, &user)?;
            if !of_erased {
                // One user's key that is not there holds up nobody else.
                tracing::error!(%error, %user, call = %id, "a read can't be sealed, so only its audit entry is written");
            }
            return audit::append(tx, &opened, at).map(|()| of_erased);
        }
        Err(error) => return Err(error),
    };
    let arguments = key.seal(arguments_of(&id), &call.arguments)?;
    let tool_use_id = if call.tool_use_id.is_empty() { format!("client_{id}") } else { String::from(&*call.tool_use_id) };
    let result = key.seal_opt(Place::new("tool_calls", "result", &id), end.map(|end| &*end.result))?;
    let params = [
        (&id).into(),
        call.run.to_string().into(),
        user.into(),
        (&*call.app).into(),
        (&*call.tool).into(),
        (&tool_use_id).into(),
        arguments.into(),
        end.map_or("open", |end| end.state.as_str()).into(),
        result.into(),
        at.0.into(),
        end.map(|end| end.at).into(),
    ];
    if tx.execute(INSERT_READ, &params)? == 1 {
        audit::append(tx, &opened, at)?;
    } else if owner(tx, &id)?.is_none() {
        // A run claims each emission once, in memory, so this is none of ours to lose anything else by.
        tracing::error!(call = id, tool_use_id, "a call of this name was journaled in this run before, so this read has no row");
        audit::append(tx, &opened, at)?;
    } else if let Some(end) = end {
        settle(tx, call.id, end.state, &end.result, Timestamp(end.at))?;
    }
    Ok(false)
}

/// Whether the call was still open.
pub(crate) fn settle(tx: &mut dyn Tx, id: CallId, state: ToolState, result: &str, now: Timestamp) -> Result<bool, StoreError> {
    let id = id.to_string();
    let Some(owner) = owner(tx, &id)? else { return Ok(false) };
    let result = tx.key_of(&owner, Some(now))?.seal(Place::new("tool_calls", "result", &id), result)?;
    Ok(tx.execute(SETTLE, &[id.into(), state.as_str().into(), result.into(), now.0.into()])? == 1)
}

/// Whose call it is.
pub(crate) fn owner(tx: &mut dyn Tx, id: &str) -> Result<Option<String>, StoreError> {
    tx.query_opt(OWNER, &[id.into()])?.map(|row| row.text(0)).transpose()
}

/// Where a call's arguments stand.
pub(crate) const fn arguments_of(id: &str) -> Place<'_> {
    Place { table: "tool_calls", column: "arguments", row: id }
}
