//! The ledger: slice, reserve, settle. No concurrency and no crash may overshoot a budget, and nothing is charged twice.

use crate::support::{BOOT, Db, GATEWAY, NOW, at_once, budget, ceiling, model_permit, on_both_engines};
use policy::{BudgetLine, DenialCode, Microusd, RunId, Usage, UserId};
use store::{CallEnd, CallNotes, Ledger, OpenError, OpenModelCall, Purse, Settlement};

on_both_engines! {
    of_two_hundred_reservations_as_many_as_fit;
    the_limit_holds_at_every_moment;
    each_outcome_charges_what_it_must;
    a_call_that_is_dropped_is_charged_at_its_ceiling;
    a_denied_call_leaves_no_trace_and_says_what_would_fit;
    what_one_holds_and_does_not_need_another_gets;
    a_killed_gateway_charges_what_was_used_and_what_was_open;
    a_power_cut_charges_slices_in_full;
    a_copied_journal_charges_slices_in_full;
    a_lost_journal_charges_slices_in_full;
    a_gateway_that_never_comes_back_is_charged_by_another;
    a_slice_and_its_audit_entry_stand_or_fall_together;
    a_call_may_take_longer_than_a_slice_lasts;
    a_call_above_its_ceiling_is_charged_and_told;
    a_closed_purse_gives_everything_back_and_opens_nothing;
    twenty_rounds_of_two_hundred_at_once;
}

const ELSEWHERE: &str = "gateway-2";

/// One budget for everybody that has room for `calls` calls and a half.
fn shared(calls: i64) -> BudgetLine {
    budget("global", Microusd(ceiling().0 * calls + ceiling().0 / 2), DenialCode::BudgetDay)
}

fn purse(ledger: &Ledger) -> Purse {
    ledger.purse(RunId::random(), UserId::random())
}

async fn open(purse: &Purse, lines: Vec<BudgetLine>) -> Result<OpenModelCall, OpenError> {
    purse.open(model_permit(purse.run(), purse.user(), lines), CallNotes::default(), NOW.plus_secs(60)).await
}

fn measured(cost: i64) -> Settlement {
    Settlement::Measured { usage: Usage { input: 5, output: 7, ..Usage::default() }, cost: Microusd(cost) }
}

async fn account(db: &Db, scope: &str) -> (i64, i64) {
    let (settled, reserved) = db.store.account(scope, 0).await.expect("a look");
    (settled.0, reserved.0)
}

/// Invariant: the accounts say what the slices and the log of calls say.
async fn assert_sums(db: &Db) {
    let odd = db
        .count(
            "SELECT CAST(COUNT(*) AS BIGINT) FROM ledger_accounts a WHERE a.reserved_microusd <> \
             COALESCE((SELECT SUM(s.granted_microusd - s.settled_microusd) FROM ledger_slices s JOIN ledger_slice_accounts l \
             ON l.slice_id = s.id WHERE l.scope = a.scope AND l.period = a.period AND s.state = 'open'), 0)",
        )
        .await;
    assert_eq!(odd, 0, "an account is reserved for other than its open slices");
    let odd = db
        .count(
            "SELECT CAST(COUNT(*) AS BIGINT) FROM ledger_slices s WHERE s.state = 'open' AND s.settled_microusd <> \
             COALESCE((SELECT SUM(c.cost_microusd) FROM model_calls c WHERE c.slice_id = s.id), 0)",
        )
        .await;
    assert_eq!(odd, 0, "a slice settled other than its calls cost");
}

async fn of_two_hundred_reservations_as_many_as_fit(db: Db) {
    const FIT: i64 = 37;
    let (here, elsewhere) = (db.ledger(GATEWAY).await, db.ledger(ELSEWHERE).await);
    let opened = at_once((0..200_usize).map(|number| {
        let ledger = if number % 2 == 0 { here.clone() } else { elsewhere.clone() };
        async move {
            let own = budget(&format!("run:{number}"), Microusd::dollars(1), DenialCode::BudgetRun);
            let purse = purse(&ledger);
            open(&purse, vec![own, shared(FIT)]).await
        }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    for refused in lost {
        let Err(refused) = refused else { unreachable!("only refused calls are left") };
        let OpenError::Short { denial, .. } = refused else { panic!("neither opened nor short: {refused}") };
        assert_eq!(denial.code, DenialCode::BudgetDay);
    }
    assert_eq!(won.len(), 37, "exactly as many as fit");
    assert_eq!(account(&db, "global").await, (0, ceiling().0 * FIT));
    let taken = "SELECT CAST(COUNT(*) AS BIGINT) FROM ledger_accounts WHERE scope <> 'global'";
    assert_eq!(db.count(taken).await, FIT, "a refused call took nothing from its other budget");
    let slices = "SELECT CAST(COUNT(*) AS BIGINT) FROM ledger_slices";
    assert_eq!(db.count(slices).await, FIT, "who was granted a slice used it");
    assert_sums(&db).await;
}

async fn the_limit_holds_at_every_moment(db: Db) {
    let limit = shared(5).limit;
    let ledger = db.ledger(GATEWAY).await;
    let watched = db.store.clone();
    let watcher = tokio::spawn(async move {
        for _ in 0..200 {
            let (settled, reserved) = watched.account("global", 0).await.expect("a look");
            assert!(settled.plus(reserved) <= limit, "{settled} settled and {reserved} reserved are over {limit}");
            tokio::task::yield_now().await;
        }
    });
    let cost = ceiling().0 / 10;
    let charged = at_once((0..100).map(|_| {
        let ledger = ledger.clone();
        async move {
            let purse = purse(&ledger);
            let charged = open(&purse, vec![shared(5)]).await.ok().map(|call| call.settle(measured(cost), CallEnd::default()));
            purse.close().await.expect("it closes");
            charged
        }
    }))
    .await;
    watcher.await.expect("the watcher saw nothing wrong");
    let made = i64::try_from(charged.iter().flatten().count()).expect("a small number");
    assert!(made >= 5, "settling makes room again: {made}");
    assert_eq!(account(&db, "global").await, (cost * made, 0));
    assert_sums(&db).await;
}

async fn each_outcome_charges_what_it_must(db: Db) {
    let ledger = db.ledger(GATEWAY).await;
    let cases = [
        ("measured", measured(123), 123),
        ("not_charged", Settlement::NotCharged { status: 529 }, 0),
        ("unknown", Settlement::Unknown, ceiling().0),
    ];
    for (scope, settlement, expected) in cases {
        let purse = purse(&ledger);
        let call =
            open(&purse, vec![budget(scope, Microusd(ceiling().0 * 2), DenialCode::BudgetRun)]).await.expect("there is room");
        assert_eq!(account(&db, scope).await, (0, ceiling().0), "{scope}");
        assert_eq!(call.settle(settlement, CallEnd::default()), Microusd(expected), "{scope}");
        ledger.flush().await.expect("a flush");
        assert_eq!(account(&db, scope).await, (expected, ceiling().0 - expected), "{scope}: the slice is still open");
        assert_sums(&db).await;
        purse.close().await.expect("it closes");
        assert_eq!(account(&db, scope).await, (expected, 0), "{scope}");
    }
    assert_eq!(db.store.open_model_calls().await.expect("a look"), 0);
    let rows = db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM model_calls WHERE state = 'settled'").await;
    assert_eq!(rows, 3, "every call is in the log");
}

async fn a_call_that_is_dropped_is_charged_at_its_ceiling(db: Db) {
    let ledger = db.ledger(GATEWAY).await;
    let purse = purse(&ledger);
    drop(open(&purse, vec![shared(3)]).await.expect("there is room"));
    purse.close().await.expect("it closes");
    assert_eq!(account(&db, "global").await, (ceiling().0, 0));
    let unknown = db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM model_calls WHERE outcome = 'unknown'").await;
    assert_eq!((unknown, db.store.open_model_calls().await.expect("a look")), (1, 0));
}

async fn a_denied_call_leaves_no_trace_and_says_what_would_fit(db: Db) {
    let ledger = db.ledger(GATEWAY).await;
    let purse = purse(&ledger);
    let poor = budget("run:poor", Microusd(ceiling().0 - 1), DenialCode::BudgetRun);
    let refused = open(&purse, vec![shared(1), poor]).await;
    let Err(OpenError::Short { denial, room }) = refused else { panic!("it must be short") };
    assert_eq!((denial.code, room), (DenialCode::BudgetRun, Microusd(ceiling().0 - 1)));
    purse.close().await.expect("it closes");
    assert_eq!(account(&db, "global").await, (0, 0));
    assert_eq!(db.store.open_model_calls().await.expect("a look"), 0);
    assert!(db.store.audit_of_run(purse.run()).await.expect("a look").is_empty());
}

async fn what_one_holds_and_does_not_need_another_gets(db: Db) {
    let ledger = db.ledger(GATEWAY).await;
    let (one, other) = (purse(&ledger), purse(&ledger));
    open(&one, vec![shared(1)]).await.expect("there is room").settle(measured(10), CallEnd::default());
    let held = account(&db, "global").await;
    assert_eq!(held, (0, ceiling().0), "the first one still has its slice");
    let call = open(&other, vec![shared(1)]).await.expect("what the first one does not need any more");
    ledger.flush().await.expect("a flush");
    assert_eq!(account(&db, "global").await, (10, ceiling().0));
    drop(call);
    assert_sums(&db).await;
}

/// One call settled, one open, and room for more in the slice; then nobody is there any more.
async fn left_behind(db: &Db, flushed: bool) {
    let ledger = db.ledger(GATEWAY).await;
    let purse = purse(&ledger);
    let lines = || vec![budget("global", Microusd::dollars(100), DenialCode::BudgetDay)];
    open(&purse, lines()).await.expect("there is room").settle(measured(10), CallEnd::default());
    if flushed {
        ledger.flush().await.expect("a flush");
    }
    let call = open(&purse, lines()).await.expect("there is room");
    let (_, reserved) = account(db, "global").await;
    assert!(reserved > ceiling().0, "where there is plenty, more than is needed is taken: {reserved}");
    // As a killed process: nothing is dropped in order.
    std::mem::forget((ledger, purse, call));
}

/// Everything that was ever taken out of the budgets is charged, and nothing is reserved.
async fn charged_in_full(db: &Db) -> i64 {
    let granted = db.count("SELECT CAST(SUM(granted_microusd) AS BIGINT) FROM ledger_slices").await;
    assert!(granted > ceiling().0 + 10, "more than what was used: {granted}");
    assert_eq!(account(db, "global").await, (granted, 0));
    granted
}

async fn a_killed_gateway_charges_what_was_used_and_what_was_open(db: Db) {
    for (round, flushed) in [false, true].into_iter().enumerate() {
        left_behind(&db, flushed).await;
        let (_, open) = db.ledger_after(GATEWAY, BOOT).await;
        assert_eq!(open, 1);
        let times = i64::try_from(round).expect("small") + 1;
        assert_eq!(account(&db, "global").await, ((10 + ceiling().0) * times, 0));
        assert_sums(&db).await;
        let (_, again) = db.ledger_after(GATEWAY, BOOT).await;
        assert_eq!(again, 0, "what was charged once is not charged again");
        assert_eq!(account(&db, "global").await, ((10 + ceiling().0) * times, 0));
    }
}

async fn a_power_cut_charges_slices_in_full(db: Db) {
    left_behind(&db, false).await;
    let (_, reserved) = account(&db, "global").await;
    db.ledger_after(GATEWAY, "boot-2").await;
    let charged = charged_in_full(&db).await;
    assert!(charged >= reserved, "whatever its journal says, it may have said more: {charged} of {reserved}");
    assert_eq!(db.store.open_model_calls().await.expect("a look"), 0);
}

async fn a_lost_journal_charges_slices_in_full(db: Db) {
    left_behind(&db, true).await;
    std::fs::remove_file(db.journals(GATEWAY).join("calls-b.journal")).expect("it is there");
    db.ledger_after(GATEWAY, BOOT).await;
    charged_in_full(&db).await;
}

/// The same words in other files, as after a restore: the gateway may have gone on after they were copied.
async fn a_copied_journal_charges_slices_in_full(db: Db) {
    left_behind(&db, true).await;
    for name in ["calls-a.journal", "calls-b.journal"] {
        let (file, copy) = (db.journals(GATEWAY).join(name), db.journals(GATEWAY).join("copy"));
        std::fs::copy(&file, &copy).expect("a copy");
        std::fs::rename(&copy, &file).expect("in its place");
    }
    db.ledger_after(GATEWAY, BOOT).await;
    charged_in_full(&db).await;
}

async fn a_gateway_that_never_comes_back_is_charged_by_another(db: Db) {
    left_behind(&db, true).await;
    assert_eq!(db.store.sweep_slices(NOW).await.expect("a sweep"), 0, "not before its time");
    db.execute("UPDATE ledger_slices SET expires_at = 1").await;
    db.store.sweep_slices(NOW).await.expect("a sweep");
    let charged = charged_in_full(&db).await;
    assert_eq!(db.store.open_model_calls().await.expect("a look"), 0);
    // It comes back all the same: it is charged already.
    db.ledger_after(GATEWAY, BOOT).await;
    assert_eq!(account(&db, "global").await, (charged, 0));
}

async fn a_slice_and_its_audit_entry_stand_or_fall_together(db: Db) {
    let ledger = db.ledger(GATEWAY).await;
    let first = purse(&ledger);
    let opened = open(&first, vec![shared(9)]).await.expect("there is room");
    ledger.flush().await.expect("a flush");
    let entries = db.store.audit_of_run(first.run()).await.expect("a look");
    let kinds: Vec<&str> = entries.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["slice.taken", "model_call.opened"]);
    assert!(entries.iter().any(|(_, detail)| detail.contains(&opened.id().to_string())));

    db.execute("ALTER TABLE audit_log RENAME TO audit_log_gone").await;
    let refused = open(&purse(&ledger), vec![shared(9)]).await;
    assert!(matches!(refused, Err(OpenError::Store(_))), "what can't be recorded must not happen");
    assert_eq!(account(&db, "global").await, (0, ceiling().0), "only the first is reserved");
    drop(opened);
    assert!(ledger.flush().await.is_ok(), "settling needs no new entry");
}

async fn a_call_may_take_longer_than_a_slice_lasts(db: Db) {
    let purse = purse(&db.ledger(GATEWAY).await);
    let permit = model_permit(purse.run(), purse.user(), vec![shared(5)]);
    let opened = purse.open(permit, CallNotes::default(), NOW.plus_secs(86_400)).await;
    assert!(opened.is_ok(), "slices are renewed: {:?}", opened.err());
}

async fn a_call_above_its_ceiling_is_charged_and_told(db: Db) {
    let ledger = db.ledger(GATEWAY).await;
    let purse = purse(&ledger);
    let cost = ceiling().0 * 3;
    open(&purse, vec![shared(1)]).await.expect("there is room").settle(measured(cost), CallEnd::default());
    let refused = open(&purse, vec![shared(1)]).await;
    assert!(refused.is_err(), "the budget is more than used up");
    purse.close().await.expect("it closes");
    assert_eq!(account(&db, "global").await, (cost, 0));
    let kinds = db.store.audit_of_run(purse.run()).await.expect("a look");
    assert!(kinds.iter().any(|(kind, _)| kind == "model_call.above_ceiling"), "{kinds:?}");
    assert_sums(&db).await;
}

async fn a_closed_purse_gives_everything_back_and_opens_nothing(db: Db) {
    let ledger = db.ledger(GATEWAY).await;
    let purse = purse(&ledger);
    let call = open(&purse, vec![shared(5)]).await.expect("there is room");
    purse.close().await.expect("it closes");
    assert!(matches!(open(&purse, vec![shared(5)]).await, Err(OpenError::Denied(_))));
    assert_eq!(account(&db, "global").await, (0, ceiling().0), "a call is still open");
    call.settle(measured(1), CallEnd::default());
    ledger.flush().await.expect("a flush");
    ledger.flush().await.expect("a flush");
    assert_eq!(account(&db, "global").await, (1, 0));
}

async fn twenty_rounds_of_two_hundred_at_once(db: Db) {
    rounds(db, 20).await;
}

/// Two gateways, two hundred calls at once against a budget that fits some, with every kind of end.
async fn rounds(db: Db, rounds: i64) {
    const FIT: i64 = 23;
    let (here, elsewhere) = (db.ledger(GATEWAY).await, db.ledger(ELSEWHERE).await);
    for round in 0..rounds {
        let scope = format!("day:{round}");
        let limit = Microusd(ceiling().0 * FIT + 1);
        let charged = at_once((0..200_usize).map(|number| {
            let ledger = if number % 2 == 0 { here.clone() } else { elsewhere.clone() };
            let scope = scope.clone();
            async move {
                let purse = purse(&ledger);
                let opened = open(&purse, vec![budget(&scope, limit, DenialCode::BudgetDay)]).await;
                tokio::task::yield_now().await;
                let cost = opened.ok().map(|call| match number % 4 {
                    0 => call.settle(measured(7), CallEnd::default()).0,
                    1 => call.settle(Settlement::NotCharged { status: 529 }, CallEnd::default()).0,
                    2 => call.settle(Settlement::Unknown, CallEnd::default()).0,
                    _ => call.permit().ceiling().0,
                });
                purse.close().await.expect("it closes");
                cost
            }
        }))
        .await;
        let spent: i64 = charged.iter().flatten().sum();
        assert!(spent <= limit.0, "round {round}: {spent} are over {}", limit.0);
        assert!(charged.iter().flatten().count() >= 23, "round {round}: at least as many as fit");
        for ledger in [&here, &elsewhere] {
            ledger.flush().await.expect("a flush");
        }
        assert_eq!(account(&db, &scope).await, (spent, 0), "round {round}: nothing is leaked");
    }
    assert_sums(&db).await;
    assert_eq!(db.store.open_model_calls().await.expect("a look"), 0);
}

/// For `make soak`.
#[cfg(feature = "soak")]
mod a_thousand_rounds_of_two_hundred_at_once {
    use super::{Db, rounds};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_sqlite() {
        rounds(Db::sqlite().await, 1_000).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        rounds(Db::postgres().await, 1_000).await;
    }
}
