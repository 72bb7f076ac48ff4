//! The same door for callers who want to be told what a tool says while it works: then the answer is an event stream that ends with
//! the result.

use super::front::{self, ToolHost, Wanted};
use super::host::LogWish;
use super::notices::Notices;
use super::parse::{Call, Message, Request, parse};
use crate::answer::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Answers one request. The answer is one JSON object unless the tool said something before it was done.
pub(crate) async fn stream(head: &Parts, body: Bytes, host: Arc<dyn ToolHost>) -> Response<Body> {
    let parsed = parse(head, &body);
    drop(body);
    let (id, era, call) = match parsed {
        Ok(Message::Request(Request { id, era, call: Call::CallTool(call) })) if wants_notices(&head.headers, &call.wanted) => {
            (id, era, call)
        }
        parsed => return whole(front::respond_to(parsed, host.as_ref()).await),
    };
    let (notices, told) = Notices::new(call.wanted.clone());
    let answering = Box::pin(async move {
        let result = host.call_telling(call, notices).await;
        front::of_call(&id, era, result)
    });
    let mut going = Going { answering, told, answer: None };
    match going.next().await {
        Some(Said::Answer(answer)) => whole(front::send_ok(&answer)),
        first => events(first.map(Said::message), going),
    }
}

/// A call under way.
struct Going {
    answering: BoxFuture<'static, Value>,
    told: mpsc::Receiver<Value>,
    /// Held back until all that was said before is told; `Null` once it is given.
    answer: Option<Value>,
}

enum Said {
    Notice(Value),
    Answer(Value),
}

impl Said {
    fn message(self) -> Value {
        match self {
            Self::Notice(message) | Self::Answer(message) => message,
        }
    }
}

impl Going {
    /// What comes next; none after the answer.
    async fn next(&mut self) -> Option<Said> {
        if self.answer.is_none() {
            tokio::select! {
                biased;
                Some(notice) = self.told.recv() => return Some(Said::Notice(notice)),
                answer = &mut self.answering => self.answer = Some(answer),
            }
        }
        if let Ok(notice) = self.told.try_recv() {
            return Some(Said::Notice(notice));
        }
        self.answer.replace(Value::Null).filter(|answer| !answer.is_null()).map(Said::Answer)
    }
}

/// Who accepts no stream is told the result alone.
fn wants_notices(headers: &HeaderMap, wanted: &Wanted) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let kinds = accepts.flat_map(|list| list.split(',')).map(|kind| kind.split(';').next().unwrap_or_default().trim());
    (wanted.log != LogWish::Nothing || wanted.progress.is_some())
        && kinds.into_iter().any(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
}

fn whole(response: Response<Full<Bytes>>) -> Response<Body> {
    response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

fn events(first: Option<Value>, going: Going) -> Response<Body> {
    let rest = stream::unfold(going, |mut going| async move { Some((going.next().await?.message(), going)) });
    let frames = stream::iter(first)
        .chain(rest)
        .map(|message| Ok::<_, std::io::Error>(Frame::data(Bytes::from(format!("event: message\ndata: {message}\n\n")))));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::front::{HostError, ServerInfo, ToolCall};
    use http::Request as HttpRequest;
    use serde_json::json;

    /// A host whose tool says so much before it is done.
    struct Saying(u32);

    impl ToolHost for Saying {
        fn server(&self) -> ServerInfo {
            ServerInfo { name: "s".to_owned(), title: "S".to_owned(), version: "1".to_owned() }
        }

        fn tools(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn call(&self, _call: ToolCall) -> BoxFuture<'_, Result<Value, HostError>> {
            Box::pin(async { Ok(json!({"content": []})) })
        }

        fn call_telling(&self, call: ToolCall, notices: Notices) -> BoxFuture<'_, Result<Value, HostError>> {
            Box::pin(async move {
                for at in 1..=self.0 {
                    let params = json!({"progressToken": "ours", "progress": at});
                    notices.saw(&json!({"method": "notifications/progress", "params": params}), "ours");
                    if at == 1 {
                        tokio::task::yield_now().await;
                    }
                }
                self.call(call).await
            })
        }

        fn resources(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn resource_templates(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn read_resource<'a>(&'a self, _uri: &'a str) -> BoxFuture<'a, Result<Value, HostError>> {
            Box::pin(async { Err(HostError::Unknown) })
        }
    }

    async fn ask(says: u32, accept: &str, meta: Value) -> (String, String) {
        let request = HttpRequest::post("/mcp").header("content-type", "application/json").header("accept", accept);
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let params = json!({"name": "t", "_meta": meta});
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).to_string();
        let response = stream(&head, Bytes::from(body), Arc::new(Saying(says))).await;
        let kind =
            response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let body = response.into_body().collect().await.expect("a whole body").to_bytes();
        (kind, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn what_a_tool_says_comes_before_its_answer_and_only_to_who_wants_it() {
        const BOTH: &str = "application/json, text/event-stream";
        let wish = json!({"progressToken": "mine"});
        let (kind, body) = ask(3, BOTH, wish.clone()).await;
        assert_eq!(kind, "text/event-stream");
        let events: Vec<&str> = body.split("\n\n").filter(|event| !event.is_empty()).collect();
        assert_eq!(events.len(), 4, "{body}");
        assert!(events.iter().take(3).all(|event| event.contains("\"progressToken\":\"mine\"")), "{body}");
        assert!(events.last().is_some_and(|last| last.contains("\"id\":7") && last.contains("\"result\"")), "{body}");
        for (says, accept, wish) in [(0, BOTH, wish.clone()), (3, "application/json", wish), (3, BOTH, json!({}))] {
            let (kind, body) = ask(says, accept, wish).await;
            assert_eq!(kind, "application/json", "{body}");
            assert!(body.contains("\"id\":7") && !body.contains("notifications"), "{body}");
        }
    }
}
