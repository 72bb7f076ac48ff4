//! Somebody in front of a browser, without the browser.

use crate::wire::{self, Answer, begin, exchange, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// Everything that was ever sent to people of one gateway.
type Seen = Arc<Mutex<Vec<u8>>>;

/// One session.
#[derive(Clone)]
pub struct Person {
    /// Where the gateway is.
    pub address: SocketAddr,
    /// `name=value`
    pub cookie: String,
    /// The user's id.
    pub user: String,
    seen: Seen,
}

impl Person {
    /// Opens the page for the first time.
    pub async fn arrive(address: SocketAddr, seen: Seen) -> Self {
        let answer = exchange(address, request("GET", "/api/session", &[], "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        let user = answer.json()["user"]["id"].as_str().unwrap().to_owned();
        Self { address, cookie, user, seen }
    }

    /// The same person at another address: a gateway that was started again.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    async fn ask(&self, request: http::Request<http_body_util::Full<bytes::Bytes>>) -> Answer {
        let answer = exchange(self.address, request).await;
        self.seen.lock().extend_from_slice(&answer.body);
        self.seen.lock().extend_from_slice(format!("{:?}", answer.headers).as_bytes());
        answer
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(request("GET", path, &[("cookie", &self.cookie)], "")).await
    }

    /// `POST` of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_as(path, "application/json", body.to_string().into_bytes()).await
    }

    /// `POST` of anything.
    pub async fn post_as(&self, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
        self.ask(request("POST", path, &[("cookie", &self.cookie), ("content-type", content_type)], body)).await
    }

    /// A new conversation.
    pub async fn conversation(&self) -> String {
        self.conversation_with(&json!({})).await
    }

    /// A new conversation with another app than the one that the page shows: `{"app": "..."}`.
    pub async fn conversation_with(&self, body: &Value) -> String {
        let made = self.post("/api/conversations", body).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].as_str().unwrap().to_owned()
    }

    /// Tries to say something.
    pub async fn try_say(&self, conversation: &str, text: &str, writes: bool) -> Answer {
        self.post(&format!("/api/conversations/{conversation}/messages"), &json!({"text": text, "writes": writes})).await
    }

    /// Says something; returns the run.
    pub async fn say(&self, conversation: &str, text: &str, writes: bool) -> String {
        let sent = self.try_say(conversation, text, writes).await;
        assert_eq!(sent.status, 202, "{}", sent.text());
        sent.json()["run_id"].as_str().unwrap().to_owned()
    }

    /// Looks at a run as it goes on.
    pub async fn watch(&self, run: &str) -> Stream {
        self.watch_from(run, None).await
    }

    /// The same after a broken connection.
    pub async fn watch_from(&self, run: &str, last: Option<u64>) -> Stream {
        let last = last.map(|last| last.to_string());
        let mut headers = vec![("cookie", self.cookie.as_str())];
        headers.extend(last.as_deref().map(|last| ("last-event-id", last)));
        let response = begin(self.address, request("GET", &format!("/api/runs/{run}/events"), &headers, "")).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { body: response.into_body(), buffer: String::new(), seen: Arc::clone(&self.seen) }
    }

    /// The stream that tells a page what changed elsewhere: its data, line by line, for `wait`.
    pub async fn changes(&self, wait: std::time::Duration) -> Vec<Value> {
        let asked = request("GET", "/api/changes", &[("cookie", &self.cookie)], "");
        let mut body = begin(self.address, asked).await.unwrap().into_body();
        let mut text = String::new();
        let reading = async {
            while let Some(Ok(frame)) = body.frame().await {
                text.push_str(std::str::from_utf8(frame.data_ref().map_or(&[][..], |data| data)).unwrap());
            }
        };
        let _over = tokio::time::timeout(wait, reading).await;
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()).collect()
    }

    /// Says something in a conversation and waits for the end; returns the run's events.
    pub async fn run(&self, conversation: &str, text: &str, writes: bool) -> Vec<Value> {
        let run = self.say(conversation, text, writes).await;
        self.watch(&run).await.rest().await
    }

    /// The same for somebody who says yes to whatever they are asked, once they have read it.
    pub async fn run_agreeing(&self, conversation: &str, text: &str, writes: bool) -> Vec<Value> {
        let run = self.say(conversation, text, writes).await;
        let (mut stream, mut events) = (self.watch(&run).await, Vec::new());
        while let Some(event) = stream.next().await {
            if event["type"] == "confirmation" {
                tokio::time::sleep(std::time::Duration::from_millis(750)).await;
                let id = event["confirmation"]["id"].as_str().unwrap();
                let said = self.post(&format!("/api/confirmations/{id}"), &json!({"approve": true})).await;
                assert_eq!(said.status, 200, "{}", said.text());
            }
            events.push(event);
        }
        events
    }

    /// The titles on the person's map, in no order.
    pub async fn tiles(&self) -> Vec<String> {
        let map = self.get("/api/apps/hexmap/resource?uri=map://items").await;
        assert_eq!(map.status, 200, "{}", map.text());
        let children = map.json()["children"].as_array().cloned().unwrap_or_default();
        children.iter().map(|tile| tile["title"].as_str().unwrap().to_owned()).collect()
    }

    /// What is kept of a conversation.
    pub async fn history(&self, conversation: &str) -> Vec<Value> {
        let shown = self.get(&format!("/api/conversations/{conversation}")).await;
        assert_eq!(shown.status, 200, "{}", shown.text());
        shown.json()["messages"].as_array().unwrap().clone()
    }
}

/// A run's events as they come.
pub struct Stream {
    body: Incoming,
    buffer: String,
    seen: Seen,
}

impl Stream {
    /// The next event; none when the stream is over.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let event: String = self.buffer.drain(..end + 2).collect();
                let data = event.lines().find_map(|line| line.strip_prefix("data:").or_else(|| line.strip_prefix("data: ")));
                let Some(data) = data else { continue };
                let value: Value = serde_json::from_str(data.trim_start()).unwrap();
                let id = event.lines().find_map(|line| line.strip_prefix("id:")).map(str::trim);
                assert_eq!(id, Some(value["seq"].to_string().as_str()), "the event's id is its number");
                return Some(value);
            }
            let frame = tokio::time::timeout(wire::ANSWER_WAIT, self.body.frame()).await.expect("an event or the end in time")?;
            let frame = frame.ok()?;
            let bytes = frame.data_ref().map_or(&[][..], |data| data);
            self.seen.lock().extend_from_slice(bytes);
            self.buffer.push_str(std::str::from_utf8(bytes).unwrap());
        }
    }

    /// Events up to the first one of a kind.
    pub async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            let found = event["type"] == kind;
            events.push(event);
            if found {
                return events;
            }
        }
        panic!("the stream ended without {kind}: {events:?}");
    }

    /// All the rest.
    pub async fn rest(mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}
