//! A ledger over a fresh SQLite file, for tests that look inside.

use super::Ledger;
use super::record::{CallNotes, Opened};
use crate::core::CORE;
use crate::{Masters, Store};
use policy::{CallId, Clock, Microusd, RunId, SliceId, Timestamp, UserId};
use std::sync::Arc;
use tempfile::TempDir;

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000_000)
    }
}

/// The folder is where its database and its journal are.
pub(super) async fn ledger() -> (TempDir, Ledger) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&format!("sqlite:{}", folder.path().join("db").display()), &[&CORE]).await.expect("a database");
    let store = store.with_masters(Masters::kept_in(folder.path()).expect("keys")).await.expect("a key that fits");
    let (ledger, left) = Ledger::open(&store, Arc::new(Standing), "gateway", folder.path(), "boot").await.expect("a ledger");
    assert_eq!(left, 0);
    (folder, ledger)
}

/// A model call as the journal has it.
pub(super) fn model_call() -> Opened {
    Opened {
        id: CallId::random(),
        slice: SliceId::random(),
        run: RunId::random(),
        user: UserId::random(),
        path: "/v1/messages".into(),
        model: "m".into(),
        reserved: Microusd(5),
        at: 1,
        until: 2,
        notes: CallNotes::default(),
    }
}
