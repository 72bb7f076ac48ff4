//! Agents that do unusually much: they are slowed down, their person is asked, and they are stopped.

use futures_util::StreamExt;
use gate_tests::{Answer, Person, Probe, Setup, TestGate, exchange, probe, request};
use policy::{BehaviourRules, RateRules, digest_bytes};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Sixteen looks at the map in one answer.
fn burst() -> String {
    let look = r#"{ tool_use = { name = "mapItemsList", input = { depth = 1 } } }"#;
    let looks = [look; 16].join(", ");
    format!(
        "name = \"burst\"\nabout = \"Looks and looks.\"\n[[reply]]\nwhen = {{ turn = 1 }}\nsteps = [{looks}]\n[[reply]]\nsteps = [{{ text = \"Seen.\" }}]\n"
    )
}

/// Sixteen reads are suspicious at the twelfth.
fn setup(behaviour: BehaviourRules, tool_calls_per_hour: u64) -> Setup {
    let mut setup = Setup { scenarios: vec![("burst", burst())], ..Setup::default() };
    setup.runs.rates = RateRules { behaviour, tool_calls_per_hour, ..RateRules::unreachable() };
    setup
}

fn touchy() -> BehaviourRules {
    BehaviourRules { hasty: 4, suspicious: 12, hostile: 400, wait_max: Duration::from_millis(100), ..BehaviourRules::default() }
}

fn nonce(challenge: &str, bits: u64) -> String {
    let fits = |nonce: &String| {
        let [a, b, c, d, ..] = digest_bytes(format!("{challenge}:{nonce}").as_bytes());
        u64::from(u32::from_be_bytes([a, b, c, d]).leading_zeros()) >= bits
    };
    (0..10_000_000).map(|number: u32| number.to_string()).find(fits).unwrap()
}

async fn answer(person: &Person, run: &str, challenge: &str, nonce: &str, goes_on: bool) -> Answer {
    let said = json!({"challenge_id": challenge, "nonce": nonce, "goes_on": goes_on});
    person.post(&format!("/api/runs/{run}/challenge"), &said).await
}

fn results(events: &[Value]) -> Vec<(bool, String)> {
    let results = events.iter().filter(|event| event["type"] == "tool_result");
    results.map(|event| (event["ok"] == true, event["denial"]["code"].as_str().unwrap_or("").to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_unusually_much_is_asked_and_goes_on_with_a_yes() {
    let gate = TestGate::start(setup(touchy(), 1_000)).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let conversation = ada.conversation().await;
    let began = Instant::now();
    let run = ada.say(&conversation, "[[scenario:burst]] Look around", false).await;
    let mut stream = ada.watch(&run).await;
    let mut events = stream.until("challenge").await;
    let asked = Instant::now();
    let question = events.last().unwrap().clone();
    let (challenge, bits) = (question["challenge_id"].as_str().unwrap(), question["bits"].as_u64().unwrap());
    let nonce = nonce(challenge, bits);

    if asked.elapsed() < Duration::from_millis(600) {
        let early = answer(&ada, &run, challenge, &nonce, true).await;
        assert_eq!((early.status, early.json()["error"]["code"].as_str()), (409, Some("challenge.too_soon")));
    }
    tokio::time::sleep(Duration::from_millis(750)).await;
    let lazy = answer(&ada, &run, challenge, "none", true).await;
    assert_eq!((lazy.status, lazy.json()["error"]["code"].as_str()), (422, Some("challenge.no_work")));
    assert_eq!(answer(&eve, &run, challenge, &nonce, true).await.status, 404, "it is another's");
    let other = eve.say(&eve.conversation().await, "Hello", false).await;
    assert_eq!(answer(&eve, &other, challenge, &nonce, true).await.status, 404);
    assert_eq!(answer(&ada, &other, challenge, &nonce, true).await.status, 404, "of another run");
    assert_eq!(answer(&ada, "x", challenge, &nonce, true).await.status, 404);
    assert_eq!(ada.post(&format!("/api/runs/{run}/challenge"), &json!({"goes_on": true})).await.status, 400);

    assert_eq!(answer(&ada, &run, challenge, &nonce, true).await.status, 204);
    assert_eq!(answer(&ada, &run, challenge, &nonce, true).await.status, 404, "it is used up");
    events.extend(stream.rest().await);
    let ended = events.iter().find(|event| event["type"] == "challenge_ended").unwrap();
    assert_eq!((&ended["challenge_id"], &ended["goes_on"]), (&json!(challenge), &json!(true)));
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    assert_eq!(results(&events), vec![(true, String::new()); 16], "everything was done");
    // From the fifth to the eleventh call each waits a little longer, several at once.
    assert!(began.elapsed() > Duration::from_millis(750 + 80), "they were slowed down: {:?}", began.elapsed());
    let conduct = gate.database.conduct().await;
    assert_eq!(conduct.get(..3), Some(&["hasty".to_owned(), "suspicious".to_owned(), "true".to_owned()][..]), "{conduct:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_stops_the_run() {
    let gate = TestGate::start(setup(touchy(), 1_000)).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let run = ada.say(&conversation, "[[scenario:burst]] Look around", false).await;
    let mut stream = ada.watch(&run).await;
    let events = stream.until("challenge").await;
    let challenge = events.last().unwrap()["challenge_id"].as_str().unwrap();
    assert_eq!(answer(&ada, &run, challenge, "", false).await.status, 204, "who says no has to prove nothing");
    let end = stream.rest().await.pop().unwrap();
    assert_eq!((&end["outcome"], &end["code"]), (&json!("failed"), &json!("behaviour.unconfirmed")), "{end}");
    let conduct = gate.database.conduct().await;
    assert_eq!(conduct.get(..3), Some(&["hasty".to_owned(), "suspicious".to_owned(), "false".to_owned()][..]), "{conduct:?}");
    let next = ada.run(&conversation, "What is on my map?", false).await;
    assert_eq!(next.last().unwrap()["outcome"], "finished", "a new message begins anew: {next:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refusal_after_the_other_stops_the_run() {
    let rules = BehaviourRules { hasty: 25, suspicious: 50, hostile: 100, ..BehaviourRules::default() };
    let mut setup = Setup { agent: Some(probe()), ..setup(rules, 1_000) };
    setup.scenarios.clear();
    let gate = TestGate::start(setup).await;
    let agent = Probe::new(gate.person().await).await;
    let forged = json!({"do": "tool", "name": "addItem", "arguments": {}, "id": "t"});
    let orders = json!({"report": "say", "orders": vec![forged; 34]});
    let events = agent.events(&orders, true).await;
    let end = events.last().unwrap();
    assert_eq!((&end["outcome"], &end["code"]), (&json!("failed"), &json!("behaviour.hostile")), "{end}");
    let refused = gate.database.denials().await.iter().filter(|denial| denial.starts_with("tool.not_emitted")).count();
    assert!((20..34).contains(&refused), "{refused} were refused before it was stopped");
    assert_eq!(gate.database.conduct().await, ["hasty", "suspicious", "hostile"]);
    let other = Probe::new(gate.person().await).await;
    let seen = other.tell(&gate, json!([{"do": "tool", "method": "tools/list"}])).await;
    assert!(format!("{seen:?}").contains("mapItemsList"), "others are left alone: {seen:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_used_as_often_as_they_may_in_an_hour() {
    let gate = TestGate::start(setup(BehaviourRules::indifferent(), 5)).await;
    let ada = gate.person().await;
    let events = ada.run(&ada.conversation().await, "[[scenario:burst]] Look around", false).await;
    let results = results(&events);
    assert_eq!(results.iter().filter(|(ok, _)| *ok).count(), 5, "{results:?}");
    assert!(results.iter().all(|(ok, code)| *ok || code == "rate.tools"), "{results:?}");
    assert_eq!((results.len(), &events.last().unwrap()["outcome"]), (16, &json!("finished")));
    let eve = gate.person().await;
    let hers = eve.run(&eve.conversation().await, "What is on my map?", false).await;
    assert!(hers.iter().any(|event| event["type"] == "tool_result" && event["ok"] == true), "another's are another's: {hers:?}");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_unusually_much_is_slowed_down_and_then_waits() {
    let rules = BehaviourRules { sinks_per_second: 3, ..touchy() };
    let mut setup = Setup { agent: Some(probe()), callers: true, ..setup(rules, 1_000) };
    setup.scenarios.clear();
    let mut gate = TestGate::start(setup).await;
    let (ada, eve) = (gate.person().await, gate.person().await);
    let (mut hers, mut eves) = (String::new(), String::new());
    for (person, bearer) in [(&ada, &mut hers), (&eve, &mut eves)] {
        let headers = [("cookie", person.cookie.as_str()), ("content-type", "application/json")];
        let body = json!({"name": "desk", "app": "hexmap"}).to_string();
        let made = exchange(gate.address, request("POST", "/api/keys", &headers, body)).await.json();
        let token = made["token"].as_str().unwrap();
        gate.keep_secret("a person's key", token);
        *bearer = format!("Bearer {token}");
    }
    let callers = gate.callers();
    let look = async |bearer: &str| {
        let headers = [("authorization", bearer), ("content-type", "application/json")];
        let params = json!({"name": "getCurrentUser", "arguments": {}});
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        let began = Instant::now();
        (exchange(callers, request("POST", "/api/mcp", &headers, body)).await, began.elapsed())
    };
    let began = Instant::now();
    // Half as many at once as one key may have under way, for a place is free only when all of a call is written down.
    let burst: Vec<_> = futures_util::stream::iter((0..40).map(|_| look(&hers))).buffered(16).collect().await;
    let forgotten = usize::try_from(began.elapsed().as_secs() * 3).unwrap();
    let slowest = burst.iter().map(|(_, took)| *took).max().unwrap();
    assert!(slowest >= Duration::from_millis(60), "the last ones before the end were slowed down: {slowest:?}");
    let burst: Vec<Answer> = burst.into_iter().map(|(answer, _)| answer).collect();
    let done = burst.iter().filter(|answer| answer.status == 200 && answer.json()["result"]["isError"] == false).count();
    let refused = |answer: &Answer| {
        let said = answer.json();
        said["error"]["data"]["reason"] == "behaviour.client" || said["result"]["_meta"]["hexward/reason"] == "behaviour.client"
    };
    assert!((8..=20 + forgotten).contains(&done), "{done} of forty were answered, {forgotten} were forgotten meanwhile");
    assert_eq!(burst.iter().filter(|answer| refused(answer)).count(), 40 - done, "and the others told to wait");
    let mut after = look(&hers).await.0;
    for _ in 0..40 {
        // A slow machine forgets some of it before the next one arrives.
        if after.status != 429 {
            after = look(&hers).await.0;
        }
    }
    assert_eq!((after.status, refused(&after)), (429, true), "{}", after.text());
    let wait = after.header("retry-after").parse::<u64>().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(look(&eves).await.0.status, 200, "another's is another's");
    let conduct = gate.database.conduct().await;
    assert_eq!(conduct.get(..2), Some(&["hasty".to_owned(), "suspicious".to_owned()][..]), "it is in the audit log: {conduct:?}");
    let run = ada.run(&ada.conversation().await, &json!({"orders": []}).to_string(), false).await;
    assert_eq!(run.last().unwrap()["outcome"], "finished", "a key stops nobody's agent: {run:?}");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(look(&hers).await.0.status, 200, "the wait that is told is enough");
    gate.finish().await;
}
