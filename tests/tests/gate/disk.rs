//! A disk without room: what can't be written down is not done and not answered, and nothing needs a hand once there is room again.

use fake::{Fake, FakeConfig};
use gate_tests::{Answer, Person, Program, ProgramSetup, eventually, exchange, request};
use serde_json::json;
use std::time::Duration;

const KEY: &str = "sk-ant-api03-of-this-test-alone";
const SECRET: &str = "4c7d1a0b9e8f62541f0e3d2c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";

struct House {
    program: Program,
    fake: Fake,
    ada: Person,
    conversation: String,
    /// Of Ada's own client.
    token: String,
}

impl House {
    async fn new(folder: &tempfile::TempDir) -> Self {
        let fake = Fake::start(FakeConfig::for_tests(KEY)).await.unwrap();
        let setup = ProgramSetup::new(folder.path(), &fake.url(), KEY).with("INTERNAL_PROXY_SECRET", SECRET);
        let program = setup.outliving_file_limits().start();
        let ada = program.person().await;
        let conversation = ada.conversation().await;
        let made = ada.post("/api/keys", &json!({"name": "desk", "app": "hexmap"})).await;
        let token = made.json()["token"].as_str().unwrap().to_owned();
        Self { program, fake, ada, conversation, token }
    }

    /// Her client reads who she is.
    async fn read(&self) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2025-11-25"),
        ];
        let call =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "getCurrentUser", "arguments": {}}});
        exchange(self.program.callers(), request("POST", "/api/mcp", &headers, call.to_string())).await
    }

    async fn reads(&self) -> bool {
        let answer = self.read().await;
        answer.status == 200 && answer.json()["result"]["structuredContent"]["id"] == json!(self.ada.user)
    }

    /// A remote caller asks the model.
    async fn ask(&self) -> Answer {
        let headers = [("x-api-key", SECRET), ("content-type", "application/json"), ("anthropic-version", "2023-06-01")];
        let message = json!([{"role": "user", "content": "Hello"}]);
        let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 64, "messages": message});
        exchange(self.program.callers(), request("POST", "/api/anthropic-proxy/v1/messages", &headers, body.to_string())).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_on_the_disk_nothing_is_done_and_with_it_all_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(&folder).await;
    assert!(house.reads().await && house.ask().await.status == 200, "{}", house.program.log());
    // What its calls take is there before: it is no want of money that stops the next ones.
    let asked = house.fake.requests().len();

    house.program.limit_files(Some(0));
    for _ in 0..3 {
        let read = house.read().await;
        assert!(read.json()["result"]["isError"] != json!(false) && !read.text().contains(&house.ada.user), "{}", read.text());
        let refused = house.ask().await;
        assert!((500..600).contains(&refused.status), "{} {}", refused.status, refused.text());
        assert!(refused.json()["error"]["message"].as_str().unwrap().ends_with('.'), "{}", refused.text());
        let said = house.ada.try_say(&house.conversation, "Hello", true).await;
        assert!((500..600).contains(&said.status) && said.json()["error"]["code"].is_string(), "{}", said.text());
    }
    assert_eq!(house.fake.requests().len(), asked, "the provider is asked for nothing that is not written down");
    let page = exchange(house.program.address, request("GET", "/healthz", &[], "")).await;
    assert_eq!(page.status, 200, "it lives");

    house.program.limit_files(None);
    eventually("reads are answered again", Duration::from_secs(10), async || house.reads().await).await;
    eventually("the model is asked again", Duration::from_secs(10), async || house.ask().await.status == 200).await;
    let events = house.ada.run(&house.conversation, "Create a tile called Aurora to the north-east", true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
    // All that was answered is written down, and nothing of what was not.
    let House { mut program, .. } = house;
    program.signal("TERM");
    assert!(program.wait().success(), "{}", program.log());
    let database = program.database().await;
    assert_eq!(database.0.open_model_calls().await.unwrap(), 0);
    let calls = database.calls().await;
    assert!(calls.iter().all(|call| call.outcome.as_deref() == Some("measured")), "{calls:?}");
    assert_eq!(calls.len(), house.fake.requests().len());
    let reads = database.tool_calls().await.into_iter().filter(|(tool, _)| tool == "getCurrentUser");
    let states: Vec<String> = reads.map(|(_, state)| state).collect();
    assert!(states.len() >= 2 && states.iter().all(|state| state == "done"), "{states:?}");
}
