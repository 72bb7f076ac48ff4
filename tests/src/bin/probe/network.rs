//! What can be reached.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(8);
const BODY_CHARS_MAX: u64 = 8_000;

fn address(order: &Value) -> std::io::Result<SocketAddr> {
    order["to"].as_str().unwrap().to_socket_addrs()?.next().ok_or_else(|| ErrorKind::NotFound.into())
}

fn dial(order: &Value) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address(order)?, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    Ok(stream)
}

/// Runs something and adds how long it took.
fn timed(work: impl FnOnce() -> std::io::Result<Value>) -> Value {
    let began = Instant::now();
    let mut result = work().unwrap_or_else(|error| json!({"error": error.to_string(), "kind": format!("{:?}", error.kind())}));
    result["ms"] = json!(u64::try_from(began.elapsed().as_millis()).unwrap());
    result
}

/// `{"to": "host:port", "count": N}`: so many connections that are never closed and never say anything.
pub fn keep(order: &Value) -> Value {
    static HELD: std::sync::Mutex<Vec<TcpStream>> = std::sync::Mutex::new(Vec::new());
    let count = order["count"].as_u64().unwrap();
    let mut held = HELD.lock().unwrap();
    held.extend((0..count).map_while(|_| dial(order).ok()));
    json!({"held": held.len()})
}

/// `{"to": "host:port", "host"?, "method"?, "path"?, "headers"?: [[name, value]], "body"?, "chars"?: how much of the answer}`
pub fn http(order: &Value) -> Value {
    timed(|| exchange(dial(order)?, order))
}

/// The same over TLS, with `"sni": NAME`, or without a server name when there is none.
pub fn tls(order: &Value) -> Value {
    timed(|| {
        let name = match order["sni"].as_str() {
            Some(name) => ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?,
            // An address is never sent as a server name (RFC 6066, 3).
            None => ServerName::from(std::net::IpAddr::from([198, 18, 0, 10])),
        };
        let connection = ClientConnection::new(Arc::new(client()?), name).map_err(std::io::Error::other)?;
        exchange(StreamOwned::new(connection, dial(order)?), order)
    })
}

/// Trusts what this sandbox was told to trust.
fn client() -> std::io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let path = std::env::var("SSL_CERT_FILE").map_err(std::io::Error::other)?;
    for certificate in CertificateDer::pem_file_iter(path).map_err(std::io::Error::other)? {
        roots.add(certificate.map_err(std::io::Error::other)?).map_err(std::io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(std::io::Error::other)?.with_root_certificates(roots).with_no_client_auth())
}

fn exchange(mut stream: impl Read + Write, order: &Value) -> std::io::Result<Value> {
    let text = |name: &str, default: &'static str| order[name].as_str().unwrap_or(default).to_owned();
    let to = text("to", "");
    let host = order["host"].as_str().map_or_else(|| to.trim_end_matches(":80").to_owned(), str::to_owned);
    let body = text("body", "");
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n", text("method", "GET"), text("path", "/"));
    for header in order["headers"].as_array().into_iter().flatten() {
        head.push_str(&format!("{}: {}\r\n", header[0].as_str().unwrap(), header[1].as_str().unwrap()));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // A peer that closes without a word of TLS is fine, as long as it answered.
        Err(error) if error.kind() != ErrorKind::UnexpectedEof || answer.is_empty() => return Err(error),
        Ok(_) | Err(_) => {}
    }
    parse(&answer, order["chars"].as_u64().unwrap_or(BODY_CHARS_MAX))
        .ok_or_else(|| std::io::Error::other(format!("no HTTP answer: {:?}", String::from_utf8_lossy(&answer))))
}

fn parse(answer: &[u8], chars: u64) -> Option<Value> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: serde_json::Map<String, Value> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), Value::from(value.trim())))
        .collect();
    let chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
    let body = if chunked { unchunked(&answer[end + 4..]) } else { answer[end + 4..].to_vec() };
    let body: String = String::from_utf8_lossy(&body).chars().take(usize::try_from(chars).unwrap()).collect();
    Some(json!({"status": status, "headers": headers, "body": body}))
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(String::from_utf8_lossy(&rest[..end]).trim(), 16).unwrap_or(0);
        let from = end + 2;
        if size == 0 || rest.len() < from + size + 2 {
            break;
        }
        body.extend_from_slice(&rest[from..from + size]);
        rest = &rest[from + size + 2..];
    }
    body
}

/// `{"name", "kind": 1, "server"?}`: asks a name server directly, by RFC 1035.
pub fn name(order: &Value) -> Value {
    timed(|| {
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in order["name"].as_str().unwrap().trim_end_matches('.').split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend_from_slice(label.as_bytes());
        }
        query.push(0);
        query.extend_from_slice(&[0, u8::try_from(order["kind"].as_u64().unwrap()).unwrap(), 0, 1]);
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(WAIT))?;
        socket.connect(order["server"].as_str().unwrap_or("198.18.0.53:53"))?;
        socket.send(&query)?;
        let mut answer = [0; 1500];
        let length = socket.recv(&mut answer)?;
        Ok(json!({"code": answer[3] & 15, "answers": u16::from_be_bytes([answer[6], answer[7]]), "bytes": length}))
    })
}

/// `{"name"}`: as programs resolve names.
pub fn resolve(order: &Value) -> Value {
    timed(|| {
        let addresses = (order["name"].as_str().unwrap(), 80).to_socket_addrs()?;
        Ok(json!({"addresses": addresses.map(|address| address.ip().to_string()).collect::<Vec<_>>()}))
    })
}

/// `{"to": "ip:port"}`: whether somebody answers.
pub fn connect(order: &Value) -> Value {
    timed(|| dial(order).map(|_| json!({"open": true})))
}

/// `{"to": "ip:port"}`: whether a datagram is answered.
pub fn udp(order: &Value) -> Value {
    timed(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.connect(address(order)?)?;
        socket.send(b"hello")?;
        let length = socket.recv(&mut [0; 100])?;
        Ok(json!({"bytes": length}))
    })
}
