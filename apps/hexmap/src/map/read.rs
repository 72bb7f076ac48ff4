//! Reading one tile or a part of a map.

use super::sealed::{bytes, key_of};
use super::{LISTING_BYTES_MAX, MapError, OWN_GROUP, rows};
use crate::coord::{Coord, Path};
use crate::tile::{Texts, Tile};
use std::collections::HashMap;
use store::{Row, Tx, Value};

store::statements! { READS:
    /// 1 owner, 2 group, 3 path.
    READ = concat!("SELECT ", rows::columns!(), " FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path = ?3");
    /// 1 owner, 2 id.
    READ_BY_ID = concat!("SELECT ", rows::columns!(), " FROM hexmap_tiles WHERE owner = ?1 AND id = ?2");
    /// 1 owner, 2 group, 3 path.
    READ_ID = "SELECT id FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path = ?3";
    /// 1 owner, 2 group, 3 and 4 range of the places of one level, 5 how many at most. What they weigh: their texts, and about as much
    /// as the rest of a tile takes when it is written out.
    WEIGH = concat!("SELECT CAST(COALESCE(SUM(", bytes!("title"), " + ", bytes!("preview"), " + ", bytes!("link"), " + ",
             bytes!("content"), " + 400), 0) AS BIGINT) FROM (SELECT title, preview, link, content FROM hexmap_tiles
             WHERE owner = ?1 AND group_id = ?2 AND place >= ?3 AND place < ?4 ORDER BY place LIMIT ?5) AS level");
    /// As [`WEIGH`].
    COUNT = "SELECT CAST(COUNT(*) AS BIGINT) FROM (SELECT place FROM hexmap_tiles
             WHERE owner = ?1 AND group_id = ?2 AND place >= ?3 AND place < ?4 LIMIT ?5) AS level";
    /// As [`WEIGH`], and 6 whether contents are wanted.
    LIST = "SELECT id, group_id, path, item_type, title, CASE WHEN ?6 = 1 THEN content ELSE NULL END, preview, link, version,
            visibility, unseen FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND place >= ?3 AND place < ?4
            ORDER BY place LIMIT ?5";
}

/// What the rest of a tile takes when it is written out, in characters.
const TILE_CHARS: i64 = 400;
/// More tiles than this would weigh too much by themselves.
pub(crate) const LISTED_MAX: i64 = LISTING_BYTES_MAX / TILE_CHARS;

/// How much of a map below a tile is read.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Steps down.
    pub depth: usize,
    /// Which texts of each tile are opened; others stay empty.
    pub texts: Texts,
    /// Tiles at most, the one at the top among them: more are [`MapError::TooLarge`].
    pub tiles_max: i64,
}

impl Extent {
    /// Everything so many steps down, as far as a listing may be.
    #[must_use]
    pub const fn down_to(depth: usize) -> Self {
        Self { depth, texts: Texts::ALL, tiles_max: LISTED_MAX }
    }

    /// The same without contents.
    #[must_use]
    pub const fn without_content(self) -> Self {
        Self { texts: Texts { content: false, ..self.texts }, ..self }
    }
}

/// The three values every tile is found by.
pub(super) fn key(coord: &Coord) -> [Value; 3] {
    [Value::from(&coord.user), Value::Int(coord.group.into()), Value::Text(coord.path.to_string())]
}

/// The tile at a place, with its parent's id.
pub(super) fn tile(tx: &mut dyn Tx, coord: &Coord) -> Result<Tile, MapError> {
    match tx.query_opt(READ, &key(coord))? {
        Some(row) => {
            let key = key_of(tx, &coord.user)?;
            with_parent(tx, rows::tile(&key, &coord.user, &row, Texts::ALL)?)
        }
        None => Err(missing(tx, &coord.user, MapError::NotFound(coord.to_string()))?),
    }
}

/// The tile with an id, with its parent's id.
pub(super) fn tile_by_id(tx: &mut dyn Tx, owner: &str, id: &str) -> Result<Tile, MapError> {
    match tx.query_opt(READ_BY_ID, &[owner.into(), id.into()])? {
        Some(row) => {
            let key = key_of(tx, owner)?;
            with_parent(tx, rows::tile(&key, owner, &row, Texts::ALL)?)
        }
        None => Err(missing(tx, owner, MapError::NoSuchId(id.chars().take(64).collect()))?),
    }
}

/// The tile at a place and what lies below it, each tile followed by all those below it.
pub(super) fn subtree(tx: &mut dyn Tx, coord: &Coord, extent: Extent) -> Result<Vec<Tile>, MapError> {
    let Extent { depth, texts, tiles_max } = extent;
    let mut top = tile(tx, coord)?;
    if !texts.content {
        top.content.clear();
    }
    let (mut weight, mut tiles) = (0, vec![top]);
    for level in 1..=depth {
        // Contents are weighed before they are read.
        weight += if texts.content { weigh(tx, coord, level)? } else { 0 };
        if weight > LISTING_BYTES_MAX {
            return Err(MapError::TooLarge);
        }
        let room = tiles_max.saturating_sub(i64::try_from(tiles.len()).unwrap_or(i64::MAX)).max(0);
        let rows = rows_below(tx, coord, level, room.saturating_add(1), texts)?;
        if rows.is_empty() {
            break;
        }
        // So that nothing is opened in vain.
        if i64::try_from(rows.len()).is_ok_and(|count| count > room) {
            return Err(MapError::TooLarge);
        }
        let listed = opened(tx, coord, &rows, texts)?;
        weight += if texts.content { 0 } else { listed.iter().map(weight_of).sum::<i64>() };
        if weight > LISTING_BYTES_MAX {
            return Err(MapError::TooLarge);
        }
        tiles.extend(listed);
    }
    tiles.sort_by(|one, other| one.coord.path.in_tree(&other.coord.path));
    link_parents(&mut tiles);
    Ok(tiles)
}

/// At most `tiles_max` of the tiles exactly `level` steps below a tile, ordered by path.
pub(super) fn level_below(
    tx: &mut dyn Tx,
    coord: &Coord,
    level: usize,
    tiles_max: i64,
    texts: Texts,
) -> Result<Vec<Tile>, MapError> {
    let rows = rows_below(tx, coord, level, tiles_max, texts)?;
    opened(tx, coord, &rows, texts)
}

fn rows_below(tx: &mut dyn Tx, coord: &Coord, level: usize, tiles_max: i64, texts: Texts) -> Result<Vec<Row>, MapError> {
    let [owner, group, start, end] = level_key(coord, level);
    Ok(tx.query(LIST, &[owner, group, start, end, Value::Int(tiles_max), texts.content.into()])?)
}

fn opened(tx: &mut dyn Tx, coord: &Coord, rows: &[Row], texts: Texts) -> Result<Vec<Tile>, MapError> {
    let key = key_of(tx, &coord.user)?;
    Ok(rows.iter().map(|row| rows::tile(&key, &coord.user, row, texts)).collect::<Result<_, _>>()?)
}

/// Owner, group and the range of places of the tiles exactly `level` steps below a tile.
pub(super) fn level_key(coord: &Coord, level: usize) -> [Value; 4] {
    let depth = coord.path.depth().saturating_add(level);
    let [owner, group, _] = key(coord);
    let (start, end) = if coord.path.is_root() {
        (format!("{depth}:"), format!("{depth};"))
    } else {
        let below = coord.path.texts_below();
        (format!("{depth}:{}", below.start), format!("{depth}:{}", below.end))
    };
    [owner, group, start.into(), end.into()]
}

fn weigh(tx: &mut dyn Tx, coord: &Coord, level: usize) -> Result<i64, MapError> {
    let [owner, group, start, end] = level_key(coord, level);
    Ok(tx.query_one(WEIGH, &[owner, group, start, end, Value::Int(LISTED_MAX + 1)])?.int(0)?)
}

/// How many tiles there are on each of the levels below a tile, none counted further than `most`.
pub(super) fn count_levels(tx: &mut dyn Tx, coord: &Coord, depth: usize, most: i64) -> Result<Vec<i64>, MapError> {
    let mut counted = Vec::new();
    for level in 1..=depth {
        let [owner, group, start, end] = level_key(coord, level);
        let count = tx.query_one(COUNT, &[owner, group, start, end, Value::Int(most)])?.int(0)?;
        if count == 0 {
            break;
        }
        counted.push(count);
    }
    Ok(counted)
}

fn weight_of(tile: &Tile) -> i64 {
    let chars = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let optional = |text: &Option<String>| text.as_deref().map_or(0, chars);
    chars(&tile.title) + optional(&tile.preview) + optional(&tile.link) + TILE_CHARS
}

/// The id of the tile at a place, if there is one.
pub(super) fn id_at(tx: &mut dyn Tx, coord: &Coord) -> Result<Option<String>, MapError> {
    Ok(tx.query_opt(READ_ID, &key(coord))?.map(|row| row.text(0)).transpose()?)
}

/// Fills in the parents that are among the tiles themselves.
pub(super) fn link_parents(tiles: &mut [Tile]) {
    let ids: HashMap<Path, String> = tiles.iter().map(|tile| (tile.coord.path.clone(), tile.id.clone())).collect();
    for tile in tiles.iter_mut().filter(|tile| tile.parent_id.is_none()) {
        tile.parent_id = tile.coord.path.parent().and_then(|above| ids.get(&above).cloned());
    }
}

fn with_parent(tx: &mut dyn Tx, mut tile: Tile) -> Result<Tile, MapError> {
    if let Some(above) = tile.coord.path.parent() {
        tile.parent_id = id_at(tx, &tile.coord.at(above))?;
    }
    Ok(tile)
}

/// Tells a missing tile from a map that was never opened.
pub(super) fn missing(tx: &mut dyn Tx, owner: &str, otherwise: MapError) -> Result<MapError, MapError> {
    let root = [owner.into(), Value::Int(OWN_GROUP.into()), "".into()];
    Ok(if tx.query_opt(READ_ID, &root)?.is_some() { otherwise } else { MapError::Unopened })
}
