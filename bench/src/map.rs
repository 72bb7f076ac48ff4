//! The hexagonal map at size: a map of 100,000 tiles in a database of a million, asked as the gateway asks it, over HTTP on loopback.

use crate::places::Places;
use crate::report::Report;
use crate::statistics::{millis, percentile};
use anyhow::{Context, Result, bail, ensure};
use hexmap::map::{Limits, LimitsByTier};
use hexmap::{PATH, ServerConfig};
use policy::{Clock, Timestamp};
use proxy::mcp::upstream::{McpUpstream, UpstreamConfig, UserRef};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Place, Statement, Store, StoreError, Tx};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const OWNER: &str = "large";
const TILES: usize = 100_000;
/// Others, so that there are a million tiles.
const OTHERS: usize = 900;
const OTHER_TILES: usize = 1_000;
const AT_ONCE: usize = 10_000;
/// Tiles down to three steps below one, and down to two.
const WHOLE: usize = 1 + 6 + 36 + 216;
const CUT: usize = 1 + 6 + 36;
const ROUNDS: usize = 200;
/// The whole subtrees that are moved.
const MOVES: usize = 40;
const CREDENTIAL: &str = "0123456789abcdef0123456789abcdef";
const INSERT: Statement = Statement(
    "INSERT INTO hexmap_tiles (owner, group_id, path, id, item_type, title, content, preview, version, created_at, updated_at)
     VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, 1, 0, 0)",
);

struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000)
    }
}

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let url = format!("sqlite:{}", places.work.join("map.db").display());
        let store = Store::open(&url, &[&store::CORE, &hexmap::SCHEMA]).await?.with_masters(store::Masters::passing()?).await?;
        hexmap::seal(&store).await?;
        fill(&store, OWNER, TILES).await?;
        for other in 0..OTHERS {
            fill(&store, &format!("other-{other}"), OTHER_TILES).await?;
        }
        let stop = CancellationToken::new();
        let app = App::start(store, stop.clone()).await?;
        let measured = tools(&app, report).await;
        stop.cancel();
        measured
    })
}

/// The path of the tile with a number: six below each, level by level.
fn path_of(mut number: usize) -> String {
    let mut steps = Vec::new();
    while number > 0 {
        steps.push(((number - 1) % 6 + 1).to_string());
        number = (number - 1) / 6;
    }
    steps.reverse();
    steps.join(",")
}

async fn fill(store: &Store, owner: &str, tiles: usize) -> Result<()> {
    for start in (0..tiles).step_by(AT_ONCE) {
        let owner = owner.to_owned();
        let work = move |tx: &mut dyn Tx| -> Result<(), StoreError> {
            let key = tx.key_of(&owner, Some(Timestamp(0)))?;
            for number in start..tiles.min(start + AT_ONCE) {
                let kind = if number == 0 { "user" } else { "context" };
                let content = format!("What stands on the tile with the number {number}, in about a hundred characters of text.");
                let (path, id) = (path_of(number), format!("{owner}-{number}"));
                let seal = |column, text: &str| key.seal(Place::new("hexmap_tiles", column, &id), text).map(store::Value::from);
                let title = seal("title", &format!("Tile {number}"))?;
                let (content, preview) = (seal("content", &content)?, seal("preview", "A short form of it")?);
                tx.execute(INSERT, &[(&owner).into(), path.into(), (&id).into(), kind.into(), title, content, preview])?;
            }
            Ok(())
        };
        store.write(work).await?;
    }
    Ok(())
}

/// The app's server, as the gateway sees it.
struct App {
    upstream: McpUpstream,
    user: UserRef,
}

impl App {
    async fn start(store: Store, stop: CancellationToken) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}{PATH}", listener.local_addr()?).parse()?;
        let config = ServerConfig { credential: CREDENTIAL.to_owned(), hosts: Vec::new(), clock: Arc::new(Then) };
        let limits = Limits { tiles_max: 1_000_000, ..Limits::default() };
        let limits = LimitsByTier { usual: limits, ..LimitsByTier::default() };
        tokio::spawn(hexmap::serve_within(limits, listener, store, config, stop));
        let config = UpstreamConfig {
            url,
            credential: CREDENTIAL.to_owned().into(),
            timeout: Duration::from_secs(30),
            result_bytes_max: 4 << 20,
        };
        Ok(Self { upstream: McpUpstream::new(config)?, user: UserRef::new(OWNER.to_owned()) })
    }

    /// How long a call took, in milliseconds. One that the map refused is a mistake of this program.
    async fn call(&self, tool: &str, arguments: Value) -> Result<f64> {
        self.answered(tool, arguments).await.map(|(took, _)| took)
    }

    /// The same of a listing, which shows so many tiles.
    async fn list(&self, tool: &str, arguments: Value, tiles: usize) -> Result<f64> {
        let (took, result) = self.answered(tool, arguments).await?;
        let shown = result.get("structuredContent").map_or(0, tiles_of);
        ensure!(shown == tiles, "{tool} shows {shown} tiles, not {tiles}");
        Ok(took)
    }

    async fn answered(&self, tool: &str, arguments: Value) -> Result<(f64, Value)> {
        let Value::Object(arguments) = arguments else { bail!("arguments must be an object") };
        let begun = Instant::now();
        let result = self.upstream.call(&self.user, tool, arguments).await?;
        let took = millis(begun.elapsed());
        ensure!(result.get("isError") != Some(&Value::Bool(true)), "{tool}: {result}");
        Ok((took, result))
    }
}

fn tiles_of(tile: &Value) -> usize {
    let children = tile.get("children").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    children.iter().map(tiles_of).sum::<usize>() + 1
}

fn at(path: &[usize]) -> Value {
    let path: Vec<Value> = path.iter().map(|step| json!(step)).collect();
    json!({"userId": OWNER, "groupId": 0, "path": path})
}

async fn tools(app: &App, report: &mut Report) -> Result<()> {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut note = |tool: &'static str, took: f64| times.entry(tool).or_default().push(took);
    // With these three a listing of 259 tiles is longer than an answer may be: it shows the first two levels. With one it is whole.
    let (three, one) = (json!(["title", "coordinates", "preview"]), json!(["title"]));
    app.call("getCurrentUser", json!({})).await?;
    for round in 0..ROUNDS {
        let (a, b, c) = (round % 6 + 1, round / 6 % 6 + 1, round / 36 % 6 + 1);
        let free = at(&[a, b, 0]);
        let inner = json!({"userId": OWNER, "groupId": 0, "path": [a, b, -1]});
        note("getItemsForRootItem", app.list("getItemsForRootItem", json!({"depth": 3, "fields": one}), WHOLE).await?);
        note("listing_cut", app.list("getItemsForRootItem", json!({"depth": 3, "fields": three}), CUT).await?);
        let id = format!("{OWNER}-{}", 1 + round % 42);
        note("mapItemsList", app.list("mapItemsList", json!({"rootId": id, "depth": 3, "fields": one}), WHOLE).await?);
        note("getItemByCoords", app.call("getItemByCoords", json!({"coords": at(&[a, b, c])})).await?);
        note("addItem", app.call("addItem", json!({"coords": free, "title": "New", "content": "x".repeat(500)})).await?);
        let updates = json!({"title": format!("Changed {round}")});
        note("updateItem", app.call("updateItem", json!({"coords": at(&[a, b, c]), "updates": updates})).await?);
        note("moveItem", app.call("moveItem", json!({"oldCoords": free, "newCoords": inner})).await?);
        note("deleteItem", app.call("deleteItem", json!({"coords": inner})).await?);
        let begun = Instant::now();
        app.upstream.read_resource(&app.user, "map://view").await?;
        note("view", millis(begun.elapsed()));
    }
    for round in 0..MOVES {
        let (from, to) = (at(&[round % 6 + 1, 1, 1]), at(&[6 - round % 6, 6, 0]));
        note("subtree", app.call("moveItem", json!({"oldCoords": from, "newCoords": to})).await?);
        app.call("moveItem", json!({"oldCoords": to, "newCoords": from})).await?;
    }
    let all = |tool: &str| times.get(tool).map(Vec::as_slice).unwrap_or_default();
    let mut slowest: f64 = 0.0;
    const MEASURED: [&str; 8] = [
        "getItemsForRootItem",
        "listing_cut",
        "mapItemsList",
        "getItemByCoords",
        "addItem",
        "updateItem",
        "moveItem",
        "deleteItem",
    ];
    for tool in MEASURED {
        let took = percentile(all(tool), 50).with_context(|| format!("{tool} was not measured"))?;
        slowest = slowest.max(took);
        report.add(format!("hexmap.depth3_of_100k.{tool}.p50_ms"), took, format!("{tool} (n = {ROUNDS})"));
    }
    let what =
        "the slowest of these tools, over HTTP as the gateway calls it; 100,000 tiles in the map, a million in all (SQLite)";
    report.add("hexmap.depth3_of_100k.p50_ms", slowest, what);
    report.add_percentile(
        "hexmap.view_of_100k",
        all("view"),
        50,
        "what the page draws of it: whole levels, at most 400 tiles",
    )?;
    report.add_percentile(
        "hexmap.move_subtree",
        all("subtree"),
        50,
        "moving a tile at depth 3 with all of about 460 below it",
    )?;
    Ok(())
}
