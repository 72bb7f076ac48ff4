//! Between a client and a server on loopback: hears every byte that either says, and changes none.

use bytes::Bytes;
use fake::Exchange;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A port that leads to a server, or to nobody; dropping it closes the port and every connection.
pub struct Ear {
    address: SocketAddr,
    talks: Arc<Mutex<Vec<Arc<Talk>>>>,
    task: JoinHandle<()>,
}

/// What was said on one connection.
#[derive(Default)]
struct Talk {
    asked: Mutex<Vec<u8>>,
    answered: Mutex<Vec<u8>>,
}

impl Ear {
    /// In front of a server. Without one, every connection is closed at once; it is counted all the same.
    pub async fn before(server: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let talks: Arc<Mutex<Vec<Arc<Talk>>>> = Arc::default();
        let task = tokio::spawn(listen(listener, server, Arc::clone(&talks)));
        Self { address, talks, task }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.talks.lock().len()
    }

    /// Every request and its answer, as they were on the wire; those of one connection in order. `finished` is that the answer's own
    /// end was there.
    #[must_use]
    pub fn heard(&self) -> Vec<Exchange> {
        self.talks.lock().iter().flat_map(|talk| exchanges(&talk.asked.lock(), &talk.answered.lock())).collect()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, server: Option<SocketAddr>, talks: Arc<Mutex<Vec<Arc<Talk>>>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let talk = Arc::new(Talk::default());
        talks.lock().push(Arc::clone(&talk));
        if let Some(server) = server {
            connections.spawn(pass(client, server, talk));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Where one side ends, both do: a client that leaves is gone for the server too.
async fn pass(client: TcpStream, server: SocketAddr, talk: Arc<Talk>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pour(from_client, to_server, &talk.asked) => {}
        () = pour(from_server, to_client, &talk.answered) => {}
    }
}

async fn pour(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, heard: &Mutex<Vec<u8>>) {
    let mut room = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut room).await {
        heard.lock().extend_from_slice(&room[..count]);
        if to.write_all(&room[..count]).await.is_err() {
            return;
        }
    }
}

fn exchanges(mut asked: &[u8], mut answered: &[u8]) -> Vec<Exchange> {
    let mut found = Vec::new();
    while let Some((line, headers, rest)) = head(asked) {
        let (body, after) = rest.split_at(number(&headers, "content-length").min(rest.len()));
        asked = after;
        let words: Vec<_> = line.split(' ').collect();
        let (path, query) = words[1].split_once('?').map_or((words[1], None), |(path, query)| (path, Some(query.to_owned())));
        let mut exchange = Exchange {
            method: words[0].parse().unwrap(),
            path: path.to_owned(),
            query,
            headers,
            body: Bytes::copy_from_slice(body),
            ..Exchange::default()
        };
        if let Some((line, headers, rest)) = head(answered) {
            exchange.status = StatusCode::from_bytes(line.split(' ').nth(1).unwrap().as_bytes()).unwrap();
            (exchange.sent, exchange.finished, answered) = body_of(&headers, rest);
            exchange.response_headers = headers;
        }
        found.push(exchange);
    }
    found
}

/// First line, headers, and what follows.
fn head(bytes: &[u8]) -> Option<(String, HeaderMap, &[u8])> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap().to_owned();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim()).unwrap())
    });
    Some((first, headers.collect(), &bytes[end + 4..]))
}

fn number(headers: &HeaderMap, name: &str) -> usize {
    headers.get(name).map_or(0, |value| value.to_str().unwrap().parse().unwrap())
}

/// A body without its framing, whether its end was there, and what follows.
fn body_of<'a>(headers: &HeaderMap, mut rest: &'a [u8]) -> (Vec<u8>, bool, &'a [u8]) {
    if !headers.contains_key("transfer-encoding") {
        let length = number(headers, "content-length");
        let (body, after) = rest.split_at(length.min(rest.len()));
        return (body.to_vec(), body.len() == length, after);
    }
    let mut body = Vec::new();
    while let Some(line) = memchr::memmem::find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        let chunk = &rest[line + 2..];
        if size == 0 {
            return (body, true, chunk.strip_prefix(b"\r\n").unwrap_or_default());
        }
        body.extend_from_slice(&chunk[..size.min(chunk.len())]);
        rest = chunk.get(size + 2..).unwrap_or_default();
    }
    (body, false, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_read_to_where_it_was_cut() {
        let asked = b"POST /a?b=c HTTP/1.1\r\nContent-Length: 3\r\n\r\n{ }GET /d HTTP/1.1\r\nhost: x\r\n\r\n";
        let answered = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
            HTTP/1.1 529 <none>\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\n5\r\nabc";
        let found = exchanges(asked, answered);
        let shown: Vec<_> = found.iter().map(|one| (one.path.as_str(), one.query.as_deref(), one.status.as_u16())).collect();
        assert_eq!(shown, [("/a", Some("b=c"), 200), ("/d", None, 529)]);
        assert_eq!((found[0].body.as_ref(), found[0].sent.as_slice(), found[0].finished), (&b"{ }"[..], &b"abcde"[..], true));
        assert_eq!((found[1].body.as_ref(), found[1].sent.as_slice(), found[1].finished), (&b""[..], &b"abc"[..], false));
    }
}
