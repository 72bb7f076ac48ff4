//! What it costs to look a card up among as many as the real game has: one call of the tool at the app's own server, over a
//! connection that is kept. That is what the gateway waits for; its journal is not in it.

#[path = "../../apps/magic/tests/many/corpus.rs"]
mod corpus;
#[path = "../../apps/magic/tests/many/generated.rs"]
mod generated;

use crate::client::{Asked, Client};
use crate::places::Places;
use crate::report::Report;
use crate::statistics::millis;
use ::magic::card::Card;
use ::magic::{Library, PATH, SCHEMA, ServerConfig, USER_HEADER, import, serve};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use generated::Numbers;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use policy::{Clock, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const SEARCHES: usize = 1_000;
const WARM_UP: usize = 30;
const ALL_WAIT: Duration = Duration::from_secs(60);
const CREDENTIAL: &str = "a credential of the benchmark's own, on loopback";
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// A server of the app on loopback, until it is dropped.
struct Server {
    client: Client,
    library: Library,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        made_up(places, report).await?;
        real(places, report).await
    })
}

async fn made_up(places: &Places, report: &mut Report) -> Result<()> {
    let cards: Vec<Value> = generated::cards().map(|card| as_scryfall(&card)).collect();
    let (file, count) = (serde_json::to_vec(&cards)?, cards.len());
    drop(cards);
    let begun = Instant::now();
    let mut server = start(places, "magic", file).await?;
    let note = format!("{count} made-up cards: imported, read from the database again and indexed");
    report.add("mtg.import_ms", millis(begun.elapsed()), note);
    let mut numbers = Numbers(11);
    let times = times(&mut server.client, |at| {
        let count = 1 + numbers.next(3);
        arguments(at, &numbers.words(count))
    });
    let times = times.await?;
    let note = "a search over as many made-up cards: the tool called at the app's own server, ten cards answered";
    report.add_percentile("mtg.search", &times, 50, note)?;
    report.add_percentile("mtg.search", &times, 99, "the same")?;
    Ok(())
}

/// The same over the real game's cards, where their package was installed.
async fn real(places: &Places, report: &mut Report) -> Result<()> {
    let Some(path) = corpus::installed(&places.root) else {
        report.skip("the real game's cards", "not installed: scripts/setup.sh cards");
        return Ok(());
    };
    let file = corpus::as_scryfall(&std::fs::read(&path)?, &BTreeMap::new()).context("the corpus of cards")?;
    let mut server = start(places, "magic-corpus", file).await?;
    let data = server.library.data().await.context("the cards are not there")?;
    let cards: Vec<&Card> = data.catalog.cards().collect();
    let times = times(&mut server.client, |at| {
        // Words of a card's name and words of its text, in turns.
        let card = cards.get(at * 31 % cards.len().max(1));
        let text = card.map(|card| if at % 2 == 0 { card.name.clone() } else { card.whole_text() }).unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().skip(at % 3).take(1 + at % 3).collect();
        arguments(at, &words.join(" "))
    });
    let note = format!("the same over {} cards of the real game", cards.len());
    let times = times.await?;
    report.add_percentile("mtg.search.corpus", &times, 50, &note)?;
    report.add_percentile("mtg.search.corpus", &times, 99, "the same")?;
    Ok(())
}

async fn start(places: &Places, name: &str, file: Vec<u8>) -> Result<Server> {
    let store = Store::open(&format!("sqlite:{}", places.work.join(format!("{name}.db")).display()), &[&SCHEMA]).await?;
    import(&store, Cursor::new(file), "2026-11-01", NOW).await?;
    let library = Library::new(store, Arc::new(Standing));
    library.refresh().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client_of = listener.local_addr()?;
    let stop = CancellationToken::new();
    let config = ServerConfig { credential: CREDENTIAL.to_owned(), hosts: Vec::new() };
    tokio::spawn(serve(listener, library.clone(), config, stop.clone()));
    Ok(Server { client: Client::connect(client_of).await?, library, stop })
}

/// Words alone, words with filters, filters alone (which look at every card), and a late page.
fn arguments(at: usize, words: &str) -> Value {
    let words: String = words.chars().take(90).collect();
    match at % 4 {
        0 => json!({"query": words}),
        1 => json!({"query": words, "filters": {"type": "creature", "manaValueMax": 3}}),
        2 => json!({"filters": {"colors": ["R"], "colorMatch": "exactly", "format": "modern"}}),
        _ => json!({"query": words, "filters": {"identity": ["W", "U"]}, "page": if at % 8 == 7 { 50 } else { 1 }}),
    }
}

async fn times(client: &mut Client, mut ask: impl FnMut(usize) -> Value) -> Result<Vec<f64>> {
    let (mut times, mut found, begun) = (Vec::with_capacity(SEARCHES), 0, Instant::now());
    for at in 0..WARM_UP + SEARCHES {
        if begun.elapsed() > ALL_WAIT {
            break;
        }
        let arguments = ask(at);
        if at < WARM_UP {
            found += usize::from(total(client, &arguments).await? > 0);
            continue;
        }
        times.push(millis(client.time(call(&arguments)?).await?.whole));
    }
    if found == 0 {
        bail!("no search found anything, so nothing was measured");
    }
    Ok(times)
}

/// How many cards a search finds; a call that is refused is no measurement.
async fn total(client: &mut Client, arguments: &Value) -> Result<u64> {
    let (_, body) = client.fetch(call(arguments)?, StatusCode::OK).await?;
    let answer: Value = serde_json::from_slice(&body)?;
    let total = answer.pointer("/result/structuredContent/total").and_then(Value::as_u64);
    total.with_context(|| format!("the search answered {}", String::from_utf8_lossy(&body)))
}

fn call(arguments: &Value) -> Result<Asked> {
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "mtg_card_search", "arguments": arguments}});
    let request = Request::post(PATH)
        .header(header::AUTHORIZATION, format!("Bearer {CREDENTIAL}"))
        .header(USER_HEADER, "bench")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25");
    Ok(request.body(Full::new(Bytes::from(body.to_string())))?)
}

fn as_scryfall(card: &Card) -> Value {
    let modern = if card.legalities.is_playable(6) { "legal" } else { "not_legal" };
    json!({
        "oracle_id": card.id, "lang": "en", "name": card.name, "layout": card.layout, "cmc": card.mana_value, "type_line": card.type_line,
        "oracle_text": card.text, "colors": card.colors.letters(), "color_identity": card.identity.letters(), "keywords": [],
        "legalities": {"modern": modern}, "edhrec_rank": card.popularity,
    })
}
