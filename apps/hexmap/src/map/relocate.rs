//! Moving a tile with everything below it. When the new place is taken, the two subtrees change places.

use super::read::{self, id_at, key};
use super::record::{self, Kind, New, Side};
use super::sealed::key_of;
use super::{MOVED_LISTED_MAX, MapError, Moved, Stamp, attention, rows};
use crate::coord::{Coord, DEPTH_MAX, PATH_BYTES_MAX, Path};
use crate::tile::{Texts, Tile, check_place};
use store::{Tx, Value};

/// Where a subtree waits during a swap. No path can look like this, and none does once the transaction is over.
const PARKED: &str = "*";

store::statements! { MOVES:
    /// 1 owner, 2 group, 3 and 4 range of the paths, 5 new start of the paths, 6 what is kept of them, 7 now.
    RELOCATE = "UPDATE hexmap_tiles SET path = CAST(?5 AS TEXT) || SUBSTR(path, ?6), version = version + 1, updated_at = ?7
                WHERE owner = ?1 AND group_id = ?2 AND path >= ?3 AND path < ?4";
    /// 1 owner, 2 group, 3 and 4 range of the paths. The longest path and the most steps of a subtree.
    EXTENT = "SELECT CAST(MAX(LENGTH(path)) AS BIGINT), CAST(MAX(LENGTH(path) - LENGTH(REPLACE(path, ',', ''))) + 1 AS BIGINT)
              FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path >= ?3 AND path < ?4";
    /// 1 owner, 2 group, 3 and 4 range of the paths, 5 how many. Without contents: a move changes none.
    LIST_MOVED = "SELECT id, group_id, path, item_type, title, CAST(NULL AS TEXT), preview, link, version, visibility, unseen FROM hexmap_tiles
                  WHERE owner = ?1 AND group_id = ?2 AND path >= ?3 AND path < ?4 ORDER BY path LIMIT ?5";
}

/// What can be refused without looking at the map.
pub(super) fn check(from: &Coord, to: &Coord) -> Result<(), MapError> {
    let refused = |why: &str| Err(MapError::Invalid(why.to_owned()));
    check_place(&from.path, "moved").map_err(MapError::Invalid)?;
    check_place(&to.path, "displaced").map_err(MapError::Invalid)?;
    if from.user != to.user || from.group != to.group {
        return refused("A tile can only be moved within its own map. Use the same userId and groupId in both coordinates");
    }
    if from.path == to.path {
        return refused("The tile is already at this place");
    }
    if to.path.is_below(&from.path) {
        return refused("A tile can't be moved below itself. Choose a place outside of its own subtree");
    }
    if from.path.is_below(&to.path) {
        return refused("A tile can't change places with a tile above it. Move it to a free place instead");
    }
    Ok(())
}

/// Moves the subtree at `from` to `to`; `check` has passed.
pub(super) fn relocate(tx: &mut dyn Tx, from: &Coord, to: &Coord, stamp: &Stamp) -> Result<Moved, MapError> {
    let tile_id = read::tile(tx, from)?.id;
    let displaced = id_at(tx, to)?.is_some();
    let (old_parent, new_parent) = (above(tx, from)?, above(tx, to)?);
    let Some(new_parent) = new_parent else {
        return Err(MapError::NoParent(to.at(to.path.parent().unwrap_or_default()).to_string()));
    };
    fits(tx, from, &to.path)?;
    if displaced {
        fits(tx, to, &from.path)?;
    }
    let kind = if displaced { Kind::Swap } else { Kind::Move };
    let other = Some((&to.path, Some(new_parent.as_str())));
    let new = New { other, ..New::of(kind, from, old_parent.as_deref()) };
    mark(tx, from, to, Side::Before, displaced, stamp)?;
    let count = carry(tx, from, &to.path, displaced, stamp.now_us)?;
    attention::moved(tx, to, stamp.actor)?;
    mark(tx, from, to, Side::After, displaced, stamp)?;
    record::write(tx, from, &new, stamp)?;
    let mut tiles = list(tx, to)?;
    if displaced {
        tiles.extend(list(tx, from)?);
        tiles.truncate(MOVED_LISTED_MAX);
    }
    Ok(Moved { tile_id, tiles, count })
}

/// The id of the tile above a place.
fn above(tx: &mut dyn Tx, coord: &Coord) -> Result<Option<String>, MapError> {
    coord.path.parent().map_or(Ok(None), |path| id_at(tx, &coord.at(path)))
}

fn mark(tx: &mut dyn Tx, from: &Coord, to: &Coord, side: Side, swapped: bool, stamp: &Stamp) -> Result<(), MapError> {
    let only = if side == Side::Before { from } else { to };
    for place in [from, to].into_iter().filter(|place| swapped || *place == only) {
        record::mark(tx, &stamp.change, place, side)?;
    }
    Ok(())
}

/// Carries the subtree at `from` to `to`, and the one that is there to `from` if they change places.
pub(super) fn carry(tx: &mut dyn Tx, from: &Coord, to: &Path, swapped: bool, now_us: i64) -> Result<u64, MapError> {
    if swapped { swap(tx, from, to, now_us) } else { rename(tx, from, &subtree(&from.path), &to.to_string(), now_us) }
}

fn swap(tx: &mut dyn Tx, from: &Coord, to: &Path, now_us: i64) -> Result<u64, MapError> {
    let parked = [PARKED.to_owned(), format!("{PARKED}-")];
    rename(tx, from, &subtree(&from.path), PARKED, now_us)?;
    let back = rename(tx, from, &subtree(to), &from.path.to_string(), now_us)?;
    let there = rename(tx, from, &parked, &to.to_string(), now_us)?;
    Ok(there.saturating_add(back))
}

/// The range of a path's text and those below it: nothing else lies between (see [`record::tree`]).
fn subtree(path: &Path) -> [String; 2] {
    [path.to_string(), path.texts_below().end]
}

/// Gives a subtree another start of its paths.
fn rename(tx: &mut dyn Tx, map: &Coord, old: &[String; 2], new: &str, now_us: i64) -> Result<u64, MapError> {
    let [path, end] = old;
    let kept_from = i64::try_from(path.len().saturating_add(1)).unwrap_or(i64::MAX);
    let [owner, group, _] = key(map);
    let range = [path, end].map(Value::from);
    let params = [[owner, group].as_slice(), &range, &[new.into(), Value::Int(kept_from), Value::Int(now_us)]].concat();
    Ok(tx.execute(RELOCATE, &params)?)
}

/// Whether the subtree at `at` would keep within the limits of a path below `target`.
fn fits(tx: &mut dyn Tx, at: &Coord, target: &Path) -> Result<(), MapError> {
    let extent = tx.query_one(EXTENT, &of(at))?;
    let (bytes, steps) = (extent.opt_int(0)?.unwrap_or(0), extent.opt_int(1)?.unwrap_or(0));
    let grown = |old: i64, from: usize, to: usize| i64::try_from(to).unwrap_or(i64::MAX).saturating_add(old) - length(from);
    let bytes = grown(bytes, at.path.to_string().len(), target.to_string().len());
    let steps = grown(steps, at.path.depth(), target.depth());
    if bytes > length(PATH_BYTES_MAX) || steps > length(DEPTH_MAX) {
        return Err(MapError::Invalid(format!(
            "The move would make the map more than {DEPTH_MAX} steps deep. Choose a place nearer to the root"
        )));
    }
    Ok(())
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn of(coord: &Coord) -> Vec<Value> {
    let [owner, group, _] = key(coord);
    [[owner, group].as_slice(), &subtree(&coord.path).map(Value::from)].concat()
}

/// The first tiles of a subtree, each with its parent.
fn list(tx: &mut dyn Tx, coord: &Coord) -> Result<Vec<Tile>, MapError> {
    let mut params = of(coord);
    params.push(Value::Int(length(MOVED_LISTED_MAX)));
    let key = key_of(tx, &coord.user)?;
    let listed: Result<Vec<Tile>, _> =
        tx.query(LIST_MOVED, &params)?.iter().map(|row| rows::tile(&key, &coord.user, row, Texts::ALL)).collect();
    let mut tiles = listed?;
    if let (Some(top), Some(above)) = (tiles.first_mut(), coord.path.parent()) {
        top.parent_id = id_at(tx, &coord.at(above))?;
    }
    read::link_parents(&mut tiles);
    Ok(tiles)
}
