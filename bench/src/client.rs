//! A client as small as can be: one connection, one request at a time, a clock.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Nothing on loopback takes this long unless it hangs.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A request with its whole body.
pub type Asked = Request<Full<Bytes>>;

/// A connection kept open; one that the server closed is made anew before the clock starts.
pub struct Client {
    /// Where to connect anew; none for a connection that somebody else made.
    address: Option<SocketAddr>,
    /// What it says as Host.
    host: String,
    sender: SendRequest<Full<Bytes>>,
}

/// When the answer came, counted from the request.
#[derive(Clone, Copy)]
pub struct Timed {
    /// The first byte of the body.
    pub first_byte: Duration,
    /// The last one.
    pub whole: Duration,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self { address: Some(address), host: address.to_string(), sender: connect(address).await? })
    }

    /// Takes a connection that is there, to a host of this name.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, host: String) -> Result<Self> {
        Ok(Self { address: None, host, sender: speak(stream).await? })
    }

    /// Says another name as Host than the address.
    pub fn calling(self, host: String) -> Self {
        Self { host, ..self }
    }

    /// Waits until the connection takes a request, and makes a new one if the server closed it.
    async fn ready(&mut self) -> Result<()> {
        if self.sender.ready().await.is_err() {
            self.sender = connect(self.address.context("the connection was closed")?).await?;
        }
        Ok(())
    }

    /// Waits until the connection takes a request, so that a clock may start.
    pub async fn connected(&mut self) -> Result<()> {
        self.ready().await
    }

    /// Sends a request and returns the head of the answer, whatever its status.
    pub async fn send(&mut self, mut asked: Asked) -> Result<Response<Incoming>> {
        asked.headers_mut().insert(header::HOST, HeaderValue::try_from(self.host.as_str())?);
        self.ready().await?;
        let answer = tokio::time::timeout(ANSWER_WAIT, self.sender.send_request(asked));
        answer.await.context("no answer in time")?.context("the connection broke")
    }

    /// Sends a request whose answer must be of `status`, and returns its whole body.
    pub async fn fetch(&mut self, asked: Asked, status: StatusCode) -> Result<(http::response::Parts, Bytes)> {
        let (head, body) = self.send(asked).await?.into_parts();
        let body = tokio::time::timeout(ANSWER_WAIT, body.collect()).await.context("the answer does not end")??.to_bytes();
        if head.status != status {
            bail!("answered {}: {}", head.status, String::from_utf8_lossy(&body));
        }
        Ok((head, body))
    }

    /// Sends a request that must succeed and reads its answer, with neither clock nor bound: those are the load's.
    pub async fn call(&mut self, asked: Asked) -> Result<()> {
        match self.status(asked).await? {
            StatusCode::OK => Ok(()),
            status => bail!("answered {status}"),
        }
    }

    /// The same, whatever is answered.
    pub async fn status(&mut self, mut asked: Asked) -> Result<StatusCode> {
        asked.headers_mut().insert(header::HOST, HeaderValue::from_static("127.0.0.1"));
        self.ready().await?;
        let answer = self.sender.send_request(asked).await.context("the connection broke")?;
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            drop(frame?);
        }
        Ok(status)
    }

    /// Sends a request that must succeed, and reads its answer against the clock.
    pub async fn time(&mut self, asked: Asked) -> Result<Timed> {
        self.ready().await?;
        let begun = Instant::now();
        let answer = self.send(asked).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut first_byte = None;
        while let Some(frame) = tokio::time::timeout(ANSWER_WAIT, body.frame()).await.context("the answer does not end")? {
            let frame = frame?;
            if status != StatusCode::OK {
                let said = frame.into_data().unwrap_or_default();
                bail!("answered {status}: {}", String::from_utf8_lossy(&said));
            }
            if frame.is_data() {
                first_byte.get_or_insert_with(|| begun.elapsed());
            }
        }
        Ok(Timed { first_byte: first_byte.context("the answer was empty")?, whole: begun.elapsed() })
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    speak(stream).await
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // What goes wrong on the connection is told to whoever waits for an answer on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}
