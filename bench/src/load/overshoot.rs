//! Many calls at once against a budget that fits some of them: what was spent beyond it.

use super::lane::{Lane, MODEL, SMALL};
use super::upstream::{INPUT_TOKENS, OUTPUT_TOKENS};
use crate::client::Client;
use crate::places::Places;
use crate::report::Report;
use crate::statistics::number;
use anyhow::{Context, Result, bail};
use http::StatusCode;
use policy::{Microusd, Timestamp, Usage, price_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{CORE, Statement, Store};
use tokio::task::JoinSet;

/// How many calls the budget fits when nothing is reserved beside them.
const FITTING: i64 = 200;
const CONNECTIONS: usize = 32;
/// Asked for in all.
const CALLS: i64 = 4 * FITTING;
const ABOVE: Statement =
    Statement("SELECT CAST(cost_microusd AS BIGINT) FROM model_calls WHERE cost_microusd > reserved_microusd");
const ALL_WAIT: Duration = Duration::from_secs(60);

fn cost() -> Result<Microusd> {
    let usage = Usage { input: INPUT_TOKENS, output: OUTPUT_TOKENS, ..Usage::default() };
    Ok(price_of(MODEL, now()?).cost(&usage))
}

#[expect(clippy::disallowed_methods, reason = "the ledger's day and a host's assertions are by the machine's clock")]
pub fn now() -> Result<Timestamp> {
    Ok(Timestamp(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?))
}

/// The budget.
pub fn limit() -> Result<Microusd> {
    Ok(Microusd(cost()?.0 * FITTING))
}

/// How many calls were answered, and how many refused; anything else fails.
pub async fn spend(lane: &Lane) -> Result<(u64, u64)> {
    let (left, answered) = (Arc::new(AtomicI64::new(CALLS)), Arc::new(AtomicU64::new(0)));
    let refused = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (left, answered, refused) = (Arc::clone(&left), Arc::clone(&answered), Arc::clone(&refused));
        let (asked, mut client) = (lane.ask("{", SMALL)?, Client::connect(lane.address).await?);
        tasks.spawn(async move {
            while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                match client.status(asked.clone()).await? {
                    StatusCode::OK => answered.fetch_add(1, Ordering::Relaxed),
                    StatusCode::TOO_MANY_REQUESTS => refused.fetch_add(1, Ordering::Relaxed),
                    other => bail!("answered {other}"),
                };
            }
            Ok(())
        });
    }
    while let Some(done) = tokio::time::timeout(ALL_WAIT, tasks.join_next()).await.context("the calls do not end")? {
        done??;
    }
    Ok((answered.load(Ordering::Relaxed), refused.load(Ordering::Relaxed)))
}

/// Compares what the provider was asked for with the budget and with the ledger of the gateway `name`, which has ended.
pub async fn judge(places: &Places, name: &str, (answered, refused): (u64, u64), report: &mut Report) -> Result<()> {
    if answered == 0 || refused == 0 {
        bail!("{answered} calls were answered and {refused} refused: the budget was not tried");
    }
    let (cost, limit) = (cost()?.0, limit()?.0);
    let paid = i64::try_from(answered)? * cost;
    let file = places.work.join(name).join("hexward.db");
    let store = Store::open(&format!("sqlite:{}", file.display()), &[&CORE]).await?;
    let (settled, reserved) = store.account("global", now()?.utc_day()).await?;
    if settled.0 < paid {
        bail!("the provider is owed {paid} micro-dollars and the ledger says {}", settled.0);
    }
    let above = store.read(|tx| tx.query(ABOVE, &[])).await?;
    if let [row, ..] = above.as_slice() {
        bail!("{} calls cost more than was set aside for them, one of them {} micro-dollars", above.len(), row.int(0)?);
    }
    let over = paid.max(settled.0 + reserved.0).saturating_sub(limit).max(0);
    let note = format!(
        "spent beyond a budget of {limit} by {CALLS} calls on {CONNECTIONS} connections, by the provider's count and by the ledger's; \
         {answered} answered, {refused} refused, {} left",
        limit - settled.0 - reserved.0
    );
    report.add("ledger.overshoot_microusd", number(u64::try_from(over)?), note);
    Ok(())
}
