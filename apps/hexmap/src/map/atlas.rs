//! The maps of one owner. Map 0 is the one everybody has; others are made and deleted by their owner alone.

use super::read::{id_at, key};
use super::record::{self, Kind, New, Side};
use super::sealed::{key_of, open};
use super::{MapError, Maps, OWN_GROUP, Usage, attention, change, limits};
use crate::coord::{Coord, Path};
use crate::tile::{ItemType, NewTile, Tile};
use store::{Tx, Value};

store::statements! { ATLAS:
    /// 1 owner.
    LIST = "SELECT m.group_id, t.title, m.tiles, m.bytes, t.id FROM hexmap_maps m JOIN hexmap_tiles t
            ON t.owner = m.owner AND t.group_id = m.group_id AND t.path = '' WHERE m.owner = ?1 ORDER BY m.group_id";
    /// 1 owner, 2 group.
    DELETE_TILES = "DELETE FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2";
    /// 1 owner, 2 group.
    DELETE_MAP = "DELETE FROM hexmap_maps WHERE owner = ?1 AND group_id = ?2";
}

/// Groups that are tried for a new map. Nobody may have as many maps.
const GROUPS_MAX: u32 = 1_000;

/// One of an owner's maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapLine {
    /// Its group.
    pub group: u32,
    /// Its root's id.
    pub root_id: String,
    /// Its root's title.
    pub title: String,
    /// Its tiles, the root included.
    pub tiles: i64,
    /// Bytes of their texts.
    pub bytes: i64,
}

/// An owner's maps by group.
pub(super) fn list(tx: &mut dyn Tx, owner: &str) -> Result<Vec<MapLine>, MapError> {
    let rows = tx.query(LIST, &[owner.into()])?;
    let opening = key_of(tx, owner)?;
    let line = |row: &store::Row| {
        let group = u32::try_from(row.int(0)?).unwrap_or(OWN_GROUP);
        let root_id = row.text(4)?;
        let title = open(&opening, "title", &root_id, &row.text(1)?)?;
        Ok(MapLine { group, title, tiles: row.int(2)?, bytes: row.int(3)?, root_id })
    };
    rows.iter().map(line).collect()
}

impl Maps {
    /// The user's maps, and what they have together.
    ///
    /// # Errors
    /// [`MapError::Store`].
    pub async fn maps(&self, user: &str) -> Result<(Vec<MapLine>, Usage), MapError> {
        let owner = user.to_owned();
        let work = move |tx: &mut dyn Tx| match list(tx, &owner)? {
            none if none.is_empty() => Err(MapError::Unopened),
            lines => Ok((lines, limits::usage(tx, &owner)?)),
        };
        self.read(user, work).await
    }

    /// Makes another map with nothing but its root.
    ///
    /// # Errors
    /// [`MapError::Invalid`] for a title that can't be, [`MapError::Full`], [`MapError::Store`].
    pub async fn create_map(&self, user: &str, title: &str) -> Result<Tile, MapError> {
        let named = NewTile { title: title.to_owned(), ..NewTile::default() };
        named.check().map_err(MapError::Invalid)?;
        let root = NewTile { item_type: ItemType::User, ..named };
        let (owner, stamp, actor) = (user.to_owned(), self.stamp(), self.actor);
        let work = move |tx: &mut dyn Tx| {
            let taken: Vec<u32> = list(tx, &owner)?.into_iter().map(|line| line.group).collect();
            let group = (1..GROUPS_MAX).find(|group| !taken.contains(group));
            let group =
                group.ok_or_else(|| MapError::Full("There are as many maps as there can be. Delete one first".to_owned()))?;
            let coord = Coord::new(&owner, group, Path::root()).map_err(|error| MapError::Invalid(error.to_string()))?;
            if !change::insert(tx, &coord, &root, &stamp.id, stamp.now_us)? {
                return Err(MapError::Occupied(coord.to_string()));
            }
            attention::written(tx, &coord, actor)?;
            record::keep(tx, &stamp.change, &coord, Side::After, record::tree(&coord.path))?;
            record::write(tx, &coord, &New::of(Kind::Create, &coord, None), &stamp)?;
            super::read::tile(tx, &coord)
        };
        self.write(user, work).await
    }

    /// Deletes a map with all its tiles, which are kept for an undo; returns how many those were.
    ///
    /// # Errors
    /// [`MapError::Invalid`] for map 0, [`MapError::NotFound`], [`MapError::Store`].
    pub async fn delete_map(&self, user: &str, group: u32) -> Result<u64, MapError> {
        if group == OWN_GROUP {
            return Err(MapError::Invalid("Your first map can't be deleted. Delete its tiles instead".to_owned()));
        }
        let coord = Coord::new(user, group, Path::root()).map_err(|error| MapError::Invalid(error.to_string()))?;
        let stamp = self.stamp();
        let work = move |tx: &mut dyn Tx| {
            if id_at(tx, &coord)?.is_none() {
                return Err(MapError::NotFound(coord.to_string()));
            }
            record::keep(tx, &stamp.change, &coord, Side::Before, record::tree(&coord.path))?;
            let [owner, _, _] = key(&coord);
            let of_map = [owner, Value::Int(coord.group.into())];
            let count = tx.execute(DELETE_TILES, &of_map)?;
            tx.execute(DELETE_MAP, &of_map)?;
            record::write(tx, &coord, &New::of(Kind::Delete, &coord, None), &stamp)?;
            Ok(count)
        };
        self.write(user, work).await
    }
}
