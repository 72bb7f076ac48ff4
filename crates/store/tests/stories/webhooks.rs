//! The outbox of webhooks: what happens to a host's users is told to that host alone, in the same commit, and tried by one gateway at
//! a time until it was taken or given up.

use crate::support::{APP, Db, GATEWAY, NOW, at_once, on_both_engines};
use policy::{AuditEvent, Microusd, RunId, Timestamp, UserId, UserMessage, WebhookEvent};
use std::collections::HashSet;
use std::time::Duration;
use store::{NewRun, RunEnd, Store, WebhookRoute};

on_both_engines! {
    a_hosts_users_runs_are_told_to_that_host_alone;
    what_was_not_committed_is_not_told;
    budgets_and_conduct_are_told_to_whom_they_concern;
    two_gateways_deliver_each_once_and_in_order;
    a_try_is_counted_before_it_is_made;
    the_last_try_is_the_end_until_an_operator_says_otherwise;
    an_endpoint_that_is_gone_gives_up_what_waits;
}

fn route(host: &str, endpoint: &str, events: &[WebhookEvent]) -> WebhookRoute {
    WebhookRoute { host: host.to_owned(), endpoint: endpoint.to_owned(), events: events.to_vec() }
}

async fn user_of(store: &Store, host: &str, subject: &str) -> UserId {
    store.user_of(&format!("hexward:host:{host}"), subject, NOW).await.expect("a user")
}

async fn run_of(db: &Db, user: UserId) -> RunId {
    let conversation = db.conversation(user).await;
    let run = RunId::random();
    let message = UserMessage::parse("hello").expect("a message");
    let (app, gateway) = (APP.to_owned(), GATEWAY.to_owned());
    db.store.begin_run(NewRun { run, conversation, user, app, message, writes: false, gateway }, NOW).await.expect("begun");
    run
}

async fn finished(db: &Db, run: RunId) {
    let end = RunEnd { outcome: "finished", code: None, message: None, turns: 3 };
    db.store.end_run(run, end, NOW).await.expect("ended");
}

async fn a_hosts_users_runs_are_told_to_that_host_alone(db: Db) {
    let all = WebhookEvent::ALL;
    let routes = vec![route("shop", "a", &all), route("shop", "b", &[WebhookEvent::Anomaly]), route("other", "a", &all)];
    db.store.set_webhooks(routes, NOW).await.expect("set");
    let (ada, bob) = (user_of(&db.store, "shop", "ada").await, db.user().await);
    let (run, own) = (run_of(&db, ada).await, run_of(&db, bob).await);
    finished(&db, run).await;
    finished(&db, run).await;
    finished(&db, own).await;
    let rows = db.store.webhook_deliveries().await.expect("a look");
    assert_eq!(rows.iter().map(|row| (row.host.as_str(), row.endpoint.as_str())).collect::<Vec<_>>(), [("shop", "a")]);
    let delivery = db.store.next_delivery("shop", "a", "g", NOW).await.expect("a look").expect("one");
    let body: serde_json::Value = serde_json::from_str(&delivery.body).expect("JSON");
    let said = |pointer: &str| body.pointer(pointer).map(ToString::to_string).unwrap_or_default();
    assert_eq!(["/type", "/host", "/user/subject"].map(said), ["\"run.finished\"", "\"shop\"", "\"ada\""]);
    assert_eq!(
        ["/data/run_id", "/data/turns", "/id"].map(said),
        [format!("\"{run}\""), "3".to_owned(), format!("\"{}\"", delivery.id)]
    );
    assert_eq!(delivery.attempt, 1);
    assert!(!delivery.body.contains(&ada.to_string()) && !delivery.body.contains("hello"), "{}", delivery.body);
    assert_eq!(db.store.next_delivery("other", "a", "g", NOW).await.expect("a look"), None);
}

async fn what_was_not_committed_is_not_told(db: Db) {
    db.store.set_webhooks(vec![route("shop", "a", &WebhookEvent::ALL)], NOW).await.expect("set");
    let run = run_of(&db, user_of(&db.store, "shop", "ada").await).await;
    db.execute("DROP TABLE webhook_deliveries").await;
    let end = RunEnd { outcome: "finished", code: None, message: None, turns: 0 };
    assert!(db.store.end_run(run, end, NOW).await.is_err(), "both or neither");
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM runs WHERE state = 'active'").await, 1);
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM audit_log WHERE kind = 'run.ended'").await, 0);
}

async fn budgets_and_conduct_are_told_to_whom_they_concern(db: Db) {
    db.store
        .set_webhooks(vec![route("shop", "a", &WebhookEvent::ALL), route("other", "a", &WebhookEvent::ALL)], NOW)
        .await
        .expect("set");
    let ada = user_of(&db.store, "shop", "ada").await;
    let spent = (Microusd::ZERO, Microusd(60));
    for scope in [format!("user:{ada}"), "host:shop".to_owned(), "global".to_owned(), "user:nobody".to_owned()] {
        db.store.note_spending(&scope, 9, Microusd(100), spent, NOW).await.expect("noted");
    }
    db.store.record(AuditEvent::ConductRose { run: RunId::random(), user: ada, conduct: "hasty" }, NOW).await.expect("recorded");
    let rows = db.store.webhook_deliveries().await.expect("a look");
    let mut told: Vec<_> = rows.iter().map(|row| (row.host.as_str(), row.kind.as_str(), row.subject.as_deref())).collect();
    told.sort_unstable();
    let expected =
        [("shop", "anomaly", Some("ada")), ("shop", "budget.threshold", None), ("shop", "budget.threshold", Some("ada"))];
    assert_eq!(told, expected);
}

async fn two_gateways_deliver_each_once_and_in_order(db: Db) {
    db.store.set_webhooks(vec![route("shop", "a", &WebhookEvent::ALL)], NOW).await.expect("set");
    let ada = user_of(&db.store, "shop", "ada").await;
    for at in 0..40_i64 {
        let event = AuditEvent::ConductRose { run: RunId::random(), user: ada, conduct: "hasty" };
        db.store.record(event, Timestamp(NOW.0 + at)).await.expect("recorded");
    }
    let order: Vec<String> = db.store.webhook_deliveries().await.expect("a look").into_iter().map(|row| row.id).collect();
    let later = Timestamp(NOW.0 + 1000);
    let (one, other) = (db.second().await, db.second().await);
    let taken = at_once([(one.clone(), "one"), (other, "other")].map(|(store, gateway)| async move {
        let mut taken = Vec::new();
        for _ in 0..200 {
            if let Some(delivery) = store.next_delivery("shop", "a", gateway, later).await.expect("a look") {
                store.delivered(&delivery.id, gateway, later).await.expect("settled");
                taken.push(delivery.id);
            }
        }
        taken
    }))
    .await;
    let holders = taken.iter().filter(|taken| !taken.is_empty()).count();
    assert_eq!(holders, 1, "nobody delivers where another one does");
    let taken: Vec<String> = taken.into_iter().flatten().collect();
    assert_eq!(taken, order);
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 40);
}

async fn a_try_is_counted_before_it_is_made(db: Db) {
    db.store.set_webhooks(vec![route("shop", "a", &WebhookEvent::ALL)], NOW).await.expect("set");
    finished(&db, run_of(&db, user_of(&db.store, "shop", "ada").await).await).await;
    let first = db.store.next_delivery("shop", "a", "one", NOW).await.expect("a look").expect("one");
    // Gateway `one` dies here. Until its time is over, nobody else tries.
    assert_eq!(db.store.next_delivery("shop", "a", "other", NOW).await.expect("a look"), None);
    db.execute("UPDATE webhook_endpoints SET held_until = 1").await;
    db.execute("UPDATE webhook_deliveries SET next_at = 1").await;
    let second = db.store.next_delivery("shop", "a", "other", NOW).await.expect("a look").expect("again");
    assert_eq!((&second.id, &second.body, second.attempt), (&first.id, &first.body, 2));
    // The dead one's word counts no more.
    db.store.delivered(&first.id, "one", NOW).await.expect("no fault");
    assert_eq!(db.store.webhook_deliveries().await.expect("a look").len(), 1);
    db.store.delivered(&first.id, "other", NOW).await.expect("settled");
    assert_eq!(db.store.webhook_deliveries().await.expect("a look"), []);
}

async fn the_last_try_is_the_end_until_an_operator_says_otherwise(db: Db) {
    db.store.set_webhooks(vec![route("shop", "a", &WebhookEvent::ALL)], NOW).await.expect("set");
    finished(&db, run_of(&db, user_of(&db.store, "shop", "ada").await).await).await;
    let next = async || db.store.next_delivery("shop", "a", "g", NOW).await.expect("a look");
    let id = next().await.expect("one").id;
    let hour = Some(Duration::from_secs(3600));
    db.store.not_delivered(&id, "g", "500\r\nx", hour, NOW).await.expect("settled");
    assert_eq!(next().await, None, "not before its time");
    let row = db.store.webhook_deliveries().await.expect("a look").remove(0);
    assert_eq!((row.state.as_str(), row.attempts, row.last_error.as_deref()), ("pending", 1, Some("500x")));
    assert_eq!(db.store.retry_webhooks(Some(&id), NOW).await.expect("a look"), 0, "it is not given up");
    db.execute("UPDATE webhook_deliveries SET next_at = 1").await;
    assert_eq!(next().await.expect("again").attempt, 2);
    db.store.not_delivered(&id, "g", "500", None, NOW).await.expect("settled");
    assert_eq!((next().await, db.store.webhook_deliveries().await.expect("a look").remove(0).state.as_str()), (None, "dead"));
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM audit_log WHERE kind = 'webhook'").await, 1);
    assert_eq!(db.store.retry_webhooks(None, NOW).await.expect("retried"), 1);
    assert_eq!(next().await.expect("again").attempt, 1);
    db.store.delivered(&id, "g", NOW).await.expect("settled");
    assert_eq!(db.count("SELECT CAST(COUNT(*) AS BIGINT) FROM audit_log WHERE kind = 'webhook'").await, 2);
    db.execute("UPDATE webhook_deliveries SET ended_at = 1").await;
    assert_eq!(db.store.sweep_webhooks(NOW).await.expect("swept"), 1);
}

async fn an_endpoint_that_is_gone_gives_up_what_waits(db: Db) {
    let (a, b) = (route("shop", "a", &WebhookEvent::ALL), route("shop", "b", &WebhookEvent::ALL));
    db.store.set_webhooks(vec![a.clone(), b], NOW).await.expect("set");
    let ada = user_of(&db.store, "shop", "ada").await;
    finished(&db, run_of(&db, ada).await).await;
    db.store.set_webhooks(vec![a], NOW).await.expect("set");
    let rows = db.store.webhook_deliveries().await.expect("a look");
    let mut states: Vec<_> = rows.iter().map(|row| (row.endpoint.as_str(), row.state.as_str())).collect();
    states.sort_unstable();
    assert_eq!(states, [("a", "pending"), ("b", "dead")]);
    finished(&db, run_of(&db, ada).await).await;
    assert_eq!(db.store.webhook_deliveries().await.expect("a look").len(), 3, "from now on only the other");
}
