//! Reading one tile or a part of a map.

use super::{LISTING_BYTES_MAX, MapError, OWN_GROUP, rows};
use crate::coord::{Coord, Path};
use crate::tile::Tile;
use std::collections::HashMap;
use store::{Tx, Value};

store::statements! { READS:
    /// 1 owner, 2 group, 3 path.
    READ = concat!("SELECT ", rows::columns!(), " FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path = ?3");
    /// 1 owner, 2 id.
    READ_BY_ID = concat!("SELECT ", rows::columns!(), " FROM hexmap_tiles WHERE owner = ?1 AND id = ?2");
    /// 1 owner, 2 group, 3 path.
    READ_ID = "SELECT id FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path = ?3";
    /// 1 owner, 2 group, 3 and 4 range of the paths below, 5 depth, 6 whether contents count. What a listing weighs: its
    /// texts, and about as much as the rest of a tile takes when it is written out.
    WEIGH = "SELECT CAST(COALESCE(SUM(LENGTH(title) + LENGTH(COALESCE(preview, '')) + LENGTH(COALESCE(link, '')) + 400
             + CASE WHEN ?6 = 1 THEN LENGTH(content) ELSE 0 END), 0) AS BIGINT) FROM hexmap_tiles
             WHERE owner = ?1 AND group_id = ?2 AND path >= ?3 AND path < ?4
             AND LENGTH(path) - LENGTH(REPLACE(path, ',', '')) < ?5";
    /// As [`WEIGH`].
    LIST = "SELECT id, group_id, path, item_type, title, CASE WHEN ?6 = 1 THEN content ELSE '' END, preview, link, version
            FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path >= ?3 AND path < ?4
            AND LENGTH(path) - LENGTH(REPLACE(path, ',', '')) < ?5 ORDER BY path";
}

/// The three values every tile is found by.
pub(super) fn key(coord: &Coord) -> [Value; 3] {
    [Value::from(&coord.user), Value::Int(coord.group.into()), Value::Text(coord.path.to_string())]
}

/// The tile at a place, with its parent's id.
pub(super) fn tile(tx: &mut dyn Tx, coord: &Coord) -> Result<Tile, MapError> {
    match tx.query_opt(READ, &key(coord))? {
        Some(row) => with_parent(tx, rows::tile(&coord.user, &row)?),
        None => Err(missing(tx, &coord.user, MapError::NotFound(coord.to_string()))?),
    }
}

/// The tile with an id, with its parent's id.
pub(super) fn tile_by_id(tx: &mut dyn Tx, owner: &str, id: &str) -> Result<Tile, MapError> {
    match tx.query_opt(READ_BY_ID, &[owner.into(), id.into()])? {
        Some(row) => with_parent(tx, rows::tile(owner, &row)?),
        None => Err(missing(tx, owner, MapError::NoSuchId(id.chars().take(64).collect()))?),
    }
}

/// The tile at a place and what lies below it, down to `depth` steps.
pub(super) fn subtree(tx: &mut dyn Tx, coord: &Coord, depth: usize, content: bool) -> Result<Vec<Tile>, MapError> {
    let mut top = tile(tx, coord)?;
    if !content {
        top.content.clear();
    }
    let below = coord.path.texts_below();
    let deepest = i64::try_from(coord.path.depth().saturating_add(depth)).unwrap_or(i64::MAX);
    let [owner, group, _] = key(coord);
    let params = [owner, group, below.start.into(), below.end.into(), Value::Int(deepest), content.into()];
    if tx.query_one(WEIGH, &params)?.int(0)? > LISTING_BYTES_MAX {
        return Err(MapError::TooLarge);
    }
    let listed: Result<Vec<Tile>, _> = tx.query(LIST, &params)?.iter().map(|row| rows::tile(&coord.user, row)).collect();
    let mut tiles = vec![top];
    tiles.extend(listed?);
    link_parents(&mut tiles);
    Ok(tiles)
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
fn missing(tx: &mut dyn Tx, owner: &str, otherwise: MapError) -> Result<MapError, MapError> {
    let root = [owner.into(), Value::Int(OWN_GROUP.into()), "".into()];
    Ok(if tx.query_opt(READ_ID, &root)?.is_some() { otherwise } else { MapError::Unopened })
}
