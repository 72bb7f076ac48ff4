//! One way to the model: directly, through a proxy that decides nothing, through the gateway, through a peer.

use crate::client::Asked;
use crate::process::tree_cpu_seconds;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use std::net::SocketAddr;

pub const MODEL: &str = "claude-haiku-4-5";
pub const OUTPUT_TOKENS_MAX: u64 = 512;
/// What requests of a kibibyte weigh, and large ones.
pub const SMALL: usize = 1 << 10;
pub const LARGE: usize = 100 << 10;

/// Where to, with what, and whose processor time it takes.
pub struct Lane {
    /// As in the keys of the report.
    pub name: &'static str,
    pub address: SocketAddr,
    pub path: &'static str,
    /// Beside those that every request has.
    pub headers: Vec<(&'static str, String)>,
    /// The first process of the proxy; none where nothing is in between.
    pub proxy: Option<u32>,
}

impl Lane {
    /// A request that begins as `begin` and has `bytes` in all.
    pub fn ask(&self, begin: &str, bytes: usize) -> Result<Asked> {
        let mut request =
            Request::post(self.path).header("anthropic-version", "2023-06-01").header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        Ok(request.body(Full::new(body(begin, bytes)?))?)
    }

    /// Processor seconds of the proxy so far, its children's included.
    pub fn cpu_seconds(&self) -> Result<f64> {
        self.proxy.map_or(Ok(0.0), tree_cpu_seconds)
    }
}

/// A request of exactly so many bytes.
fn body(begin: &str, bytes: usize) -> Result<Bytes> {
    let ask = |text: &str| {
        format!(
            "{begin}\"model\":\"{MODEL}\",\"max_tokens\":{OUTPUT_TOKENS_MAX},\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
        )
    };
    let around = ask("").len();
    Ok(ask(&"x".repeat(bytes.checked_sub(around).context("the frame alone is longer")?)).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::upstream::{SLOW, STREAM};

    #[test]
    fn requests_have_their_size_and_are_json() {
        for (begin, bytes, streamed) in [("{", SMALL, false), (STREAM, SMALL, true), (SLOW, SMALL, true), ("{", LARGE, false)] {
            let body = body(begin, bytes).expect("a body");
            assert_eq!(body.len(), bytes);
            let parsed: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(parsed.get("stream").is_some(), streamed);
        }
    }
}
