//! Definitions of tools: what a server said of a tool when it was first seen, and what it says now if that is something else.
//!
//! Invariant: what is used is what was there first or what an operator agreed to. A definition that changed is kept beside it, and
//! nobody's agreement to one is an agreement to the next.

use crate::{Row, Store, StoreError, Tx, audit, statements};
use data_encoding::HEXLOWER;
use policy::{AuditEvent, Timestamp};

statements! { ALL:
    READ = "SELECT app, tool, digest, definition, seen_at, reviewed_at, held_digest, held_definition, held_at \
            FROM tool_definitions WHERE app = ?1 AND tool = ?2";
    LIST = "SELECT app, tool, digest, definition, seen_at, reviewed_at, held_digest, held_definition, held_at \
            FROM tool_definitions ORDER BY app, tool";
    INSERT = "INSERT INTO tool_definitions (app, tool, digest, definition, seen_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    /// Of an app of our own: a new release brings new definitions.
    REPLACE = "UPDATE tool_definitions SET digest = ?3, definition = ?4, seen_at = ?5, held_digest = NULL, held_definition = NULL, \
               held_at = NULL WHERE app = ?1 AND tool = ?2";
    HOLD = "UPDATE tool_definitions SET held_digest = ?3, held_definition = ?4, held_at = ?5 WHERE app = ?1 AND tool = ?2";
    RELEASE = "UPDATE tool_definitions SET held_digest = NULL, held_definition = NULL, held_at = NULL WHERE app = ?1 AND tool = ?2";
    AGREE = "UPDATE tool_definitions SET digest = held_digest, definition = held_definition, reviewed_at = ?4, held_digest = NULL, \
             held_definition = NULL, held_at = NULL WHERE app = ?1 AND tool = ?2 AND held_digest = ?3";
}

/// A definition as a server lists it.
#[derive(Clone, Debug)]
pub struct NewDefinition {
    /// The tool.
    pub tool: String,
    /// Its digest.
    pub digest: [u8; 32],
    /// What it says, as JSON text.
    pub text: String,
}

/// What the database made of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Never seen before; it is used from now on.
    First,
    /// The one that is used.
    Known,
    /// Another one than the one that is used, seen for the first time.
    Changed,
    /// The same, seen before and not agreed to yet.
    Held,
}

/// A definition that waits for an operator.
#[derive(Clone, Debug)]
pub struct HeldDefinition {
    /// Its digest.
    pub digest: [u8; 32],
    /// What it says, as JSON text.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
}

/// What is known of a tool's definition.
#[derive(Clone, Debug)]
pub struct DefinitionRow {
    /// The app.
    pub app: String,
    /// The tool.
    pub tool: String,
    /// The digest of the one that is used.
    pub digest: [u8; 32],
    /// What that says, as JSON text.
    pub text: String,
    /// Since when.
    pub seen_at: Timestamp,
    /// When an operator agreed to it; none if it was the first.
    pub reviewed_at: Option<Timestamp>,
    /// What waits.
    pub held: Option<HeldDefinition>,
}

impl DefinitionRow {
    fn of(row: &Row) -> Result<Self, StoreError> {
        let digest = |index| {
            let broken = |_| StoreError::Statement("a digest in tool_definitions has another length".to_owned());
            <[u8; 32]>::try_from(row.blob(index)?).map_err(broken)
        };
        let held = match (row.opt_text(7)?, row.opt_int(8)?) {
            (Some(text), Some(since)) => Some(HeldDefinition { digest: digest(6)?, text, since: Timestamp(since) }),
            _ => None,
        };
        Ok(Self {
            app: row.text(0)?,
            tool: row.text(1)?,
            digest: digest(2)?,
            text: row.text(3)?,
            seen_at: Timestamp(row.int(4)?),
            reviewed_at: row.opt_int(5)?.map(Timestamp),
            held,
        })
    }
}

impl Store {
    /// Compares what a server lists now with what is used; what changed is kept beside it with its audit entry. The definitions of
    /// our own apps come from this program, so theirs are taken.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing is known of these tools.
    pub async fn note_definitions(
        &self,
        app: &str,
        own: bool,
        listed: Vec<NewDefinition>,
        now: Timestamp,
    ) -> Result<Vec<Sighting>, StoreError> {
        let app = app.to_owned();
        self.write(move |tx| listed.iter().map(|new| note(tx, &app, own, new, now)).collect()).await
    }

    /// Every tool that was ever seen.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn definitions(&self) -> Result<Vec<DefinitionRow>, StoreError> {
        self.read(|tx| tx.query(LIST, &[])?.iter().map(DefinitionRow::of).collect()).await
    }

    /// An operator agrees to this definition, if it is the one that waits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn agree_to_definition(&self, app: &str, tool: &str, digest: [u8; 32], now: Timestamp) -> Result<bool, StoreError> {
        let (app, tool) = (app.to_owned(), tool.to_owned());
        self.write(move |tx| {
            if tx.execute(AGREE, &[(&app).into(), (&tool).into(), digest.as_slice().into(), now.0.into()])? != 1 {
                return Ok(false);
            }
            let definition = HEXLOWER.encode(&digest);
            audit::append(tx, &AuditEvent::ToolReviewed { app: app.clone(), tool: tool.clone(), definition }, now)?;
            Ok(true)
        })
        .await
    }
}

fn note(tx: &mut dyn Tx, app: &str, own: bool, new: &NewDefinition, now: Timestamp) -> Result<Sighting, StoreError> {
    let name = [app.into(), (&new.tool).into()];
    let said = [name.as_slice(), &[new.digest.as_slice().into(), (&new.text).into(), now.0.into()]].concat();
    let Some(row) = tx.query_opt(READ, &name)?.map(|row| DefinitionRow::of(&row)).transpose()? else {
        tx.execute(INSERT, &said)?;
        return Ok(Sighting::First);
    };
    if row.digest == new.digest {
        // A server that says what it used to say is the one that was agreed to.
        if row.held.is_some() {
            tx.execute(RELEASE, &name)?;
        }
        return Ok(Sighting::Known);
    }
    if own {
        tx.execute(REPLACE, &said)?;
        return Ok(Sighting::Known);
    }
    if row.held.is_some_and(|held| held.digest == new.digest) {
        return Ok(Sighting::Held);
    }
    tx.execute(HOLD, &said)?;
    let definition = HEXLOWER.encode(&new.digest);
    audit::append(tx, &AuditEvent::ToolHeld { app: app.to_owned(), tool: new.tool.clone(), definition }, now)?;
    Ok(Sighting::Changed)
}
