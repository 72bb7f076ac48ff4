//! What a test may look at afterwards: every request and the exact bytes that answered it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;

/// Exchanges kept; older ones are forgotten.
const EXCHANGES_MAX: usize = 1_000;
/// Request bytes kept over all exchanges.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// One request and its answer as far as it has been sent.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    pub method: Method,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub status: StatusCode,
    pub response_headers: HeaderMap,
    /// The body bytes handed to the connection, without chunk framing.
    pub sent: Vec<u8>,
    /// The answer was played to its end, or to its intended cut.
    pub finished: bool,
}

/// An exchange that is still being written.
pub type Open = Arc<Mutex<Exchange>>;

#[derive(Debug, Default)]
pub struct Recorder {
    exchanges: Mutex<VecDeque<Open>>,
}

impl Recorder {
    pub fn add(&self, exchange: Exchange) -> Open {
        let open = Arc::new(Mutex::new(exchange));
        let mut exchanges = self.exchanges.lock();
        exchanges.push_back(Arc::clone(&open));
        while exchanges.len() > EXCHANGES_MAX || too_large(&exchanges) {
            exchanges.pop_front();
        }
        open
    }

    pub fn all(&self) -> Vec<Exchange> {
        self.exchanges.lock().iter().map(|open| open.lock().clone()).collect()
    }
}

fn too_large(exchanges: &VecDeque<Open>) -> bool {
    exchanges.len() > 1 && exchanges.iter().map(|open| open.lock().body.len()).sum::<usize>() > BYTES_MAX
}
