//! Confirmations: calls that wait for their owner's yes, and what became of them.
//!
//! Invariant: only what is `approved` begins, in the commit that journals the call, and that leaves it `executing`: two answers,
//! two gateways or a restart can't make a call twice. Times are the database's.

mod ended;
mod row;

pub use row::{AnswerError, Confirmation, ConfirmationEnd, NewConfirmation};

use crate::tools::Entry;
use crate::{Change, OpenError, OpenToolCall, Place, Store, StoreError, Tx, audit, statements};
use data_encoding::HEXLOWER;
use ended::{expect_one, expire, finish, tell};
use policy::{
    AuditEvent, CONFIRMATION_SECS, CONFIRMATIONS_PENDING_MAX, CallId, ConfirmationFault, ConfirmationId, ConfirmationState,
    ConfirmationStep, ConfirmedPermit, ConversationId, Denial, DenialCode, Timestamp, UserId, answer_confirmation,
};

/// Where sealed values stand.
const TABLE: &str = "confirmations";

/// What a row is read as.
macro_rules! columns {
    () => {
        "SELECT c.id, c.user_id, c.run_id, c.app, c.tool, c.tool_use_id, c.asked_by, c.arguments, c.arguments_digest, c.class, \
         c.definition, c.writes, c.summary, c.effect_digest, c.state, c.result, c.late, c.created_at, c.shown_at, c.expires_at, \
         r.conversation_id, CASE WHEN c.reversible = 1 THEN c.call_id ELSE NULL END FROM confirmations c LEFT JOIN runs r ON r.id = c.run_id "
    };
}

statements! { ALL:
    INSERT = "INSERT INTO confirmations (id, user_id, run_id, app, tool, tool_use_id, asked_by, arguments, arguments_digest, class, \
              definition, writes, summary, effect_digest, state, gateway, late, reversible, created_at, expires_at) \
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 'pending', ?15, 0, 0, ?16, ?17)";
    COUNT_PENDING = "SELECT CAST(COUNT(*) AS BIGINT) FROM confirmations WHERE user_id = ?1 AND state = 'pending'";
    READ = concat!(columns!(), "WHERE c.id = ?1");
    READ_OWN = concat!(columns!(), "WHERE c.id = ?1 AND c.user_id = ?2");
    LIST_OWN = concat!(columns!(), "WHERE c.user_id = ?1 AND c.state = 'pending' ORDER BY c.created_at, c.id");
    LIST_OVER = concat!(columns!(), "WHERE c.state = 'pending' AND c.expires_at <= ?1 ORDER BY c.id LIMIT 1000");
    LIST_LEFT = concat!(columns!(), "WHERE c.executor = ?1 AND c.state IN ('approved', 'executing') ORDER BY c.id");
    MARK_SHOWN = "UPDATE confirmations SET shown_at = ?2 WHERE id = ?1 AND shown_at IS NULL";
    /// 1 id, 2 from, 3 to, 4 executor.
    ANSWER = "UPDATE confirmations SET state = ?3, executor = ?4 WHERE id = ?1 AND state = ?2";
    BEGIN = "UPDATE confirmations SET state = 'executing', call_id = ?2 WHERE id = ?1 AND state = 'approved'";
    /// 1 id, 2 from, 3 to, 4 result, 5 now, 6 whether it can be undone.
    END = "UPDATE confirmations SET state = ?3, result = ?4, ended_at = ?5, reversible = ?6 WHERE id = ?1 AND state = ?2";
    MARK_LATE = "UPDATE confirmations SET late = 1 WHERE id = ?1";
    ALL_LATE = "UPDATE confirmations SET late = 1 WHERE gateway = ?1 AND state IN ('pending', 'approved', 'executing')";
    CALL_STATE = "SELECT t.state, t.id FROM confirmations c JOIN tool_calls t ON t.id = c.call_id WHERE c.id = ?1";
    CALL_LEFT = "UPDATE tool_calls SET state = 'uncertain', settled_at = ?2 WHERE id = ?1 AND state = 'open'";
    TOLD_SINCE = "SELECT CAST(COUNT(*) AS BIGINT) FROM confirmations c JOIN runs r ON r.id = c.run_id \
                  WHERE r.conversation_id = ?1 AND c.late = 1 AND c.ended_at >= ?2";
}

impl Store {
    /// Asks a person about a call, with its audit entry, in one commit. Each emission is asked about once.
    ///
    /// # Errors
    /// [`OpenError::Denied`] when as many as may wait already, or this emission was asked about before.
    pub async fn ask(&self, new: NewConfirmation, now: Timestamp) -> Result<Confirmation, OpenError> {
        let (id, user, tool) = (ConfirmationId::random(), new.question.user(), new.question.request().tool.clone());
        let again = Denial::new(DenialCode::ToolNotEmitted, &tool);
        let asked = self
            .write(move |tx| {
                let now = tx.clock(now)?;
                for over in list(tx, LIST_OVER, &[now.0.into()])?.into_iter().filter(|over| over.user == user) {
                    expire(tx, &over, now)?;
                }
                if tx.query_one(COUNT_PENDING, &[user.to_string().into()])?.int(0)? >= CONFIRMATIONS_PENDING_MAX {
                    return Err(OpenError::Denied(Denial::new(DenialCode::ConfirmationFull, &tool)));
                }
                insert(tx, id, &new, now)?;
                Ok(read(tx, id)?)
            })
            .await;
        match asked {
            Err(OpenError::Store(StoreError::Duplicate(_))) => Err(OpenError::Denied(again)),
            asked => {
                self.announce(Change::Confirmation { user: user.to_string() });
                asked
            }
        }
    }

    /// What waits for the user's answer, the oldest first. From now on it counts as shown to them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pending_confirmations(&self, user: UserId, now: Timestamp) -> Result<Vec<Confirmation>, StoreError> {
        let list_own = move |tx: &mut dyn Tx| list(tx, LIST_OWN, &[user.to_string().into()]);
        let rows = self.read(list_own).await?;
        let news = |row: &Confirmation| row.times.shown_at.is_none() || now >= row.times.expires_at;
        if !rows.iter().any(news) {
            return Ok(rows);
        }
        self.write(move |tx| {
            let now = tx.clock(now)?;
            for row in list_own(tx)? {
                if now >= row.times.expires_at {
                    expire(tx, &row, now)?;
                } else {
                    tx.execute(MARK_SHOWN, &[row.key(), now.0.into()])?;
                }
            }
            list_own(tx)
        })
        .await
    }

    /// What waits for the user, without counting as shown.
    pub(crate) async fn own_confirmations(&self, user: UserId) -> Result<Vec<Confirmation>, StoreError> {
        self.read(move |tx| list(tx, LIST_OWN, &[user.to_string().into()])).await
    }

    /// One of the user's questions, wherever it stands. One that waits counts as shown from now on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn show_confirmation(
        &self,
        user: UserId,
        id: ConfirmationId,
        now: Timestamp,
    ) -> Result<Option<Confirmation>, StoreError> {
        self.write(move |tx| {
            let (now, own) = (tx.clock(now)?, [id.to_string().into(), user.to_string().into()]);
            let Some(row) = tx.query_opt(READ_OWN, &own)? else { return Ok(None) };
            let row = Confirmation::of(tx, &row)?;
            if row.state != ConfirmationState::Pending {
                return Ok(Some(row));
            }
            if now >= row.times.expires_at {
                expire(tx, &row, now)?;
            } else {
                tx.execute(MARK_SHOWN, &[row.key(), now.0.into()])?;
            }
            let row = tx.query_opt(READ_OWN, &own)?;
            row.map(|row| Confirmation::of(tx, &row)).transpose()
        })
        .await
    }

    /// Takes the owner's answer; a yes leaves it approved, for `executor` to carry it out.
    ///
    /// # Errors
    /// [`AnswerError`]; what is over is written down as such.
    pub async fn answer_confirmation(
        &self,
        user: UserId,
        id: ConfirmationId,
        approve: bool,
        executor: &str,
        now: Timestamp,
    ) -> Result<Confirmation, AnswerError> {
        let executor = executor.to_owned();
        let answered = self
            .write(move |tx| {
                let now = tx.clock(now)?;
                let row = tx.query_opt(READ_OWN, &[id.to_string().into(), user.to_string().into()])?;
                let Some(row) = row.map(|row| Confirmation::of(tx, &row)).transpose()? else { return Ok(None) };
                let next = match answer_confirmation(row.state, row.times, approve, now) {
                    Ok(next) => next,
                    Err(fault) => {
                        // That its time is over stays, although the answer was not taken.
                        if fault == ConfirmationFault::Expired && row.state == ConfirmationState::Pending {
                            expire(tx, &row, now)?;
                        }
                        return Ok(Some(Err(fault)));
                    }
                };
                if next == ConfirmationState::Denied {
                    let sentence = DenialCode::ConfirmationDenied.sentence().to_owned();
                    let end = ConfirmationEnd {
                        state: next,
                        result: None,
                        text: sentence,
                        denial: Some(DenialCode::ConfirmationDenied),
                        undo: None,
                    };
                    finish(tx, &row, &end, now)?;
                } else {
                    let params = [row.key(), row.state.as_str().into(), next.as_str().into(), (&executor).into()];
                    expect_one(tx.execute(ANSWER, &params)?)?;
                    tell(tx, &row, next, None, now)?;
                }
                Ok::<_, StoreError>(Some(Ok(Confirmation { state: next, ..row })))
            })
            .await?;
        self.announce(Change::Confirmation { user: user.to_string() });
        answered.ok_or(AnswerError::NotFound)?.map_err(AnswerError::Fault)
    }

    /// Journals an approved call that is about to be made, with its audit entry, in the commit that leaves it executing.
    ///
    /// # Errors
    /// [`OpenError::Denied`] when it is not approved (any more), or the permit is for another call.
    pub async fn begin_confirmed(
        &self,
        id: ConfirmationId,
        permit: ConfirmedPermit,
        now: Timestamp,
    ) -> Result<OpenToolCall, OpenError> {
        let permit = permit.into_permit();
        let stale = Denial::new(DenialCode::ConfirmationStale, &permit.request().tool);
        let (call, request) = (CallId::random(), permit.request().clone());
        let (run, user, effect) = (permit.run(), permit.user(), permit.effect());
        self.write(move |tx| {
            let now = tx.clock(now)?;
            let row = tx.query_opt(READ, &[id.to_string().into()])?;
            let row = row.map(|row| Confirmation::of(tx, &row)).transpose()?;
            let meant = |row: &Confirmation| {
                (row.user, row.run, &row.tool, &row.arguments_digest) == (user, run, &request.tool, &request.arguments_digest)
                    && row.state.after(ConfirmationStep::Begin).is_ok()
            };
            let Some(row) = row.filter(meant) else { return Err(OpenError::Denied(stale.clone())) };
            let entry = Entry {
                id: call,
                run,
                user,
                app: row.app.clone(),
                tool: row.tool.clone(),
                tool_use_id: row.tool_use_id.clone(),
                effect,
                arguments: row.arguments.clone(),
                digest: HEXLOWER.encode(&row.arguments_digest),
            };
            entry.insert(tx, now)?;
            if tx.execute(BEGIN, &[row.key(), call.to_string().into()])? != 1 {
                return Err(OpenError::Denied(stale.clone()));
            }
            tell(tx, &row, ConfirmationState::Executing, Some(call), now)?;
            Ok(())
        })
        .await?;
        Ok(OpenToolCall::opened(call, permit))
    }

    /// Writes down what came of it, and tells the conversation if who asked was told that it waits.
    ///
    /// # Errors
    /// [`StoreError`]; what was executing is then found uncertain at the next start.
    pub async fn end_confirmation(
        &self,
        id: ConfirmationId,
        end: ConfirmationEnd,
        now: Timestamp,
    ) -> Result<Confirmation, StoreError> {
        let row = self
            .write(move |tx| {
                let now = tx.clock(now)?;
                let row = read(tx, id)?;
                if row.state.after(ConfirmationStep::End(end.state)).is_ok() {
                    finish(tx, &row, &end, now)?;
                }
                read(tx, id)
            })
            .await?;
        self.announce(Change::Confirmation { user: row.user.to_string() });
        Ok(row)
    }

    /// Where a confirmation stands. For the gateway itself: nothing here asks whose it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn confirmation(&self, id: ConfirmationId) -> Result<Option<Confirmation>, StoreError> {
        self.read(move |tx| {
            let row = tx.query_opt(READ, &[id.to_string().into()])?;
            row.map(|row| Confirmation::of(tx, &row)).transpose()
        })
        .await
    }

    /// Who asked is told now that it waits, unless it is over already. From here on the conversation is told what becomes of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn leave_confirmation(&self, id: ConfirmationId) -> Result<Confirmation, StoreError> {
        self.write(move |tx| {
            let row = read(tx, id)?;
            if row.state.is_over() {
                return Ok(row);
            }
            tx.execute(MARK_LATE, &[row.key()])?;
            Ok(Confirmation { late: true, ..row })
        })
        .await
    }

    /// Whether something was told to a conversation since a moment, that an agent which was there before does not know.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn told_since(&self, conversation: ConversationId, since: Timestamp) -> Result<bool, StoreError> {
        let params = [conversation.to_string().into(), since.0.into()];
        self.read(move |tx| Ok(tx.query_one(TOLD_SINCE, &params)?.int(0)? > 0)).await
    }

    /// Ends the questions that nobody answered in time; returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_confirmations(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let now = tx.clock(now)?;
            let over = list(tx, LIST_OVER, &[now.0.into()])?;
            over.iter().try_for_each(|row| expire(tx, row, now))?;
            Ok(u64::try_from(over.len()).unwrap_or(u64::MAX))
        })
        .await
    }

    /// What a former life of this gateway left: nobody waits for its questions any more, what was approved and did not begin was
    /// not done, and of what was being done nobody knows. Returns how many of the last two there were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recover_confirmations(&self, gateway: &str, now: Timestamp) -> Result<u64, StoreError> {
        let gateway = gateway.to_owned();
        self.write(move |tx| {
            let now = tx.clock(now)?;
            tx.execute(ALL_LATE, &[(&gateway).into()])?;
            let left = list(tx, LIST_LEFT, &[(&gateway).into()])?;
            left.iter().try_for_each(|row| recover(tx, row, now))?;
            Ok(u64::try_from(left.len()).unwrap_or(u64::MAX))
        })
        .await
    }
}

const LOST: &str = "The gateway was stopped while this was being done, so nobody knows whether it took effect. Look before you ask for it again.";
const NOT_BEGUN: &str =
    "The gateway was stopped before this was done, so nothing was done. Ask for it again if it is still wanted.";

fn recover(tx: &mut dyn Tx, row: &Confirmation, now: Timestamp) -> Result<(), StoreError> {
    let (mut state, mut text) = (ConfirmationState::Failed, NOT_BEGUN);
    if row.state == ConfirmationState::Executing {
        // The journal may have come further than the confirmation.
        let journal = tx.query_opt(CALL_STATE, &[row.key()])?;
        let known = journal.as_ref().map(|row| row.text(0)).transpose()?.and_then(|word| ConfirmationState::from_word(&word));
        (state, text) = match known {
            Some(ConfirmationState::Done) => (ConfirmationState::Done, "It was done."),
            Some(ConfirmationState::Failed) => (ConfirmationState::Failed, "It was tried and failed."),
            _ => (ConfirmationState::Uncertain, LOST),
        };
        if let Some(call) = journal.map(|row| row.text(1)).transpose()? {
            tx.execute(CALL_LEFT, &[call.into(), now.0.into()])?;
        }
    }
    // Nobody waits for it any more, whichever gateway asked.
    let row = Confirmation { late: true, ..row.clone() };
    finish(tx, &row, &ConfirmationEnd { state, result: None, text: text.to_owned(), denial: None, undo: None }, now)
}

fn insert(tx: &mut dyn Tx, id: ConfirmationId, new: &NewConfirmation, now: Timestamp) -> Result<(), StoreError> {
    let (question, request) = (&new.question, new.question.request());
    let (confirmation, user) = (id.to_string(), question.user().to_string());
    let key = tx.key_of(&user, Some(now))?;
    let arguments = key.seal(Place::new(TABLE, "arguments", &confirmation), &new.arguments)?;
    let summary = key.seal_opt(Place::new(TABLE, "summary", &confirmation), new.summary.as_deref())?;
    let params = [
        confirmation.into(),
        user.into(),
        question.run().to_string().into(),
        (&new.app).into(),
        (&request.tool).into(),
        (&new.tool_use_id).into(),
        new.asked_by.clone().into(),
        arguments.into(),
        request.arguments_digest.as_slice().into(),
        question.class().word().into(),
        request.listed.definition.as_slice().into(),
        question.writes().into(),
        summary.into(),
        new.effect_digest.clone().into(),
        (&new.gateway).into(),
        now.0.into(),
        now.plus_secs(CONFIRMATION_SECS).0.into(),
    ];
    tx.execute(INSERT, &params)?;
    let (tool, arguments) = (request.tool.clone(), HEXLOWER.encode(&request.arguments_digest));
    audit::append(tx, &AuditEvent::ConfirmationAsked { confirmation: id, run: question.run(), tool, arguments }, now)
}

fn read(tx: &mut dyn Tx, id: ConfirmationId) -> Result<Confirmation, StoreError> {
    let row = tx.query_one(READ, &[id.to_string().into()])?;
    Confirmation::of(tx, &row)
}

fn list(tx: &mut dyn Tx, statement: crate::Statement, params: &[crate::Value]) -> Result<Vec<Confirmation>, StoreError> {
    tx.query(statement, params)?.iter().map(|row| Confirmation::of(tx, row)).collect()
}
