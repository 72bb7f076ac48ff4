//! What the gateway adds to a tool call: the same call of the same server directly, and through `/api/mcp` of the callers' listener
//! (key, rate, decision, journal before and after), one right after the other; and how many such calls it makes in a second.

use crate::client::{Asked, Client};
use crate::footprint::{Gateway, Serving};
use crate::load::{Lane, closed};
use crate::nginx::{self, Nginx};
use crate::places::Places;
use crate::process::Process;
use crate::provider::random_hex;
use crate::report::Report;
use crate::statistics::{differences, millis, percentile};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;
use tokio::net::TcpListener;

/// The word with which this program becomes a tool server.
pub const SERVER: &str = "lean-tools";
const READY: &str = "ready: ";
const START_WAIT: Duration = Duration::from_secs(10);
const ROUNDS: usize = 600;
const WARM_UP: usize = 30;
/// Between rounds, so that nothing queues: this is latency, not throughput.
const PAUSE: Duration = Duration::from_millis(5);
const LOAD_ROUNDS: usize = 5;
const LOAD: Duration = Duration::from_millis(1_500);
/// No more than one key may have at once.
const CONNECTIONS: usize = 16;
const CREDENTIAL: &str = "BENCH_TOOLS_CREDENTIAL";
const VERSION: &str = "2026-07-28";
const MANIFEST: &str =
    "title = 'Bench'\ngreeting = 'Hello'\nid = 'bench'\n[agent]\nmodel = 'claude-haiku-4-5'\n[tools.look]\neffect = 'read'\n";

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(SERVER).env_clear();
    let mut server = Process::start(&mut command, &places.work.join("tools.log"))?;
    let address: SocketAddr = server.wait_line(READY, START_WAIT)?.parse()?;
    let app = places.work.join("tools-app");
    std::fs::create_dir_all(&app)?;
    std::fs::write(app.join("app.toml"), format!("{MANIFEST}[mcp]\nname = 'bench'\nserver = 'http://{address}/mcp'\n"))?;
    std::fs::write(app.join("prompt.md"), "Look.")?;
    let secret = random_hex()?;
    let more = format!("[[apps]]\npath = \"{}\"\ncredential_env = \"{CREDENTIAL}\"\n", app.display());
    let environment = [(CREDENTIAL, secret.clone())];
    let key = format!("sk-ant-bench-{}", random_hex()?);
    let serving = Serving { more: &more, environment: &environment, ..Serving::of("http://127.0.0.1:9", &key) };
    let gateway = Gateway::start(places, "tools", &serving)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let token = key_of(&gateway).await?;
        let direct = asked("/mcp", &secret)?;
        let governed = asked("/api/mcp", &token)?;
        latency((address, &direct), (gateway.callers, &governed), report).await?;
        if let Some(program) = nginx::program(places) {
            let nginx = Nginx::start(places, program, address)?;
            hop((address, &direct), nginx.address, report).await?;
        }
        load((address, &direct), (&gateway, &governed), report).await
    })
}

/// One call, the same on both ways but for the credential.
fn asked(path: &str, token: &str) -> Result<Asked> {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": "look", "arguments": {"at": [1, 2, 3], "depth": 3}, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let request = Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", VERSION)
        .header("mcp-method", "tools/call")
        .header("mcp-name", "look");
    Ok(request.body(Full::new(Bytes::from(body)))?)
}

/// A person of the gateway's, and a key of theirs.
async fn key_of(gateway: &Gateway) -> Result<String> {
    let mut client = Client::connect(gateway.people).await?;
    let (head, _) = client.fetch(Request::get("/api/session").body(Full::default())?, StatusCode::OK).await?;
    let cookie = head.headers.get("set-cookie").context("no session")?.to_str()?;
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let body = json!({"name": "bench", "app": "bench"}).to_string();
    let request = Request::post("/api/keys").header("cookie", cookie).header("content-type", "application/json");
    let (_, made) = client.fetch(request.body(Full::new(Bytes::from(body)))?, StatusCode::CREATED).await?;
    let made: Value = serde_json::from_slice(&made)?;
    made.get("token").and_then(Value::as_str).map(str::to_owned).context("no token")
}

async fn latency(direct: (SocketAddr, &Asked), governed: (SocketAddr, &Asked), report: &mut Report) -> Result<()> {
    let (mut near, mut far) = (Client::connect(direct.0).await?, Client::connect(governed.0).await?);
    for _ in 0..WARM_UP {
        near.time(direct.1.clone()).await?;
        far.time(governed.1.clone()).await?;
    }
    let note = "a tool call through /api/mcp (key, rate, decision, journal) against the same call of its server, after a rest of 5 ms: difference of each pair";
    let (added, near_times) = pairs((&mut near, direct.1), (&mut far, governed.1), Some(PAUSE)).await?;
    report.add_percentile("mcp.added", &added, 50, note)?;
    report.add_percentile("mcp.added", &added, 99, "the same")?;
    report.add_percentile("mcp.direct", &near_times, 50, "directly, for scale")?;
    let (added, near_times) = pairs((&mut near, direct.1), (&mut far, governed.1), None).await?;
    let note = "the same without a rest: what sleeping processors take to wake is not in it";
    report.add_percentile("mcp.added_awake", &added, 50, note)?;
    report.add_percentile("mcp.direct_awake", &near_times, 50, "directly, for scale")?;
    Ok(())
}

/// What a proxy adds that only passes on.
async fn hop(direct: (SocketAddr, &Asked), through: SocketAddr, report: &mut Report) -> Result<()> {
    let (mut near, mut far) = (Client::connect(direct.0).await?, Client::connect(through).await?);
    for _ in 0..WARM_UP {
        far.time(direct.1.clone()).await?;
    }
    for (key, pause) in [("mcp.nginx_added", Some(PAUSE)), ("mcp.nginx_added_awake", None)] {
        let (added, _) = pairs((&mut near, direct.1), (&mut far, direct.1), pause).await?;
        report.add_percentile(key, &added, 50, "nginx in the gateway's place, which only passes on, for scale")?;
    }
    Ok(())
}

/// What the far way takes more than the near one in each of many pairs, and what the near one takes; milliseconds.
async fn pairs(
    (near, direct): (&mut Client, &Asked),
    (far, governed): (&mut Client, &Asked),
    pause: Option<Duration>,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut near_times, mut far_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        near_times.push(millis(near.time(direct.clone()).await?.whole));
        far_times.push(millis(far.time(governed.clone()).await?.whole));
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
    Ok((differences(&far_times, &near_times), near_times))
}

async fn load(direct: (SocketAddr, &Asked), governed: (&Gateway, &Asked), report: &mut Report) -> Result<()> {
    let lane = |name, address, path, proxy| Lane { name, address, path, headers: Vec::new(), proxy };
    let near = lane("direct", direct.0, "/mcp", None);
    let far = lane("governed", governed.0.callers, "/api/mcp", Some(governed.0.process.id()));
    let (mut near_rps, mut far_rps, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..LOAD_ROUNDS {
        near_rps.push(closed(&near, direct.1, CONNECTIONS, LOAD).await?.rps);
        let done = closed(&far, governed.1, CONNECTIONS, LOAD).await?;
        far_rps.push(done.rps);
        cpu.push(done.cpu_us_per_call);
    }
    let median = |values: &[f64]| percentile(values, 50).context("no rounds");
    let note = format!(
        "governed tool calls a second on {CONNECTIONS} connections, client and server on the same cores, p50 of {LOAD_ROUNDS} rounds"
    );
    report.add("mcp.governed.rps", median(&far_rps)?, note);
    report.add("mcp.governed.cpu_us_per_call", median(&cpu)?, "the gateway's processor time for each of them");
    report.add("mcp.direct.rps", median(&near_rps)?, "the server alone, for scale");
    Ok(())
}

/// A tool server that costs next to nothing. Serves until it is killed.
pub fn server() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{READY}{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await.context("accepting")?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await.unwrap_or_default()) });
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    let message: Value = serde_json::from_slice(&body)?;
    let result = match message.get("method").and_then(Value::as_str) {
        Some("server/discover") => {
            json!({"supportedVersions": [VERSION], "capabilities": {"tools": {}}, "resultType": "complete"})
        }
        Some("tools/list") => json!({"tools": [{"name": "look", "inputSchema": {"type": "object"}}], "resultType": "complete"}),
        Some("tools/call") => json!({"content": [{"type": "text", "text": "x".repeat(512)}], "resultType": "complete"}),
        _ => bail!("nobody asks for that"),
    };
    let answer = json!({"jsonrpc": "2.0", "id": message.get("id"), "result": result}).to_string();
    let mut response = Response::new(Full::new(Bytes::from(answer)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}
