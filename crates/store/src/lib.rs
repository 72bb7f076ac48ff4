//! Remembers. The only crate that knows a database engine.
//!
//! SQLite (embedded) and PostgreSQL answer the same statements; the work of a transaction is one closure over [`Tx`] for
//! both. Rooms that may not know each other meet here: what one writes, others subscribe to ([`Store::changes`]).
//! It never decides: amounts, limits and permissions come from `policy`.

mod alerts;
mod audit;
mod changes;
mod client_keys;
mod confirmations;
mod conversations;
mod core;
mod definitions;
mod engine;
mod erase;
mod error;
mod export;
mod host_users;
mod hosts;
mod keys;
mod ledger;
mod masters;
mod person_calls;
mod rates;
mod runs;
mod schema;
mod tools;
mod undo;
mod users;
mod value;
mod vault;
mod webhooks;

pub use alerts::BudgetAlert;
pub use changes::Change;
pub use client_keys::{CLIENT_KEYS_MAX, ClientKeyError, ClientWindow, NewClientKey, NewClientSession, SERVICE_ISSUER};
pub use confirmations::{AnswerError, Confirmation, ConfirmationEnd, NewConfirmation};
pub use conversations::{ConversationLine, Role};
pub use core::CORE;
pub use definitions::{DefinitionRow, HeldDefinition, NewDefinition, Sighting};
pub use engine::Tx;
pub use erase::Erased;
pub use error::StoreError;
pub use export::{CONVERSATIONS, MESSAGES, Page, SECTIONS, Section, UserRow};
pub use host_users::{ConfirmationLink, DeleteConversationError, RunShown};
pub use hosts::{BeginOnceError, Once, Shown, Ticket};
pub use keys::{CALLER_ISSUER, KeyRow, KeySource, NewKey};
pub use ledger::{
    CallEnd, CallNotes, Ledger, OpenError, OpenModelCall, OpenRead, Purse, ReadCall, Settlement, journal_is_sealed,
};
pub use masters::Masters;
pub use person_calls::{OpenPersonCall, PersonRead};
pub use rates::{RateError, Rates};
pub use runs::{BeginError, NewRun, RunEnd, RunRow};
pub use schema::{Migration, Schema, Statement};
pub use tools::{OpenToolCall, ToolState};
pub use undo::{BeginUndoError, Inverse, OpenUndo, UNDO_CALLS_MAX, UndoEntry, UndoPlan, UndoScope, UndoStanding};
pub use value::{Row, Value};
pub use vault::{Place, UserKey};
pub use webhooks::{Delivery, DeliveryRow, WebhookRoute};

use engine::{Engine, Lasts};
use std::sync::Arc;
use tokio::sync::broadcast;
use vault::Keyed;

/// The open database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    changes: broadcast::Sender<Change>,
    /// Without, nothing that people wrote can be read or written.
    masters: Option<Arc<Masters>>,
}

impl Store {
    /// Opens `sqlite:PATH` or `postgres://...`, migrates every schema and prepares every statement. What people wrote in it needs
    /// [`Store::with_masters`].
    ///
    /// # Errors
    /// [`StoreError`] naming what is wrong with the address, the server or a migration.
    pub async fn open(url: &str, schemas: &[&'static Schema]) -> Result<Self, StoreError> {
        let engine = Engine::open(url, schemas).await?;
        Ok(Self { engine, changes: changes::channel(), masters: None })
    }

    /// Runs `work` in one serializable transaction; an `Err` rolls it back. It may run more than once, so it must not have
    /// effects of its own. When this returns `Ok`, the change survives a power loss.
    ///
    /// # Errors
    /// What `work` returned, or a [`StoreError`].
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        let masters = self.masters.clone();
        self.engine.write(Lasts::Power, move |tx| work(&mut Keyed::new(tx, masters.as_deref()))).await
    }

    /// The same of what tells only of reads: when this returns `Ok`, the change survives the end of this process, and everything that is
    /// written later stands after it; a loss of power may take the newest of it along.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub(crate) async fn note<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        let masters = self.masters.clone();
        self.engine.write(Lasts::Process, move |tx| work(&mut Keyed::new(tx, masters.as_deref()))).await
    }

    /// Runs `work` on a consistent view without writing.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, E> + Send + Sync + 'static,
    {
        let masters = self.masters.clone();
        self.engine.read(move |tx| work(&mut Keyed::new(tx, masters.as_deref()))).await
    }
}
