//! Opening and settling a call: in memory and in the journal. Only filling a purse (`fill.rs`) waits for the database.

use super::fill::Reserved;
use super::purse::{Lacking, Slices};
use super::record::{CallEnd, CallNotes, Ended, Opened, Record};
use super::{Inner, RENEW_SECS, drain};
use crate::StoreError;
use bytes::Bytes;
use parking_lot::Mutex;
use policy::{CallId, Denial, DenialCode, Microusd, ModelPermit, RunId, SliceId, Timestamp, Usage, UserId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Whoever is short of money again and again while others take it does not try for ever.
const TRIES_MAX: u32 = 32;
/// A slice is made larger when less than this part of what was taken last is free: what is left lasts until there is more.
const AHEAD_PART: i64 = 2;

/// Why a call could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It may not be.
    #[error("{}", .0.message())]
    Denied(Denial),
    /// A budget has less room than its ceiling.
    #[error("{}", .denial.message())]
    Short {
        /// Which.
        denial: Denial,
        /// What there is room for: a call with a lower ceiling would fit.
        room: Microusd,
    },
    /// It could not be written down, so it must not happen.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a call came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The provider said what it used.
    Measured {
        /// Tokens by kind.
        usage: Usage,
        /// Their price.
        cost: Microusd,
    },
    /// The provider refused or was never reached: nothing was used. The status, 0 when there was none.
    NotCharged {
        /// HTTP status.
        status: u16,
    },
    /// Cut, crashed or silent: charged at the ceiling.
    Unknown,
}

/// What one run, or one remote caller's window, has taken out of the budgets above it. Cheap to clone.
#[derive(Clone)]
pub struct Purse(pub(super) Arc<PurseInner>);

pub(super) struct PurseInner {
    pub ledger: Arc<Inner>,
    pub run: RunId,
    pub user: UserId,
    pub slices: Mutex<Slices>,
    /// Held by whoever asks the database for more.
    pub filling: tokio::sync::Mutex<()>,
    /// Somebody fills it ahead of need.
    pub ahead: AtomicBool,
}

impl Drop for PurseInner {
    /// Whoever forgets to close a purse gives its slices to the drain.
    fn drop(&mut self) {
        let slices = self.slices.get_mut();
        slices.closed = true;
        let finished = slices.finished();
        self.ledger.pending.lock().closes.extend(finished);
    }
}

/// A model call that is permitted, written down and paid for in advance: what forwarding needs. Only [`Purse::open`] makes one,
/// out of a permit it uses up. Dropped without a settlement, it is charged at its ceiling.
pub struct OpenModelCall {
    id: CallId,
    permit: ModelPermit,
    purse: Purse,
    slice: SliceId,
    settled: bool,
}

impl OpenModelCall {
    /// The call's id.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.id
    }

    /// What was permitted.
    #[must_use]
    pub const fn permit(&self) -> &ModelPermit {
        &self.permit
    }

    /// The bytes that were permitted, once.
    pub fn take_body(&mut self) -> Bytes {
        self.permit.take_body()
    }

    /// Settles the call; returns what was charged.
    pub fn settle(mut self, settlement: Settlement, end: CallEnd) -> Microusd {
        self.charge(settlement, end)
    }

    fn charge(&mut self, settlement: Settlement, end: CallEnd) -> Microusd {
        self.settled = true;
        let reserved = self.permit.ceiling();
        let (cost, outcome, usage) = match settlement {
            Settlement::Measured { usage, cost } => (cost, "measured".into(), usage),
            Settlement::NotCharged { status } => {
                (Microusd::ZERO, format!("not_charged.{status}").into_boxed_str(), Usage::default())
            }
            Settlement::Unknown => (reserved, "unknown".into(), Usage::default()),
        };
        let (ledger, slice) = (&self.purse.0.ledger, self.slice);
        let at = ledger.clock.now().0;
        let ended = Ended { id: self.id, slice, run: self.permit.run(), reserved, cost, outcome, usage, at, end };
        let record = Record::Ended(ended);
        // Without this line another life would charge the ceiling, which is no less: it is told, and the settlement stands.
        if let Err(error) = ledger.note(record, true) {
            tracing::error!(%error, call = %self.id, "a settlement could not be written to the ledger's journal");
        }
        self.purse.0.slices.lock().release(slice, reserved, cost);
        cost
    }
}

impl Drop for OpenModelCall {
    fn drop(&mut self) {
        if !self.settled {
            let end = CallEnd { error: Some("it was given up".to_owned()), ..CallEnd::default() };
            self.charge(Settlement::Unknown, end);
        }
    }
}

impl Inner {
    /// Writes a line and remembers it for the drain, in one step: a file is emptied only of what the drain had. `anyway`
    /// remembers it also where the line could not be written.
    pub(super) fn note(&self, record: Record, anyway: bool) -> Result<(), StoreError> {
        // Before the lock: others note too.
        let line = self.journal.line(&record);
        let mut pending = self.pending.lock();
        if !anyway && (pending.is_full(&record) || (record.is_sealed() && self.journal.is_long())) {
            return Err(StoreError::Busy("it does not keep up with the log of calls".to_owned()));
        }
        let written = line.and_then(|line| self.journal.append(&record, line));
        if (anyway || written.is_ok()) && pending.add(record) {
            self.full.notify_one();
        }
        written
    }
}

impl Purse {
    pub(super) fn new(ledger: Arc<Inner>, run: RunId, user: UserId) -> Self {
        let (slices, filling) = (Mutex::new(Slices::default()), tokio::sync::Mutex::new(()));
        Self(Arc::new(PurseInner { ledger, run, user, slices, filling, ahead: AtomicBool::new(false) }))
    }

    /// Whose purse it is: a run, or a remote caller's window.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.0.run
    }

    /// The user whose run it is, or the remote caller's principal.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.0.user
    }

    pub(super) fn weak(&self) -> Weak<PurseInner> {
        Arc::downgrade(&self.0)
    }

    /// Sets a call's ceiling aside and writes it down, taking more out of the budgets above if that is needed. `until` is when the
    /// call is over at the latest.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing is set aside, and the permit comes back with a lower ceiling being possible.
    pub async fn open(&self, permit: ModelPermit, notes: CallNotes, until: Timestamp) -> Result<OpenModelCall, OpenError> {
        // A call may take longer than a slice lasts: slices are renewed as long as something is open in them.
        let lasting = until.min(self.0.ledger.clock.now().plus_secs(RENEW_SECS));
        let mut tries = 0;
        let reserved = loop {
            match self.reserve(&permit, lasting) {
                Ok(reserved) => break reserved,
                Err(Lacking::Closed) => {
                    return Err(OpenError::Denied(Denial::new(DenialCode::RunNone, &permit.run().to_string())));
                }
                Err(Lacking::Slice | Lacking::Money { .. }) if tries < TRIES_MAX => {
                    tries += 1;
                    if let Some(reserved) = self.fill(permit.budgets(), permit.ceiling(), lasting).await? {
                        break reserved;
                    }
                }
                Err(Lacking::Slice | Lacking::Money { .. }) => return Err(StoreError::Conflict(TRIES_MAX).into()),
            }
        };
        self.write_down(permit, notes, until, reserved)
    }

    fn reserve(&self, permit: &ModelPermit, until: Timestamp) -> Result<Reserved, Lacking> {
        let now = self.0.ledger.clock.now();
        let mut slices = self.0.slices.lock();
        let slice = slices.reserve(permit.budgets(), permit.ceiling(), until, now)?;
        let low = permit.ceiling().max(Microusd(slices.step.amount().0 / AHEAD_PART));
        let scarce = slices.of(slice).is_some_and(|slice| slice.free() < low);
        drop(slices);
        let reserved = Reserved::new(self.clone(), slice, permit.ceiling());
        if scarce && permit.ceiling() > Microusd::ZERO && !self.0.ahead.swap(true, Ordering::Relaxed) {
            self.fill_ahead(Arc::clone(permit.budgets()));
        }
        Ok(reserved)
    }

    fn write_down(
        &self,
        permit: ModelPermit,
        notes: CallNotes,
        until: Timestamp,
        reserved: Reserved,
    ) -> Result<OpenModelCall, OpenError> {
        let (ledger, request) = (&self.0.ledger, permit.request());
        let record = Record::Opened(Opened {
            id: CallId::random(),
            slice: reserved.slice,
            run: permit.run(),
            user: permit.user(),
            path: request.path.as_str().into(),
            model: request.model.as_str().into(),
            reserved: permit.ceiling(),
            at: ledger.clock.now().0,
            until: until.0,
            notes,
        });
        let Record::Opened(Opened { id, .. }) = &record else { return Err(StoreError::Closed.into()) };
        let id = *id;
        ledger.note(record, false)?;
        let slice = reserved.keep();
        Ok(OpenModelCall { id, permit, purse: self.clone(), slice, settled: false })
    }

    /// Nothing is reserved any more; what is not used goes back. Returns once the database has it.
    ///
    /// # Errors
    /// [`StoreError`]; the drain tries again.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.slices.lock().closed = true;
        drain::settle(&self.0.ledger).await
    }
}
