//! Creating, updating and deleting tiles.

use super::read::{self, id_at, key};
use super::record::{self, Kind, New, Side};
use super::sealed::{self, key_for, renewed};
use super::{MapError, Stamp, attention};
use crate::coord::Coord;
use crate::tile::{ItemType, NewTile, Tile, TileUpdate};
use store::{Tx, Value};

const ROOT_TITLE: &str = "My map";

store::statements! { CHANGES:
    /// 1 owner, 2 group, 3 path, 4 id, 5 type, 6 title, 7 content, 8 preview, 9 link, 10 visibility, 11 now.
    INSERT = "INSERT INTO hexmap_tiles
              (owner, group_id, path, id, item_type, title, content, preview, link, visibility, version, created_at, updated_at)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11, ?11) ON CONFLICT (owner, group_id, path) DO NOTHING";
    /// 1 owner, 2 group, 3 path, 4 type, 5 title, 6 content, 7 preview, 8 link, 9 version, 10 now, 11 visibility.
    UPDATE = "UPDATE hexmap_tiles SET item_type = ?4, title = ?5, content = ?6, preview = ?7, link = ?8, version = ?9,
              updated_at = ?10, visibility = ?11 WHERE owner = ?1 AND group_id = ?2 AND path = ?3";
    /// 1 owner, 2 group, 3 path.
    READ_TEXTS = "SELECT title, content, preview, link FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path = ?3";
    /// 1 owner, 2 group, 3 and 4 range of the paths.
    DELETE = "DELETE FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path >= ?3 AND path < ?4";
}

/// Makes the root of a map, unless it is there.
pub(super) fn open(tx: &mut dyn Tx, root: &Coord, stamp: &Stamp) -> Result<(), MapError> {
    if id_at(tx, root)?.is_some() {
        return Ok(());
    }
    let tile = NewTile { title: ROOT_TITLE.to_owned(), item_type: ItemType::User, ..NewTile::default() };
    insert(tx, root, &tile, &stamp.id, stamp.now_us).map(|_| ())
}

/// Creates a tile at a free place.
pub(super) fn create(tx: &mut dyn Tx, coord: &Coord, tile: &NewTile, stamp: &Stamp) -> Result<Tile, MapError> {
    let above = coord.path.parent().map(|path| coord.at(path)).unwrap_or_else(|| coord.clone());
    let parent_id = id_at(tx, &above)?.ok_or_else(|| MapError::NoParent(above.to_string()))?;
    if !insert(tx, coord, tile, &stamp.id, stamp.now_us)? {
        return Err(MapError::Occupied(coord.to_string()));
    }
    attention::written(tx, coord, stamp.actor)?;
    record::keep(tx, &stamp.change, coord, Side::After, record::one(&coord.path))?;
    record::write(tx, coord, &New::of(Kind::Create, coord, Some(&parent_id)), stamp)?;
    let tile = tile.clone();
    Ok(Tile {
        id: stamp.id.clone(),
        coord: coord.clone(),
        parent_id: Some(parent_id),
        item_type: tile.item_type,
        title: tile.title,
        content: tile.content,
        preview: tile.preview,
        link: tile.link,
        version: 1,
        visibility: tile.visibility,
        unseen: stamp.actor == super::Actor::Agent,
    })
}

/// Changes some fields of a tile.
pub(super) fn update(tx: &mut dyn Tx, coord: &Coord, update: &TileUpdate, stamp: &Stamp) -> Result<Tile, MapError> {
    let mut tile = read::tile(tx, coord)?;
    if tile.item_type == ItemType::User && update.item_type.is_some() {
        return Err(MapError::Invalid("The root of a map keeps its itemType. Leave itemType out".to_owned()));
    }
    record::keep(tx, &stamp.change, coord, Side::Before, record::one(&coord.path))?;
    rewrite(tx, coord, &mut tile, update, stamp)?;
    attention::written(tx, coord, stamp.actor)?;
    record::keep(tx, &stamp.change, coord, Side::After, record::one(&coord.path))?;
    record::write(tx, coord, &New::of(Kind::Update, coord, tile.parent_id.as_deref()), stamp)?;
    Ok(tile)
}

/// The same without keeping how it was, for a change of which it is a part.
pub(super) fn rewrite(
    tx: &mut dyn Tx,
    coord: &Coord,
    tile: &mut Tile,
    update: &TileUpdate,
    stamp: &Stamp,
) -> Result<(), MapError> {
    update.apply(tile);
    tile.version = tile.version.saturating_add(1);
    let there = tx.query_one(READ_TEXTS, &key(coord))?;
    let sealing = key_for(tx, &coord.user, stamp.now_us)?;
    let mut params = key(coord).to_vec();
    params.extend([
        Value::from(tile.item_type.word()),
        renewed(&sealing, "title", &tile.id, there.opt_text(0)?, Some(&tile.title))?,
        renewed(&sealing, "content", &tile.id, there.opt_text(1)?, Some(&tile.content))?,
        renewed(&sealing, "preview", &tile.id, there.opt_text(2)?, tile.preview.as_deref())?,
        renewed(&sealing, "link", &tile.id, there.opt_text(3)?, tile.link.as_deref())?,
        Value::Int(tile.version),
        Value::Int(stamp.now_us),
        Value::from(tile.visibility.word()),
    ]);
    tx.execute(UPDATE, &params)?;
    Ok(())
}

/// Deletes a tile with everything below it.
pub(super) fn delete(tx: &mut dyn Tx, coord: &Coord, stamp: &Stamp) -> Result<u64, MapError> {
    let above = coord.path.parent().map(|path| coord.at(path)).unwrap_or_else(|| coord.clone());
    let parent_id = id_at(tx, &above)?;
    record::keep(tx, &stamp.change, coord, Side::Before, record::tree(&coord.path))?;
    match remove(tx, coord)? {
        0 => Err(MapError::NotFound(coord.to_string())),
        count => {
            record::write(tx, coord, &New::of(Kind::Delete, coord, parent_id.as_deref()), stamp)?;
            Ok(count)
        }
    }
}

/// Takes a tile and everything below it out of the map.
pub(super) fn remove(tx: &mut dyn Tx, coord: &Coord) -> Result<u64, MapError> {
    let ([owner, group, _], [start, end]) = (key(coord), record::tree(&coord.path));
    Ok(tx.execute(DELETE, &[owner, group, start, end])?)
}

/// Whether the place was free.
pub(super) fn insert(tx: &mut dyn Tx, coord: &Coord, tile: &NewTile, id: &str, now_us: i64) -> Result<bool, MapError> {
    let texts = sealed::fields(&*key_for(tx, &coord.user, now_us)?, id, tile)?;
    let head = [Value::from(id), Value::from(tile.item_type.word())];
    let tail = [Value::from(tile.visibility.word()), Value::Int(now_us)];
    let params = [key(coord).as_slice(), &head, &texts, &tail].concat();
    Ok(tx.execute(INSERT, &params)? == 1)
}
