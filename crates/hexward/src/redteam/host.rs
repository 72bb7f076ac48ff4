//! A host that the operator of the attacked gateway allowed, on the loopback: it redirects, and it tells what it was sent.

use crate::config::Egress;
use anyhow::{Context, Result};
use parking_lot::Mutex;
use policy::{CredentialSlot, EgressRule, EgressRules, HostName, PathPattern, Scheme};
use secrecy::SecretString;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const HEAD_BYTES_MAX: usize = 64 << 10;
const VARIABLE: &str = "REDTEAM_HOST_KEY";

/// The host at work, until it is dropped.
pub(crate) struct AllowedHost {
    pub(crate) port: u16,
    /// What the gateway puts into each request.
    pub(crate) secret: String,
    heads: Arc<Mutex<Vec<String>>>,
    served: JoinHandle<()>,
}

impl AllowedHost {
    pub(crate) async fn start(secret: String) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port for an allowed host")?;
        let port = listener.local_addr()?.port();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        let served = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // What a connection breaks off with concerns whoever made it.
                tokio::spawn(answer(stream, Arc::clone(&seen)));
            }
        });
        Ok(Self { port, secret, heads, served })
    }

    /// The operator's rule for it: two methods, everything below one path, and a credential.
    pub(crate) fn rule(&self) -> Result<Egress> {
        let rule = EgressRule {
            host: HostName::parse("localhost")?,
            port: self.port,
            scheme: Scheme::Http,
            methods: ["GET", "POST"].map(str::to_owned).to_vec(),
            paths: vec![PathPattern::parse("/open/*")?],
            credential: Some(CredentialSlot {
                env: VARIABLE.to_owned(),
                header: "authorization".to_owned(),
                prefix: "Bearer ".to_owned(),
            }),
            danger_allow_private: true,
        };
        let rules = EgressRules::new(vec![rule]).map_err(|(_, error)| error)?;
        Ok(Egress { rules, secrets: HashMap::from([(VARIABLE.to_owned(), SecretString::from(self.secret.as_str()))]) })
    }

    /// The heads of all requests that came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

impl Drop for AllowedHost {
    fn drop(&mut self) {
        self.served.abort();
    }
}

/// One request, one answer. What follows a head is not read, so that a second request in it would be seen by itself.
async fn answer(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heads.lock().push(head.clone());
    let redirect = |to: &str| ("302 Found", format!("location: {to}\r\n"), String::new());
    let (status, extra, body) = match path.as_str() {
        "/open/to-metadata" => redirect("http://169.254.169.254/latest/"),
        "/open/to-other" => redirect("http://evil.example/"),
        "/open/to-inside" => redirect("http://127.0.0.1/"),
        "/open/reflect" => ("200 OK", String::new(), head),
        other => ("200 OK", String::new(), format!("an allowed host, asked for {other}")),
    };
    let length = body.len();
    let said = format!("HTTP/1.1 {status}\r\n{extra}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(said.as_bytes()).await
}
