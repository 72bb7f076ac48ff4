//! Undoing, as the journal has it: once, in order, only one's own, and what nobody knows stays unknown.

use crate::support::{APP, Db, GATEWAY, NOW, at_once, new_run, on_both_engines, tool_permit};
use policy::{CallId, Direction, Manifest, RunId, Timestamp, UndoPermit, UndoneBy, UserId, WayBack, admit_undo};
use store::{BeginUndoError, Inverse, NewRun, OpenUndo, RunEnd, Store, ToolState, UndoEntry, UndoPlan, UndoScope, UndoStanding};

on_both_engines! {
    a_call_is_undone_and_done_again_each_time_by_the_app_s_last_word;
    of_many_undos_at_once_one_wins;
    what_stood_in_the_way_may_be_tried_again;
    an_undo_that_never_came_back_is_uncertain_and_stays_the_last;
    an_undo_of_a_command_is_given_a_time;
    a_run_is_undone_in_reverse_order_and_done_again_in_order;
    everything_since_a_time_is_found;
    what_belongs_to_somebody_else_is_not_there;
    nothing_is_undone_under_an_agent_at_work;
    undo_and_audit_stand_or_fall_together;
}

const APP_TEXT: &str = "id = \"demo\"\ntitle = \"Demo\"\ngreeting = \"Hello\"\n[agent]\nmodel = \"m\"\n[mcp]\nname = \"demo\"\n\
                        server = \"builtin\"\n[tools.change]\neffect = \"write\"\ninverse = \"unchange\"\n";

/// Somebody with a finished run.
struct House {
    store: Store,
    user: UserId,
    run: RunId,
}

impl House {
    async fn new(db: &Db) -> Self {
        let user = db.user().await;
        let new = new_run(user, db.conversation(user).await);
        let run = new.run;
        begin_and_end(&db.store, new).await;
        Self { store: db.store.clone(), user, run }
    }

    /// A call that was carried out at a moment.
    async fn call(&self, name: &str, settled: Timestamp) -> CallId {
        let id = self.open(name).await;
        let inverse = Inverse { tool: "unchange".to_owned(), arguments: format!("{{\"of\":\"{name}\"}}") };
        self.store.settle_reversible_call(id, "done".to_owned(), inverse, settled).await.expect("a settlement");
        id
    }

    async fn open(&self, name: &str) -> CallId {
        let permit = tool_permit(self.run, self.user);
        self.store.open_tool_call(permit, APP, name, "{}".to_owned(), NOW).await.expect("it opens").id()
    }

    async fn plan(&self, scope: UndoScope, direction: Direction) -> UndoPlan {
        self.store.undo_plan(self.user, scope, direction).await.expect("a look").expect("it is theirs")
    }

    async fn entry(&self, call: CallId) -> UndoEntry {
        let plan = self.plan(UndoScope::Call(call), Direction::Undo).await;
        plan.entries.into_iter().next().expect("the call")
    }

    async fn begin(&self, entry: &UndoEntry, direction: Direction) -> Result<OpenUndo, BeginUndoError> {
        begin(&self.store, self.user, entry, direction, Some(GATEWAY)).await
    }

    async fn finish(&self, open: OpenUndo, state: ToolState, onward: Option<&str>) {
        let onward = onward.map(|of| Inverse { tool: "unchange".to_owned(), arguments: of.to_owned() });
        self.store.end_undo(open, state, "said".to_owned(), onward, NOW).await.expect("an end");
    }
}

async fn begin_and_end(store: &Store, new: NewRun) {
    let run = new.run;
    store.begin_run(new, NOW).await.expect("a run");
    let end = RunEnd { outcome: "finished", code: None, message: None, turns: 1 };
    store.end_run(run, end, NOW).await.expect("an end");
}

fn permit(user: UserId, entry: &UndoEntry, direction: Direction) -> UndoPermit {
    let manifest = Manifest::parse(APP_TEXT).expect("a good manifest");
    let inverse = entry.inverse.as_ref().map(|inverse| inverse.tool.clone()).unwrap_or_default();
    let way = WayBack { call: entry.call, run: entry.run, user, app: APP.to_owned(), tool: entry.tool.clone(), inverse };
    admit_undo(way, user, &manifest, direction, UndoneBy::Person).expect("nothing speaks against it")
}

async fn begin(
    store: &Store,
    user: UserId,
    entry: &UndoEntry,
    direction: Direction,
    gateway: Option<&str>,
) -> Result<OpenUndo, BeginUndoError> {
    let arguments = entry.inverse.as_ref().map(|inverse| inverse.arguments.clone()).unwrap_or_default();
    store.begin_undo(permit(user, entry, direction), arguments, gateway, NOW).await
}

async fn a_call_is_undone_and_done_again_each_time_by_the_app_s_last_word(db: Db) {
    let house = House::new(&db).await;
    let call = house.call("t1", NOW).await;
    let first = house.entry(call).await;
    assert_eq!((first.standing, first.tool_use_id.as_str()), (UndoStanding::Possible, "t1"));
    let open = house.begin(&first, Direction::Undo).await.expect("it begins");
    assert_eq!(open.arguments(), "{\"of\":\"t1\"}");
    assert_eq!(house.entry(call).await.standing, UndoStanding::Pending);
    house.finish(open, ToolState::Done, Some("back")).await;
    let undone = house.entry(call).await;
    assert_eq!(
        (undone.standing, undone.inverse.as_ref().map(|way| way.arguments.as_str())),
        (UndoStanding::Undone, Some("back"))
    );
    assert!(matches!(house.begin(&first, Direction::Undo).await, Err(BeginUndoError::Taken)), "what was looked at does not hold");
    assert!(matches!(house.begin(&undone, Direction::Undo).await, Err(BeginUndoError::Taken)), "not undone twice");
    let open = house.begin(&undone, Direction::Redo).await.expect("it is done again");
    house.finish(open, ToolState::Done, Some("back again")).await;
    let again = house.entry(call).await;
    assert_eq!(again.inverse.as_ref().map(|way| way.arguments.as_str()), Some("back again"));
    let open = house.begin(&again, Direction::Undo).await.expect("it is undone again");
    house.finish(open, ToolState::Done, None).await;
    assert_eq!(house.entry(call).await.standing, UndoStanding::Final, "the app named no way on");
    let kinds: Vec<String> = db.store.audit_of_run(house.run).await.expect("a look").into_iter().map(|(kind, _)| kind).collect();
    let undos: Vec<&str> = kinds.iter().map(String::as_str).filter(|kind| kind.starts_with("undo.")).collect();
    assert_eq!(undos, ["undo.opened", "undo.ended"].repeat(3));
    let journal = db.store.tool_calls_of(house.run).await.expect("a look");
    assert_eq!(journal.len(), 4, "each undo is a call of its own: {journal:?}");
}

async fn of_many_undos_at_once_one_wins(db: Db) {
    let house = House::new(&db).await;
    let entry = {
        let call = house.call("t1", NOW).await;
        house.entry(call).await
    };
    let second = db.second().await;
    let begun = at_once((0..20).map(|number| {
        let store = if number % 2 == 0 { db.store.clone() } else { second.clone() };
        let (entry, user) = (entry.clone(), house.user);
        async move { begin(&store, user, &entry, Direction::Undo, Some(GATEWAY)).await }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = begun.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|lost| matches!(lost, Err(BeginUndoError::Taken))), "{lost:?}");
    let undos = db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM tool_calls WHERE undoes IS NOT NULL").await;
    assert_eq!(undos, 1, "the others left nothing behind");
}

async fn what_stood_in_the_way_may_be_tried_again(db: Db) {
    let house = House::new(&db).await;
    let call = house.call("t1", NOW).await;
    let open = house.begin(&house.entry(call).await, Direction::Undo).await.expect("it begins");
    house.finish(open, ToolState::Failed, None).await;
    let entry = house.entry(call).await;
    assert_eq!(entry.standing, UndoStanding::Possible);
    house.begin(&entry, Direction::Undo).await.expect("another try");
}

async fn an_undo_that_never_came_back_is_uncertain_and_stays_the_last(db: Db) {
    let house = House::new(&db).await;
    let call = house.call("t1", NOW).await;
    let entry = house.entry(call).await;
    let open = house.begin(&entry, Direction::Undo).await.expect("it begins");
    assert_eq!(db.store.sweep_tool_calls("gateway-2", NOW).await.expect("a sweep"), 0, "another gateway's may still come back");
    assert_eq!(db.store.sweep_tool_calls(GATEWAY, NOW).await.expect("a sweep"), 1);
    assert_eq!(house.entry(call).await.standing, UndoStanding::Uncertain);
    assert!(matches!(house.begin(&entry, Direction::Undo).await, Err(BeginUndoError::Taken)), "never tried again");
    house.finish(open, ToolState::Done, Some("late")).await;
    assert_eq!(house.entry(call).await.standing, UndoStanding::Uncertain, "an answer that comes too late changes nothing");
    // The same where the answer was lost, and where the agent's own call is not known.
    let lost = house.call("t2", NOW).await;
    let open = house.begin(&house.entry(lost).await, Direction::Undo).await.expect("it begins");
    house.finish(open, ToolState::Uncertain, None).await;
    assert_eq!(house.entry(lost).await.standing, UndoStanding::Uncertain);
    let unknown = house.open("t3").await;
    db.store.settle_tool_call(unknown, ToolState::Uncertain, String::new(), NOW).await.expect("a settlement");
    assert_eq!(house.entry(unknown).await.standing, UndoStanding::Uncertain);
}

async fn an_undo_of_a_command_is_given_a_time(db: Db) {
    let house = House::new(&db).await;
    let call = house.call("t1", NOW).await;
    begin(&db.store, house.user, &house.entry(call).await, Direction::Undo, None).await.expect("it begins");
    assert_eq!(db.store.sweep_tool_calls(GATEWAY, NOW).await.expect("a sweep"), 0, "it is no gateway's, nor its run's");
    assert_eq!(db.store.sweep_undos(NOW.plus_secs(60)).await.expect("a sweep"), 0);
    assert_eq!(house.entry(call).await.standing, UndoStanding::Pending);
    assert_eq!(db.store.sweep_undos(NOW.plus_secs(121)).await.expect("a sweep"), 1);
    assert_eq!(house.entry(call).await.standing, UndoStanding::Uncertain);
}

async fn a_run_is_undone_in_reverse_order_and_done_again_in_order(db: Db) {
    let house = House::new(&db).await;
    // The first one that was asked for came back last.
    let first = house.call("t1", NOW.plus_secs(3)).await;
    let second = house.call("t2", NOW.plus_secs(1)).await;
    let third = house.call("t3", NOW.plus_secs(2)).await;
    let (read, failed) = (house.open("read").await, house.open("failed").await);
    db.store.settle_tool_call(read, ToolState::Failed, String::new(), NOW).await.expect("a settlement");
    db.store.settle_tool_call(failed, ToolState::Failed, String::new(), NOW).await.expect("a settlement");
    let plain = house.open("plain").await;
    db.store.settle_tool_call(plain, ToolState::Done, String::new(), NOW).await.expect("a settlement");
    let run = UndoScope::Run(house.run);
    let calls = |plan: &UndoPlan| plan.entries.iter().map(|entry| entry.call).collect::<Vec<_>>();
    let plan = house.plan(run.clone(), Direction::Undo).await;
    assert_eq!(calls(&plan), [first, third, second, plain], "the newest effect first, and what failed not at all");
    assert_eq!(plan.entries.last().map(|entry| entry.standing), Some(UndoStanding::NoWayBack));
    assert_eq!((plan.app.as_str(), plan.more, plan.active), (APP, false, false));
    for entry in plan.entries.iter().filter(|entry| entry.standing == UndoStanding::Possible) {
        let open = house.begin(entry, Direction::Undo).await.expect("it begins");
        house.finish(open, ToolState::Done, Some("{}")).await;
    }
    assert_eq!(calls(&house.plan(run.clone(), Direction::Undo).await), [plain], "what is undone is not undone again");
    assert_eq!(calls(&house.plan(run, Direction::Redo).await), [second, third, first]);
}

async fn everything_since_a_time_is_found(db: Db) {
    let house = House::new(&db).await;
    let early = house.call("t1", NOW).await;
    let other = new_run(house.user, db.conversation(house.user).await);
    let later = House { run: other.run, ..House::new(&db).await };
    let later = House { user: house.user, ..later };
    begin_and_end(&db.store, other).await;
    let late = later.call("t1", NOW.plus_secs(5)).await;
    let since = |at| UndoScope::Since { app: APP.to_owned(), at };
    let calls = async |at| {
        let plan = house.plan(since(at), Direction::Undo).await;
        plan.entries.iter().map(|entry| entry.call).collect::<Vec<_>>()
    };
    assert_eq!(calls(NOW).await, [late, early], "of all their conversations");
    assert!(calls(NOW.plus_micros(1)).await.is_empty());
    let elsewhere = UndoScope::Since { app: "other".to_owned(), at: Timestamp(0) };
    assert!(house.plan(elsewhere, Direction::Undo).await.entries.is_empty());
}

async fn what_belongs_to_somebody_else_is_not_there(db: Db) {
    let (ada, eve) = (House::new(&db).await, House::new(&db).await);
    let call = ada.call("t1", NOW).await;
    let plan = async |scope| db.store.undo_plan(eve.user, scope, Direction::Undo).await.expect("a look");
    assert!(plan(UndoScope::Call(call)).await.is_none());
    assert!(plan(UndoScope::Run(ada.run)).await.is_none());
    assert!(plan(UndoScope::Call(CallId::random())).await.is_none());
    let everything = plan(UndoScope::Since { app: APP.to_owned(), at: Timestamp(0) }).await;
    assert!(everything.is_some_and(|plan| plan.entries.is_empty()));
    assert_eq!(db.store.owner_of_call(call).await.expect("a look"), Some(ada.user));
    assert_eq!(db.store.owner_of_run(RunId::random()).await.expect("a look"), None);
    // An undo is no change of an agent's: nobody undoes it by its own name.
    let open = ada.begin(&ada.entry(call).await, Direction::Undo).await.expect("it begins");
    let undo = open.id();
    ada.finish(open, ToolState::Done, Some("{}")).await;
    assert!(db.store.undo_plan(ada.user, UndoScope::Call(undo), Direction::Undo).await.expect("a look").is_none());
}

async fn nothing_is_undone_under_an_agent_at_work(db: Db) {
    let user = db.user().await;
    let conversation = db.conversation(user).await;
    let first = new_run(user, conversation);
    let house = House { store: db.store.clone(), user, run: first.run };
    begin_and_end(&db.store, first).await;
    let call = house.call("t1", NOW).await;
    let entry = house.entry(call).await;
    let reading = NewRun { writes: false, ..new_run(user, conversation) };
    let end = RunEnd { outcome: "finished", code: None, message: None, turns: 1 };
    db.store.begin_run(reading.clone(), NOW).await.expect("a run");
    assert!(!house.plan(UndoScope::Call(call), Direction::Undo).await.active, "one that only looks is in nobody's way");
    db.store.end_run(reading.run, end.clone(), NOW).await.expect("an end");
    let writing = new_run(user, conversation);
    db.store.begin_run(writing.clone(), NOW).await.expect("a run");
    for scope in [UndoScope::Call(call), UndoScope::Run(house.run), UndoScope::Since { app: APP.to_owned(), at: NOW }] {
        assert!(house.plan(scope.clone(), Direction::Undo).await.active, "{scope:?}");
    }
    assert!(matches!(house.begin(&entry, Direction::Undo).await, Err(BeginUndoError::Active)), "also where it began meanwhile");
    assert_eq!(house.entry(call).await.standing, UndoStanding::Possible);
    db.store.end_run(writing.run, end, NOW).await.expect("an end");
    house.begin(&entry, Direction::Undo).await.expect("afterwards it goes");
}

async fn undo_and_audit_stand_or_fall_together(db: Db) {
    let house = House::new(&db).await;
    let call = house.call("t1", NOW).await;
    let entry = house.entry(call).await;
    db.execute("ALTER TABLE audit_log RENAME TO audit_log_gone").await;
    assert!(matches!(house.begin(&entry, Direction::Undo).await, Err(BeginUndoError::Store(_))));
    db.execute("ALTER TABLE audit_log_gone RENAME TO audit_log").await;
    assert_eq!(house.entry(call).await.standing, UndoStanding::Possible, "nothing was taken");
    let open = house.begin(&entry, Direction::Undo).await.expect("it begins");
    db.execute("ALTER TABLE audit_log RENAME TO audit_log_gone").await;
    assert!(db.store.end_undo(open, ToolState::Done, String::new(), None, NOW).await.is_err());
    db.execute("ALTER TABLE audit_log_gone RENAME TO audit_log").await;
    assert_eq!(house.entry(call).await.standing, UndoStanding::Pending, "it is open until it is uncertain");
}
