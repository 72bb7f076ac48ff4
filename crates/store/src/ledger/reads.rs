//! Reads of tools: written into the journal before they are answered, and moved into the database a moment later. Nobody waits for a
//! commit, as nothing depends on the row.
//!
//! Invariant: an answer is given only of a read whose line is in the kernel's hands, so it survives the death of this process.

use super::record::{ReadEnded, ReadOpened, Record};
use super::{Inner, Ledger};
use crate::{StoreError, ToolState, Tx, tools};
use data_encoding::HEXLOWER;
use policy::{CallId, Timestamp, ToolEffect, ToolPermit, UserId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// A database that is away must not let memory grow without end: with so much waiting for it no further read is answered.
const BYTES_MAX: usize = 64 << 20;
/// After so much the drain does not wait any longer.
const BYTES_FULL: usize = 4 << 20;
/// What a record has beside its texts, roughly.
const RECORD_BYTES: usize = 256;
/// What one commit moves at most: whoever waits for the database, money first, waits no longer than for this.
const AT_ONCE: usize = 512;
const AT_ONCE_BYTES: usize = 1 << 20;

/// A read that is permitted. Nothing comes of a read whose answer is not given, so it may be made before it is written down; its answer
/// may be given once [`ReadCall::open`] has done that. Only [`Ledger::begin_read`] makes one.
pub struct ReadCall {
    ledger: Arc<Inner>,
    permit: ToolPermit,
    app: String,
    tool_use_id: String,
    arguments: String,
    now: Timestamp,
}

/// A read that is written down: what answering it needs.
pub struct OpenRead {
    id: CallId,
    ledger: Arc<Inner>,
}

impl Ledger {
    /// Begins a permitted read that the model named `tool_use_id`, or nobody.
    ///
    /// # Errors
    /// The permit, where it is for a write.
    pub fn begin_read(
        &self,
        permit: ToolPermit,
        app: &str,
        tool_use_id: Option<&str>,
        arguments: String,
        now: Timestamp,
    ) -> Result<ReadCall, Box<ToolPermit>> {
        if permit.effect() != ToolEffect::Read {
            return Err(Box::new(permit));
        }
        let (app, tool_use_id) = (app.to_owned(), tool_use_id.unwrap_or_default().to_owned());
        Ok(ReadCall { ledger: Arc::clone(&self.0), permit, app, tool_use_id, arguments, now })
    }
}

impl ReadCall {
    /// The tool.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.permit.request().tool
    }
    /// For whom.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.permit.user()
    }
    /// Writes it down.
    ///
    /// # Errors
    /// [`StoreError`]; then its answer must not be given.
    pub fn open(self) -> Result<OpenRead, StoreError> {
        let Self { ledger, permit, app, tool_use_id, arguments, now } = self;
        let (id, request) = (CallId::random(), permit.request());
        let record = Record::Read(ReadOpened {
            id,
            run: permit.run(),
            user: permit.user(),
            app: app.into(),
            tool: request.tool.as_str().into(),
            tool_use_id: tool_use_id.into(),
            digest: HEXLOWER.encode(&request.arguments_digest).into(),
            arguments: arguments.into(),
            at: now.0,
        });
        ledger.note(record, false)?;
        Ok(OpenRead { id, ledger })
    }
}

impl OpenRead {
    /// The call's id.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.id
    }
    /// Writes down how it came out.
    ///
    /// # Errors
    /// [`StoreError`]; the database has it a moment later all the same, unless this process ends before that: then it is shown as uncertain.
    pub fn settle(self, state: ToolState, result: String, now: Timestamp) -> Result<(), StoreError> {
        let record = Record::ReadEnded(ReadEnded { id: self.id, state, result: result.into(), at: now.0 });
        self.ledger.note(record, true)
    }
}

/// What the database does not have yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    opened: VecDeque<ReadOpened>,
    ended: VecDeque<ReadEnded>,
    /// Those of `opened`.
    begun: HashSet<CallId>,
    bytes: usize,
}

impl Reads {
    pub(super) fn open(&mut self, call: ReadOpened) {
        self.bytes = self.bytes.saturating_add(RECORD_BYTES + call.arguments.len());
        self.begun.insert(call.id);
        self.opened.push_back(call);
    }

    pub(super) fn end(&mut self, call: ReadEnded) {
        self.bytes = self.bytes.saturating_add(RECORD_BYTES + call.result.len());
        self.ended.push_back(call);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.ended.is_empty()
    }

    /// The drain should not wait.
    pub(super) const fn is_much(&self) -> bool {
        self.bytes >= BYTES_FULL
    }

    /// There is no room for more.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= BYTES_MAX
    }

    pub(super) fn append(&mut self, later: &mut Self) {
        self.opened.append(&mut later.opened);
        self.ended.append(&mut later.ended);
        self.begun.extend(later.begun.drain());
        self.bytes = self.bytes.saturating_add(later.bytes);
    }

    /// Takes the first of them out, as many as one commit moves, with how they came out. An end is never moved before its beginning:
    /// it waits, and those after it with it, until that is moved.
    pub(super) fn first(&mut self) -> Self {
        let mut first = Self::default();
        // Those that waited go before what is new.
        self.move_ended(&mut first);
        while first.opened.len() < AT_ONCE
            && let Some(call) = self.opened.pop_front_if(|call| first.has_room(&call.arguments))
        {
            self.begun.remove(&call.id);
            first.open(call);
        }
        self.move_ended(&mut first);
        self.bytes = self.bytes.saturating_sub(first.bytes);
        first
    }

    fn move_ended(&mut self, first: &mut Self) {
        while first.ended.len() < AT_ONCE
            && let Some(call) = self.ended.pop_front_if(|call| !self.begun.contains(&call.id) && first.has_room(&call.result))
        {
            first.end(call);
        }
    }

    fn has_room(&self, text: &str) -> bool {
        self.is_empty() || self.bytes.saturating_add(RECORD_BYTES).saturating_add(text.len()) <= AT_ONCE_BYTES
    }

    /// Writes down what happened; twice changes nothing but the audit entries of reads that have no row. True where something was of somebody who was erased meanwhile.
    pub(super) fn apply(&self, tx: &mut dyn Tx) -> Result<bool, StoreError> {
        // Most have ended by now: one row for each, instead of one that is changed a moment later.
        let mut ends: HashMap<CallId, &ReadEnded> = self.ended.iter().map(|call| (call.id, call)).collect();
        let mut of_erased = false;
        for call in &self.opened {
            of_erased |= tools::insert_read(tx, call, ends.remove(&call.id))?;
        }
        for call in self.ended.iter().filter(|call| ends.contains_key(&call.id)) {
            let settled = tools::settle(tx, call.id, call.state, &call.result, Timestamp(call.at));
            // One user's key that is not there holds up nobody else.
            if let Err(error @ (StoreError::Sealed(_) | StoreError::MasterKey(_))) = settled {
                tracing::error!(%error, call = %call.id, "what came of a read can't be sealed, so it is shown as open");
            } else {
                // One that has no row is of somebody who was erased, but for very few.
                of_erased |= !settled?;
            }
        }
        Ok(of_erased)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, ledger};
    use super::*;
    use policy::RunId;

    fn opened(said: &str) -> ReadOpened {
        let (id, run, user) = (CallId::random(), RunId::random(), UserId::random());
        let (app, tool, digest) = ("a".into(), "t".into(), "09".into());
        ReadOpened { id, run, user, app, tool, tool_use_id: "".into(), digest, arguments: said.into(), at: 1 }
    }

    #[tokio::test]
    async fn with_too_much_that_waits_no_further_read_is_answered_and_money_goes_on() {
        let (_folder, ledger) = ledger().await;
        let note = |record| ledger.0.note(record, false);
        let read = || note(Record::Read(opened("x")));
        let call = || note(Record::Opened(testing::model_call()));
        let first = opened("at the mill");
        note(Record::Read(first.clone())).expect("there is room");
        ledger.0.pending.lock().reads.bytes += BYTES_MAX;
        assert!(matches!(read(), Err(StoreError::Busy(_))), "memory is full of reads");
        call().expect("it is no read");
        let ended = Record::ReadEnded(end_of(&first, "done"));
        ledger.0.note(ended, true).expect("how an answered one came out is written down");
        ledger.0.pending.lock().reads.bytes -= BYTES_MAX;
        read().expect("there is room again");
        ledger.0.journal.lengthen();
        assert!(matches!(read(), Err(StoreError::Busy(_))), "the disk is for money too");
        call().expect("it is no read");
        ledger.flush().await.expect("a commit");
        read().expect("the other file is written now");
        ledger.flush().await.expect("a commit");
        assert!(ledger.0.pending.lock().reads.is_empty());
    }

    fn end_of(call: &ReadOpened, said: &str) -> ReadEnded {
        ReadEnded { id: call.id, state: ToolState::Done, result: said.into(), at: 2 }
    }

    #[test]
    fn all_are_moved_in_bounded_steps_and_none_ends_before_it_begins() {
        let (small, large) = ("x".to_owned(), "x".repeat(AT_ONCE_BYTES / 3));
        let mut reads = Reads::default();
        for number in 0..AT_ONCE * 3 {
            let call = opened(if number % 500 == 0 { &large } else { &small });
            reads.end(end_of(&call, if number % 400 == 0 { &large } else { &small }));
            reads.open(call);
        }
        // Of one that the database has already; and one that is too large for any step.
        reads.end(end_of(&opened("before"), &small));
        reads.open(opened(&"x".repeat(AT_ONCE_BYTES * 2)));
        let (bytes, mut moved, mut begun, mut ended, mut steps) = (reads.bytes, 0, HashSet::new(), 0, 0);
        while !reads.is_empty() {
            let first = reads.first();
            assert!(!first.is_empty() && first.opened.len() <= AT_ONCE && first.ended.len() <= AT_ONCE);
            assert!(first.bytes <= AT_ONCE_BYTES || first.opened.len() + first.ended.len() == 1, "{}", first.bytes);
            begun.extend(first.opened.iter().map(|call| call.id));
            let late: HashSet<CallId> = reads.opened.iter().map(|call| call.id).collect();
            assert!(first.ended.iter().all(|call| !late.contains(&call.id)));
            (moved, ended, steps) = (moved + first.bytes, ended + first.ended.len(), steps + 1);
        }
        assert_eq!((moved, begun.len(), ended), (bytes, AT_ONCE * 3 + 1, AT_ONCE * 3 + 1));
        assert!((4..20).contains(&steps), "{steps}");
    }
}
