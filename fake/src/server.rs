//! The socket side: accepts connections, reads bodies within their bound, plays scripts.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::Sleep,
};

use crate::{
    FakeConfig, FakeError,
    answer::{Answer, BODY_BYTES_MAX, Desk, Refusal},
    ids::Ids,
    limits::LimitHeaders,
    record::{Exchange, Open, Recorder},
    scenario::Scenarios,
    script::{Action, Script},
    socket::Shared,
    turn::Block,
    wire,
};

/// A running fake on a loopback port of its own; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Fake {
    addr: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    desk: Desk,
    limits: LimitHeaders,
    recorder: Option<Recorder>,
}

/// Waits this long after a failed accept (out of file descriptors) instead of spinning.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

impl Fake {
    /// # Errors
    /// A bad scenario or key, or no free port.
    pub async fn start(config: FakeConfig) -> Result<Self, FakeError> {
        let state = Arc::new(State::new(config)?);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(FakeError::Listen)?;
        let addr = listener.local_addr().map_err(FakeError::Listen)?;
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { addr, state, task })
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client takes as base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it says to the next request that nobody answered yet, instead of thinking for itself.
    pub fn tell(&self, blocks: Vec<Block>) {
        self.state.desk.told.lock().unwrap_or_else(PoisonError::into_inner).push_back(blocks);
    }

    /// Takes back what was not yet said.
    pub fn forget(&self) {
        self.state.desk.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The recorded exchanges, oldest first; empty when recording is off.
    #[must_use]
    pub fn requests(&self) -> Vec<Exchange> {
        self.state.recorder.as_ref().map(Recorder::all).unwrap_or_default()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves until the future is dropped.
///
/// # Errors
/// A bad scenario or key.
pub async fn serve(listener: TcpListener, config: FakeConfig) -> Result<(), FakeError> {
    let state = Arc::new(State::new(config)?);
    accept(listener, state).await;
    Ok(())
}

impl State {
    fn new(config: FakeConfig) -> Result<Self, FakeError> {
        if config.key.is_empty() {
            return Err(FakeError::EmptyKey);
        }
        let scenarios = Scenarios::load(&config.scenario_dirs)?;
        if let Some(name) = config.scenario.as_ref().filter(|name| scenarios.find(name).is_none()) {
            return Err(FakeError::NoScenario(name.clone()));
        }
        let recorder = config.record.then(Recorder::default);
        let ids = Ids::new(config.seed);
        Ok(Self { desk: Desk { config, scenarios, ids, told: Mutex::default() }, limits: LimitHeaders::new(), recorder })
    }
}

/// The connections live in a set of this future, so that they end with it.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&state)));
            }
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay");
    }
    let socket = Shared::new(stream);
    let service = service_fn(|request| exchange(request, &state, &socket));
    let io = TokioIo::new(socket.clone());
    let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service).await;
    if let Err(error) = served {
        // Clients that leave and scripted cuts end here.
        tracing::debug!(%error, "connection");
    }
}

/// An error ends the connection without another word: what was to be said has been said on the socket itself.
async fn exchange(request: Request<Incoming>, state: &State, socket: &Shared) -> io::Result<Response<Playing>> {
    let (parts, body) = request.into_parts();
    let (answer, body) = match read(&parts.headers, body).await {
        Ok(body) => (state.desk.answer(&parts, &body), body),
        Err(refusal) => (state.desk.refuse(refusal), Bytes::new()),
    };
    let Answer { status, headers, script, length, wire } = answer;
    let mut response = Response::new(Playing::new(script, length));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    state.limits.add(response.headers_mut(), Timestamp::now());
    if let Some(recorder) = &state.recorder {
        let open = recorder.add(Exchange {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            headers: parts.headers,
            body,
            status,
            response_headers: response.headers().clone(),
            ..Exchange::default()
        });
        response.body_mut().record = Some(open);
    }
    if let Some(wire) = wire {
        wire::play(wire, response, socket).await?;
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(response)
}

async fn read(headers: &http::HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(Refusal::too_large());
    }
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large()),
        Err(error) => Err(Refusal::new(
            http::StatusCode::BAD_REQUEST,
            "invalid_request_error",
            format!("The request body could not be read: {error}"),
        )),
    }
}

/// A response body that plays a script.
#[derive(Debug)]
pub struct Playing {
    script: Script,
    length: Option<usize>,
    pause: Option<Pin<Box<Sleep>>>,
    record: Option<Open>,
}

impl Playing {
    fn new(script: Script, length: Option<usize>) -> Self {
        Self { script, length, pause: None, record: None }
    }

    fn note(&self, bytes: &[u8]) {
        if let Some(open) = &self.record {
            let mut exchange = open.lock();
            exchange.sent.extend_from_slice(bytes);
            exchange.finished = self.script.is_empty();
        }
    }
}

impl Body for Playing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let playing = self.get_mut();
        loop {
            if let Some(pause) = &mut playing.pause {
                ready!(pause.as_mut().poll(context));
                playing.pause = None;
            }
            match playing.script.pop_front() {
                Some(Action::Wait(pause)) => playing.pause = Some(Box::pin(tokio::time::sleep(pause))),
                Some(Action::Send(bytes)) => {
                    playing.note(&bytes);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Action::Cut) => {
                    playing.note(&[]);
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
                }
                None => {
                    playing.note(&[]);
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.and_then(|length| u64::try_from(length).ok()).map(SizeHint::with_exact).unwrap_or_default()
    }
}
