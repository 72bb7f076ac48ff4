//! What people do in an app's page by themselves, in the same journal as agents' calls: written down before it leaves and after it
//! came back. Such a call belongs to no run; it stands under its own id, so that nothing that a run does can be taken for it.

use crate::tools::arguments_of;
use crate::{Place, Store, StoreError, ToolState, audit, statements};
use data_encoding::HEXLOWER;
use policy::{AuditEvent, CallId, PersonPermit, Timestamp, ToolEffect};

/// What stands where an agent's call has the id of the model's `tool_use`.
const BY_PERSON: &str = "person";
/// Longer arguments are known by their digest alone: a whole map has no place in a journal.
const ARGUMENTS_BYTES_MAX: usize = 16 << 10;
/// A call takes half a minute at most; what is open for longer never came back.
const LOST_AFTER_SECS: i64 = 600;

statements! { ALL:
    INSERT_READ = "INSERT INTO tool_calls (id, run_id, user_id, app, tool, tool_use_id, effect, arguments, state, result, opened_at, settled_at) \
                   VALUES (?1, ?1, ?2, ?3, ?4, ?5, 'read', ?6, ?7, ?8, ?9, ?10)";
    INSERT = "INSERT INTO tool_calls (id, run_id, user_id, app, tool, tool_use_id, effect, arguments, state, opened_at) \
              VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, 'open', ?8)";
    LOST = "UPDATE tool_calls SET state = 'uncertain', settled_at = ?1 \
            WHERE state = 'open' AND run_id = id AND tool_use_id = ?2 AND opened_at < ?3";
}

/// Arguments as they stand in the journal.
fn kept(arguments: &str, digest: &str) -> String {
    if arguments.len() > ARGUMENTS_BYTES_MAX {
        return format!("{{\"omitted_bytes\":{},\"sha256\":\"{digest}\"}}", arguments.len());
    }
    arguments.to_owned()
}

/// A person's call that is permitted and journaled. Only [`Store::open_person_call`] makes one.
#[derive(Debug)]
pub struct OpenPersonCall {
    id: CallId,
    permit: PersonPermit,
}

impl OpenPersonCall {
    /// The call's id; [`Store::settle_tool_call`] takes it.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.id
    }
    /// What was permitted.
    #[must_use]
    pub const fn permit(&self) -> &PersonPermit {
        &self.permit
    }
}

/// A person's read that is permitted and not written down yet. Nothing comes of a read whose answer is not given, so it is made first
/// and then written down once, with how it came out; its answer is given after that. Only [`Store::begin_person_read`] makes one.
#[derive(Debug)]
pub struct PersonRead {
    id: CallId,
    permit: PersonPermit,
    opened: Timestamp,
}

impl PersonRead {
    /// The call's id.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.id
    }
    /// What was permitted.
    #[must_use]
    pub const fn permit(&self) -> &PersonPermit {
        &self.permit
    }
}

impl Store {
    /// Begins a permitted read of a person's.
    ///
    /// # Errors
    /// The permit itself, where it is for a write: [`Store::open_person_call`] is for those.
    pub fn begin_person_read(&self, permit: PersonPermit, now: Timestamp) -> Result<PersonRead, PersonPermit> {
        match permit.rule().effect {
            ToolEffect::Read => Ok(PersonRead { id: CallId::random(), permit, opened: now }),
            ToolEffect::Write => Err(permit),
        }
    }

    /// Journals a read with how it came out and with its audit entry, in one commit.
    ///
    /// # Errors
    /// [`StoreError`]; then its answer must not be given.
    pub async fn end_person_read(
        &self,
        read: PersonRead,
        app: &str,
        arguments: &str,
        (state, result): (ToolState, String),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let PersonRead { id, permit, opened } = read;
        let (user, tool, app) = (permit.user(), permit.tool().to_owned(), app.to_owned());
        let digest = HEXLOWER.encode(permit.arguments_digest());
        let kept = kept(arguments, &digest);
        self.write(move |tx| {
            let (call, owner) = (id.to_string(), user.to_string());
            let key = tx.key_of(&owner, Some(now))?;
            let (kept, result) =
                (key.seal(arguments_of(&call), &kept)?, key.seal(Place::new("tool_calls", "result", &call), &result)?);
            let params = [
                call.into(),
                owner.into(),
                (&app).into(),
                (&tool).into(),
                BY_PERSON.into(),
                kept.into(),
                state.as_str().into(),
                result.into(),
                opened.0.into(),
                now.0.into(),
            ];
            tx.execute(INSERT_READ, &params)?;
            let (app, tool, arguments) = (app.clone(), tool.clone(), digest.clone());
            audit::append(tx, &AuditEvent::PersonCallOpened { call: id, user, app, tool, arguments }, opened)
        })
        .await
    }

    /// Journals a person's permitted call before it leaves, with its audit entry, in one commit.
    ///
    /// # Errors
    /// [`StoreError`]; then the call must not be made.
    pub async fn open_person_call(
        &self,
        permit: PersonPermit,
        app: &str,
        arguments: &str,
        now: Timestamp,
    ) -> Result<OpenPersonCall, StoreError> {
        let (id, user) = (CallId::random(), permit.user());
        let (app, tool) = (app.to_owned(), permit.tool().to_owned());
        let digest = HEXLOWER.encode(permit.arguments_digest());
        let kept = kept(arguments, &digest);
        let effect = match permit.rule().effect {
            ToolEffect::Read => "read",
            ToolEffect::Write => "write",
        };
        self.write(move |tx| {
            let (call, owner) = (id.to_string(), user.to_string());
            let kept = tx.key_of(&owner, Some(now))?.seal(arguments_of(&call), &kept)?;
            let params = [
                call.into(),
                owner.into(),
                (&app).into(),
                (&tool).into(),
                BY_PERSON.into(),
                effect.into(),
                kept.into(),
                now.0.into(),
            ];
            tx.execute(INSERT, &params)?;
            let (app, tool, arguments) = (app.clone(), tool.clone(), digest.clone());
            audit::append(tx, &AuditEvent::PersonCallOpened { call: id, user, app, tool, arguments }, now)
        })
        .await?;
        Ok(OpenPersonCall { id, permit })
    }

    /// Marks people's calls that never came back, whichever gateway made them; returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_person_calls(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = now.plus_secs(-LOST_AFTER_SECS);
        self.write(move |tx| tx.execute(LOST, &[now.0.into(), BY_PERSON.into(), before.0.into()])).await
    }
}
