//! What there is to undo, and in which order. Every statement that answers a person is keyed by the owner.

use super::way_of;
use super::{Inverse, READ_ACTIVE, UNDO_CALLS_MAX, UndoEntry, UndoPlan, UndoScope, UndoStanding};
use crate::{Row, Statement, Store, StoreError, Tx, UserKey, Value, statements};
use policy::{CallId, ConversationId, Direction, RunId, Timestamp, UserId};

/// Calls that are looked through for what was undone.
const REDO_CALLS_MAX: usize = 10_000;

/// What is read of a call of an agent's. What a person does with their own hand stands in the journal under its own id instead of a run's.
macro_rules! entries {
    ($which:literal) => {
        concat!(
            "SELECT c.id, c.run_id, r.conversation_id, c.tool_use_id, c.app, c.tool, c.state, u.inverse, u.arguments, u.undone, p.state \
             FROM tool_calls c LEFT JOIN tool_undos u ON u.call_id = c.id LEFT JOIN tool_calls p ON p.id = u.pending \
             LEFT JOIN runs r ON r.id = c.run_id \
             WHERE c.user_id = ?1 AND c.undoes IS NULL AND c.run_id <> c.id AND c.effect = 'write' AND c.state IN ('done', 'uncertain') AND ",
            $which
        )
    };
}

statements! { PLANS:
    /// 1 user, 2 call.
    READ_CALL = entries!("c.id = ?2");
    /// 1 user, 2 run, 3 whether undone, 4 how many. In the order in which they came back, the newest first.
    LIST_OF_RUN = entries!("c.run_id = ?2 AND COALESCE(u.undone, 0) = ?3 ORDER BY c.settled_at DESC, c.id DESC LIMIT ?4");
    /// 1 user, 2 app, 3 whether undone, 4 how many, 5 since when.
    LIST_SINCE = entries!(
        "c.app = ?2 AND COALESCE(u.undone, 0) = ?3 AND c.opened_at >= ?5 ORDER BY c.settled_at DESC, c.id DESC LIMIT ?4"
    );
    OWNER_OF_CALL = "SELECT user_id FROM tool_calls WHERE id = ?1";
    OWNER_OF_RUN = "SELECT user_id FROM runs WHERE id = ?1";
    READ_RUN = "SELECT app FROM runs WHERE id = ?2 AND user_id = ?1";
    /// 1 user, 2 app. A run's app may be one of its skills, behind a slash.
    READ_ACTIVE_OF_USER = "SELECT id FROM runs \
                           WHERE user_id = ?1 AND (app = ?2 OR app LIKE ?2 || '/%') AND state = 'active' AND writes = 1";
    /// 1 user, 2 conversation.
    LIST_STANDING = "SELECT u.call_id, 'done', u.inverse, u.undone, p.state \
                     FROM tool_calls c JOIN tool_undos u ON u.call_id = c.id LEFT JOIN tool_calls p ON p.id = u.pending \
                     WHERE c.user_id = ?1 AND c.run_id IN (SELECT run_id FROM messages WHERE conversation_id = ?2)";
}

impl Store {
    /// What of the user's there is to undo or to do again; none if they have no such call or run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn undo_plan(&self, user: UserId, scope: UndoScope, direction: Direction) -> Result<Option<UndoPlan>, StoreError> {
        self.read(move |tx| match &scope {
            UndoScope::Call(call) => plan_of_call(tx, user, *call),
            UndoScope::Run(run) => plan_of_run(tx, user, *run, direction),
            UndoScope::Since { app, at } => plan_since(tx, user, app, *at, direction).map(Some),
        })
        .await
    }

    /// Whose call it is, for an operator.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn owner_of_call(&self, call: CallId) -> Result<Option<UserId>, StoreError> {
        self.read(move |tx| owner(tx, OWNER_OF_CALL, &call.to_string())).await
    }

    /// Whose run it is, for an operator.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn owner_of_run(&self, run: RunId) -> Result<Option<UserId>, StoreError> {
        self.read(move |tx| owner(tx, OWNER_OF_RUN, &run.to_string())).await
    }

    /// How the changes in the user's conversation stand: (journal's entry, standing) of those that could be undone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn undo_standings(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Vec<(String, UndoStanding)>, StoreError> {
        self.read(move |tx| {
            let rows = tx.query(LIST_STANDING, &[user.to_string().into(), conversation.to_string().into()])?;
            let standing = |row: &Row| {
                let pending = row.opt_text(4)?;
                let inverse = row.opt_text(2)?.is_some();
                Ok((row.text(0)?, UndoStanding::of(&row.text(1)?, inverse, row.opt_int(3)?, pending.as_deref())))
            };
            rows.iter().map(standing).collect()
        })
        .await
    }
}

fn owner(tx: &mut dyn Tx, by: Statement, id: &str) -> Result<Option<UserId>, StoreError> {
    let Some(row) = tx.query_opt(by, &[id.into()])? else { return Ok(None) };
    row.text(0)?.parse().map(Some).map_err(|_| StoreError::Statement("a kept user's id is none".to_owned()))
}

fn plan_of_call(tx: &mut dyn Tx, user: UserId, call: CallId) -> Result<Option<UndoPlan>, StoreError> {
    let Some(row) = tx.query_opt(READ_CALL, &[user.to_string().into(), call.to_string().into()])? else { return Ok(None) };
    let entry = entry(&*tx.key_of(&user.to_string(), None)?, &row)?;
    let active = tx.query_opt(READ_ACTIVE, &[entry.run.to_string().into()])?.is_some();
    Ok(Some(UndoPlan { app: row.text(4)?, user, entries: vec![entry], more: false, active }))
}

fn plan_of_run(tx: &mut dyn Tx, user: UserId, run: RunId, direction: Direction) -> Result<Option<UndoPlan>, StoreError> {
    let key = [Value::from(user.to_string()), run.to_string().into()];
    let Some(row) = tx.query_opt(READ_RUN, &key)? else { return Ok(None) };
    let active = tx.query_opt(READ_ACTIVE, &[run.to_string().into()])?.is_some();
    let rows = tx.query(LIST_OF_RUN, &[key.as_slice(), &limits(direction)].concat())?;
    let (entries, more) = in_order(&*tx.key_of(&user.to_string(), None)?, &rows, direction)?;
    // Whatever its skill was: a narrower list of tools for an agent is none for the person.
    let app = row.text(0)?.split('/').next().unwrap_or_default().to_owned();
    Ok(Some(UndoPlan { app, user, entries, more, active }))
}

fn plan_since(tx: &mut dyn Tx, user: UserId, app: &str, at: Timestamp, direction: Direction) -> Result<UndoPlan, StoreError> {
    let key = [Value::from(user.to_string()), app.into()];
    let active = tx.query_opt(READ_ACTIVE_OF_USER, &key)?.is_some();
    let rows = tx.query(LIST_SINCE, &[key.as_slice(), &limits(direction), &[at.0.into()]].concat())?;
    let (entries, more) = in_order(&*tx.key_of(&user.to_string(), None)?, &rows, direction)?;
    Ok(UndoPlan { app: app.to_owned(), user, entries, more, active })
}

/// Whether undone, and how many.
fn limits(direction: Direction) -> [Value; 2] {
    let (undone, calls_max) = match direction {
        Direction::Undo => (false, UNDO_CALLS_MAX),
        Direction::Redo => (true, REDO_CALLS_MAX),
    };
    [undone.into(), Value::Int(i64::try_from(calls_max.saturating_add(1)).unwrap_or(i64::MAX))]
}

fn in_order(key: &UserKey, rows: &[Row], direction: Direction) -> Result<(Vec<UndoEntry>, bool), StoreError> {
    let mut entries = rows.iter().map(|row| entry(key, row)).collect::<Result<Vec<_>, _>>()?;
    if direction == Direction::Redo {
        entries.reverse();
    }
    let more = entries.len() > UNDO_CALLS_MAX;
    entries.truncate(UNDO_CALLS_MAX);
    Ok((entries, more))
}

fn entry(key: &UserKey, row: &Row) -> Result<UndoEntry, StoreError> {
    let broken = |what: &str| StoreError::Statement(format!("a kept {what} is none"));
    let inverse = match (row.opt_text(7)?, row.opt_text(8)?) {
        (Some(tool), Some(arguments)) => Some(Inverse { tool, arguments: key.open(way_of(&row.text(0)?), &arguments)? }),
        (Some(_) | None, _) => None,
    };
    let pending = row.opt_text(10)?;
    Ok(UndoEntry {
        call: row.text(0)?.parse().map_err(|_| broken("call's id"))?,
        run: row.text(1)?.parse().map_err(|_| broken("run's id"))?,
        conversation: row.opt_text(2)?.map(|id| id.parse()).transpose().map_err(|_| broken("conversation's id"))?,
        tool_use_id: row.text(3)?,
        tool: row.text(5)?,
        standing: UndoStanding::of(&row.text(6)?, inverse.is_some(), row.opt_int(9)?, pending.as_deref()),
        inverse,
    })
}
