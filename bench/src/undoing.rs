//! What it takes to delete a large part of a map and to have it back, exactly as it was.

use crate::places::Places;
use crate::report::Report;
use crate::statistics::millis;
use anyhow::{Result, ensure};
use hexmap::coord::{Coord, Path};
use hexmap::map::Maps;
use policy::{Clock, Timestamp};
use std::sync::Arc;
use std::time::Instant;
use store::{Statement, Store, StoreError, Value};

const TILES: i64 = 10_000;
const ROUNDS: usize = 7;
const OWNER: &str = "bench";
/// About as much as a tile says.
const CONTENT: &str = "What this tile is about, in a few sentences that somebody wrote down while they were thinking of something else. \
                       It links to nothing, and it is as long as most of the tiles that people have on their maps.";

const FILL: Statement = Statement(
    "INSERT INTO hexmap_tiles (owner, group_id, path, id, item_type, title, content, version, created_at, updated_at)
     VALUES (?1, 0, ?2, ?3, 'context', ?4, ?5, 1, 0, 0)",
);

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000)
    }
}

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&format!("sqlite:{}", places.work.join("hexmap.db").display()), &[&store::CORE, &hexmap::SCHEMA])
            .await?
            .with_masters(store::Masters::passing()?)
            .await?;
        let maps = Maps::new(store.clone(), Arc::new(Standing));
        let top = Coord::new(OWNER, 0, Path::new(&[1])?)?;
        maps.tile(&Coord::new(OWNER, 0, Path::root())?).await?;
        store.write(fill).await?;
        let (mut deleted, mut undone) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let name = format!("delete-{round}");
            let begun = Instant::now();
            let tiles = maps.in_call(&name).delete_tile(&top).await?;
            deleted.push(millis(begun.elapsed()));
            let begun = Instant::now();
            let back = maps.undo(OWNER, &name).await?;
            undone.push(millis(begun.elapsed()));
            ensure!((tiles, back) == (TILES.unsigned_abs(), TILES.unsigned_abs()), "{tiles} tiles went and {back} came back");
        }
        let of = |values: &mut Vec<f64>| {
            values.sort_unstable_by(f64::total_cmp);
            values.get(ROUNDS / 2).copied().unwrap_or(f64::NAN)
        };
        let note = format!("a tile with everything below it, {TILES} together (SQLite, durable; p50 of {ROUNDS})");
        report.add("hexmap.delete_10000_tiles_ms", of(&mut deleted), format!("deleting {note}"));
        report.add("hexmap.undo_10000_tiles_ms", of(&mut undone), format!("undoing that: {note}"));
        Ok(())
    })
}

/// As no tool could that quickly.
fn fill(tx: &mut dyn store::Tx) -> Result<(), StoreError> {
    for number in 0..TILES {
        let digits: Vec<String> = (0..6).map(|place| (number / 6_i64.pow(place) % 6 + 1).to_string()).collect();
        let path = if number == 0 { "1".to_owned() } else { format!("1,{}", digits.join(",")) };
        let params =
            [OWNER.into(), path.into(), format!("id-{number}").into(), format!("Tile {number}").into(), Value::from(CONTENT)];
        tx.execute(FILL, &params)?;
    }
    Ok(())
}
