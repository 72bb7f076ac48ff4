//! Runs: one user message from its arrival to its end.

use crate::conversations::{self, Role};
use crate::{Place, Store, StoreError, Tx, audit, ledger, statements};
use policy::{AuditEvent, ConversationId, Microusd, RunId, Timestamp, UserId, UserMessage};
use serde_json::json;

statements! { ALL:
    INSERT = "INSERT INTO runs (id, conversation_id, user_id, app, gateway, state, writes, turns, cost_microusd, started_at) \
              VALUES (?1, ?2, ?3, ?4, ?5, 'active', ?6, 0, 0, ?7)";
    END = "UPDATE runs SET state = ?2, code = ?3, message = ?4, turns = ?5, cost_microusd = ?6, ended_at = ?7 WHERE id = ?1 AND state = 'active'";
    READ_ACTIVE = "SELECT id FROM runs WHERE conversation_id = ?1 AND state = 'active'";
    READ_OWNER = "SELECT state, code, message, cost_microusd, turns FROM runs WHERE id = ?1 AND user_id = ?2";
    OWNER = "SELECT user_id FROM runs WHERE id = ?1";
    LIST_LEFT = "SELECT id FROM runs WHERE gateway = ?1 AND state = 'active'";
}

/// What a new run is.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub run: RunId,
    /// In which conversation.
    pub conversation: ConversationId,
    /// Whose.
    pub user: UserId,
    /// With which app.
    pub app: String,
    /// What the person wrote.
    pub message: UserMessage,
    /// Whether changes are switched on.
    pub writes: bool,
    /// Which gateway conducts it.
    pub gateway: String,
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The user has no such conversation.
    #[error("no such conversation")]
    NoConversation,
    /// Another run is going on in it.
    #[error("a run is going on in this conversation")]
    Active,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// `finished`, `failed` or `stopped`.
    pub outcome: &'static str,
    /// The code of a failure.
    pub code: Option<String>,
    /// The public sentence of a failure.
    pub message: Option<String>,
    /// Model calls made.
    pub turns: u32,
}

/// A run as it stands in the database.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// `active`, `finished`, `failed` or `stopped`.
    pub state: String,
    /// The code of a failure.
    pub code: Option<String>,
    /// The sentence of a failure.
    pub message: Option<String>,
    /// What it cost.
    pub cost: Microusd,
    /// Model calls made.
    pub turns: i64,
}

impl Store {
    /// Begins a run: it, the user's message and the audit entry in one commit. At most one run is active in a conversation.
    ///
    /// # Errors
    /// [`BeginError`].
    pub async fn begin_run(&self, new: NewRun, now: Timestamp) -> Result<(), BeginError> {
        self.write(move |tx| begin(tx, &new, now)).await
    }

    /// Ends a run once; a second end changes nothing. Returns what the run cost.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_run(&self, run: RunId, end: RunEnd, now: Timestamp) -> Result<Microusd, StoreError> {
        self.write(move |tx| {
            let cost = ledger::cost_of_run(tx, run)?;
            let params = [
                run.to_string().into(),
                end.outcome.into(),
                end.code.clone().into(),
                sealed_message(tx, run, end.message.as_deref(), now)?.into(),
                i64::from(end.turns).into(),
                cost.0.into(),
                now.0.into(),
            ];
            if tx.execute(END, &params)? == 1 {
                audit::append(tx, &AuditEvent::RunEnded { run, outcome: end.outcome, code: end.code.clone() }, now)?;
            }
            Ok(cost)
        })
        .await
    }

    /// The user's run, if it is theirs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn run_of(&self, user: UserId, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.read(move |tx| {
            let row = tx.query_opt(READ_OWNER, &[run.to_string().into(), user.to_string().into()])?;
            let key = tx.key_of(&user.to_string(), None)?;
            row.map(|row| {
                Ok(RunRow {
                    state: row.text(0)?,
                    code: row.opt_text(1)?,
                    message: key.open_opt(Place::new("runs", "message", &run.to_string()), row.opt_text(2)?.as_deref())?,
                    cost: Microusd(row.int(3)?),
                    turns: row.int(4)?,
                })
            })
            .transpose()
        })
        .await
    }

    /// The run going on in a conversation, if any. The caller has checked whose conversation it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn active_run(&self, conversation: ConversationId) -> Result<Option<String>, StoreError> {
        self.read(move |tx| tx.query_opt(READ_ACTIVE, &[conversation.to_string().into()])?.map(|row| row.text(0)).transpose())
            .await
    }

    /// Ends what a former life of this gateway left active; returns how many runs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_runs(&self, gateway: &str, now: Timestamp) -> Result<u64, StoreError> {
        let gateway = gateway.to_owned();
        let left: Vec<String> = self
            .read(move |tx| {
                tx.query(LIST_LEFT, &[(&gateway).into()])?.iter().map(|row| row.text(0)).collect::<Result<_, StoreError>>()
            })
            .await?;
        let mut ended = 0;
        for id in left {
            let run: RunId = id.parse().map_err(|_| StoreError::Statement(format!("{id:?} is not a run id")))?;
            let sentence = "The gateway was restarted while this request was being worked on. Send it again.";
            let end = RunEnd {
                outcome: "failed",
                code: Some("gateway.restarted".to_owned()),
                message: Some(sentence.to_owned()),
                turns: 0,
            };
            self.end_run(run, end, now).await?;
            ended += 1;
        }
        Ok(ended)
    }
}

/// Inside a transaction.
pub(crate) fn begin(tx: &mut dyn Tx, new: &NewRun, now: Timestamp) -> Result<(), BeginError> {
    let NewRun { run, conversation, user, app, message, writes, gateway } = new;
    if conversations::app_of(tx, *user, *conversation)?.as_deref() != Some(app.as_str()) {
        return Err(BeginError::NoConversation);
    }
    if tx.query_opt(READ_ACTIVE, &[conversation.to_string().into()])?.is_some() {
        return Err(BeginError::Active);
    }
    let params = [
        run.to_string().into(),
        conversation.to_string().into(),
        user.to_string().into(),
        app.into(),
        gateway.into(),
        (*writes).into(),
        now.0.into(),
    ];
    match tx.execute(INSERT, &params) {
        // Two at once: the unique index decides, on both engines.
        Err(StoreError::Duplicate(_)) => return Err(BeginError::Active),
        inserted => inserted?,
    };
    conversations::append(tx, *conversation, *run, Role::User, &json!({"text": message.as_str()}).to_string(), now)?;
    conversations::touch(tx, *conversation, message.as_str(), now)?;
    audit::append(tx, &AuditEvent::RunBegan { run: *run, user: *user, conversation: *conversation, writes: *writes }, now)?;
    Ok(())
}

/// What is said of a failure may repeat what its person wrote.
fn sealed_message(tx: &mut dyn Tx, run: RunId, message: Option<&str>, now: Timestamp) -> Result<Option<String>, StoreError> {
    let (Some(message), id) = (message, run.to_string()) else { return Ok(None) };
    // A run that is not there is not ended either.
    let Some(row) = tx.query_opt(OWNER, &[(&id).into()])? else { return Ok(None) };
    tx.key_of(&row.text(0)?, Some(now))?.seal(Place::new("runs", "message", &id), message).map(Some)
}
