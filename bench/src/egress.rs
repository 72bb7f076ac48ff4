//! What it costs to reach an allowed host through the gateway: the same request directly, through a sandbox's door, and, for
//! bulk, through a plain TCP proxy that reads nothing. The door is the real one; that the kernel captured the connection is said
//! to it, since a capture needs a sandbox and adds nothing.

mod tls;

use crate::client::{Asked, Client};
use crate::places::Places;
use crate::report::Report;
use crate::statistics::{differences, millis, percentile};
use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use policy::{
    Clock, EgressRule, EgressRules, HostName, Manifest, Microusd, PathPattern, RunId, SandboxId, Scheme, Timestamp, UserId,
};
use proxy::egress::{Door, Hosts, SandboxCa};
use proxy::mcp::upstream::{McpUpstream, UpstreamConfig};
use proxy::messages::ModelUpstream;
use proxy::{App, Gate, Proxy, RunContext, RunLimits};
use secrecy::SecretString;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 600;
const WARM_UP: usize = 30;
/// Between rounds, so that nothing queues.
const PAUSE: Duration = Duration::from_millis(3);
const ALL_WAIT: Duration = Duration::from_secs(30);
const BULK_ROUNDS: usize = 7;
const BULK_BYTES: usize = 256 << 20;
const PIECE_BYTES: usize = 64 << 10;
const SMALL_BYTES: usize = 1024;
const HOST: &str = "localhost";
/// Nothing is called there.
const NOWHERE: &str = "http://127.0.0.1:9";
const MANIFEST: &str = "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[tools]\n";

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000_000)
    }
}

/// Where the clock's client connects.
struct Setting {
    direct: SocketAddr,
    door: SocketAddr,
    tcp: SocketAddr,
}

impl Setting {
    async fn through_door(&self) -> Result<Client> {
        Ok(Client::connect(self.door).await?.calling(format!("{HOST}:{}", self.direct.port())))
    }
}

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    // Everything that answers is on threads of its own, so that the clock's thread only waits.
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let setting = servers.block_on(start(places))?;
    let clock = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    clock.block_on(small(&setting, report))?;
    clock.block_on(bulk(&setting, report))?;
    tls::measure(places, report)
}

async fn small(setting: &Setting, report: &mut Report) -> Result<()> {
    let (mut direct, mut door) = (Client::connect(setting.direct).await?, setting.through_door().await?);
    let added = pairs(&mut direct, &mut door).await?;
    let note = "1 KiB answer of an allowed host through a sandbox's door, plain HTTP, minus directly: difference of each pair";
    report.add_percentile("egress.added", &added, 50, note)?;
    report.add_percentile("egress.added", &added, 99, "the same")?;
    Ok(())
}

/// What the door adds to a small answer, pair by pair, in milliseconds.
async fn pairs(direct: &mut Client, door: &mut Client) -> Result<Vec<f64>> {
    let (mut directly, mut through, begun) = (Vec::new(), Vec::new(), Instant::now());
    for round in 0..WARM_UP + ROUNDS {
        if begun.elapsed() > ALL_WAIT {
            break;
        }
        // In turns first: whoever comes after the pause finds everything asleep.
        let (plain, judged) = if round % 2 == 0 {
            let plain = direct.time(ask("/small")?).await?;
            (plain, door.time(ask("/small")?).await?)
        } else {
            let judged = door.time(ask("/small")?).await?;
            (direct.time(ask("/small")?).await?, judged)
        };
        if round >= WARM_UP {
            directly.push(millis(plain.whole));
            through.push(millis(judged.whole));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(differences(&through, &directly))
}

async fn bulk(setting: &Setting, report: &mut Report) -> Result<()> {
    let (mut door, mut tcp) = (setting.through_door().await?, Client::connect(setting.tcp).await?);
    let ratio = percentile(&throughputs(&mut door, &mut tcp).await?, 50).context("no rounds")?;
    let note =
        format!("256 MiB of an allowed host: throughput through the door against a plain TCP proxy, p50 of {BULK_ROUNDS} pairs");
    report.add("egress.bulk_vs_tcp_proxy", ratio, note);
    Ok(())
}

/// Throughput through the door against that of a plain TCP proxy, pair by pair.
async fn throughputs(door: &mut Client, tcp: &mut Client) -> Result<Vec<f64>> {
    let mut ratios = Vec::new();
    for _ in 0..BULK_ROUNDS {
        let through_door = millis(door.time(ask("/bulk")?).await?.whole);
        let through_tcp = millis(tcp.time(ask("/bulk")?).await?.whole);
        ratios.push(through_tcp / through_door);
    }
    Ok(ratios)
}

fn ask(path: &str) -> Result<Asked> {
    Ok(Request::get(path).body(Full::new(Bytes::new()))?)
}

/// A host, a door that allows it, and a proxy that looks at nothing.
async fn start(places: &Places) -> Result<Setting> {
    let direct = listen(serve).await?;
    let tcp = tcp_proxy(direct).await?;
    let (rules, dialled) = rules(Scheme::Http, direct.port())?;
    let (proxy, gate) = open(&places.work.join("egress.db"), Hosts::new(rules, &HashMap::new())?).await?;
    let door = Door::new(proxy, gate, Arc::new(SandboxCa::generate()?), CancellationToken::new());
    let door = listen(move |stream| {
        let door = door.clone();
        async move { door.serve(stream, dialled).await }
    })
    .await?;
    Ok(Setting { direct, door, tcp })
}

/// A proxy that looks at nothing.
async fn tcp_proxy(to: SocketAddr) -> Result<SocketAddr> {
    listen(move |mut stream| async move {
        if let Ok(mut host) = TcpStream::connect(to).await {
            let _ = host.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut host, PIECE_BYTES, PIECE_BYTES).await;
        }
    })
    .await
}

/// The host on this port is allowed; under which address a sandbox knows it.
fn rules(scheme: Scheme, port: u16) -> Result<(EgressRules, SocketAddr)> {
    let host = HostName::parse(HOST)?;
    let rules = EgressRules::new(vec![EgressRule {
        host: host.clone(),
        port,
        scheme,
        methods: vec!["GET".to_owned()],
        paths: vec![PathPattern::parse("/*")?],
        credential: None,
        danger_allow_private: true,
    }])
    .map_err(|(_, error)| error)?;
    let dialled = SocketAddr::from((rules.address_of(&host).context("the host has an address")?, port));
    Ok((rules, dialled))
}

/// What stands behind the door of a sandbox whose run goes on.
async fn open(database: &Path, hosts: Hosts) -> Result<(Arc<Proxy>, Arc<Gate>)> {
    let store = store::Store::open(&format!("sqlite:{}", database.display()), &[&store::CORE]).await?;
    let model = ModelUpstream::new(NOWHERE, SecretString::from("none"))?;
    let clock: Arc<dyn policy::Clock> = Arc::new(Standing);
    let (ledger, _) = store::Ledger::open(&store, Arc::clone(&clock), "bench", &database.with_extension("ledger"), "").await?;
    let purse = ledger.purse(RunId::random(), UserId::random());
    let proxy = Proxy::new(store, clock, model, ledger, Microusd::dollars(1), hosts);
    let gate = Arc::new(Gate::new(SandboxId::random()));
    let upstream = McpUpstream::new(UpstreamConfig {
        url: format!("{NOWHERE}/mcp").parse()?,
        credential: SecretString::from("none"),
        timeout: Duration::from_secs(1),
        result_bytes_max: SMALL_BYTES,
    })?;
    let app = Arc::new(App { manifest: Manifest::parse(MANIFEST)?, upstream: Some(Arc::new(upstream)) });
    let limits = RunLimits {
        deadline: Timestamp(i64::MAX),
        turns_max: 1,
        output_tokens_max: 1,
        context_tokens_max: None,
        budgets: Vec::new().into(),
    };
    // Nobody listens to its news, so none is kept.
    let (events, _) = tokio::sync::mpsc::channel(1);
    gate.bind(Arc::new(RunContext::new(purse, app, false, limits, events)));
    Ok((Arc::new(proxy), gate))
}

/// Serves connections until the runtime ends.
async fn listen<F, R>(serve: F) -> Result<SocketAddr>
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

/// The host's end of one connection.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let answer = service_fn(|request: Request<Incoming>| async move { Ok::<_, Infallible>(answer(request.uri().path())) });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

fn answer(path: &str) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    if path != "/bulk" {
        return Response::new(Full::new(Bytes::from(vec![b'x'; SMALL_BYTES])).boxed_unsync());
    }
    let piece = Bytes::from(vec![b'x'; PIECE_BYTES]);
    let pieces = (0..BULK_BYTES / PIECE_BYTES).map(move |_| Ok(Frame::data(piece.clone())));
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_LENGTH, BULK_BYTES.into());
    response
}
