//! The checks at the end of every story are worth nothing if they can't fail.

use gate_tests::{Setup, TestGate, probe};
use policy::UserMessage;
use store::NewRun;

async fn gate() -> TestGate {
    TestGate::start(Setup { agent: Some(probe()), callers: true, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "the callers' secret stands in the log")]
async fn a_secret_in_the_log_is_found() {
    let gate = gate().await;
    tracing::debug!(target: "proxy", secret = gate.caller_secret, "a slip");
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "the callers' secret stands in what people were sent")]
async fn a_secret_in_an_answer_is_found() {
    let gate = gate().await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    ada.run(&conversation, &gate.caller_secret.clone(), true).await;
    ada.history(&conversation).await;
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "1 active runs")]
async fn a_run_left_active_is_found() {
    let gate = gate().await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await.parse().unwrap();
    let new = NewRun {
        run: policy::RunId::random(),
        conversation,
        user: ada.user.parse().unwrap(),
        app: "hexmap".to_owned(),
        message: UserMessage::parse("Hello").unwrap(),
        writes: false,
        gateway: "another".to_owned(),
    };
    gate.gateway.store.begin_run(new, gate.gateway.clock.now()).await.unwrap();
    gate.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "never called TestGate::finish")]
async fn a_forgotten_end_is_found() {
    drop(gate().await);
}
