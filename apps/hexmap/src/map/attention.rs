//! What an agent changed stays marked until its owner has looked at it.

use super::read::{self, key};
use super::sealed::key_of;
use super::{Actor, MapError, Maps, rows};
use crate::coord::Coord;
use crate::tile::{Texts, Tile};
use store::{Tx, Value};

store::statements! { ATTENTION:
    /// 1 owner, 2 group, 3 path, 4 whether it is to be looked at, 5 by whom.
    WRITTEN = "UPDATE hexmap_tiles SET unseen = ?4, written_by = ?5 WHERE owner = ?1 AND group_id = ?2 AND path = ?3";
    /// 1 owner, 2 group, 3 path.
    MOVED = "UPDATE hexmap_tiles SET unseen = 1 WHERE owner = ?1 AND group_id = ?2 AND path = ?3";
    /// 1 owner, 2 id.
    SEEN = "UPDATE hexmap_tiles SET unseen = 0 WHERE owner = ?1 AND id = ?2 AND unseen = 1";
    /// 1 owner.
    SEEN_ALL = "UPDATE hexmap_tiles SET unseen = 0 WHERE owner = ?1 AND unseen = 1";
    /// 1 owner, 2 group.
    COUNT = "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND unseen = 1";
    /// 1 owner, 2 group, 3 how many.
    FIRST = concat!("SELECT ", rows::columns!(), " FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND unseen = 1
             ORDER BY path LIMIT ?3");
}

/// Tiles to be looked at that a view names.
const NAMED_MAX: i64 = 50;

/// Notes whose hand wrote a tile.
pub(super) fn written(tx: &mut dyn Tx, coord: &Coord, actor: Actor) -> Result<(), MapError> {
    let [owner, group, path] = key(coord);
    tx.execute(WRITTEN, &[owner, group, path, (actor == Actor::Agent).into(), actor.word().into()])?;
    Ok(())
}

/// Notes that a tile was moved; its owner needs no word of what they moved.
pub(super) fn moved(tx: &mut dyn Tx, coord: &Coord, actor: Actor) -> Result<(), MapError> {
    if actor == Actor::Agent {
        tx.execute(MOVED, &key(coord))?;
    }
    Ok(())
}

/// How many tiles of a map are to be looked at, and the first of them.
pub(super) fn unseen(tx: &mut dyn Tx, map: &Coord) -> Result<(i64, Vec<Tile>), MapError> {
    let [owner, group, _] = key(map);
    let count = tx.query_one(COUNT, &[owner.clone(), group.clone()])?.int(0)?;
    if count == 0 {
        return Ok((0, Vec::new()));
    }
    let listed = tx.query(FIRST, &[owner, group, Value::Int(NAMED_MAX)])?;
    let key = key_of(tx, &map.user)?;
    Ok((count, listed.iter().map(|row| rows::tile(&key, &map.user, row, Texts::ALL)).collect::<Result<_, _>>()?))
}

impl Maps {
    /// Takes the mark off a tile that its owner has looked at, or off all of theirs; returns how many had one.
    ///
    /// # Errors
    /// [`MapError::NoSuchId`], [`MapError::Store`].
    pub async fn mark_seen(&self, user: &str, id: Option<&str>) -> Result<u64, MapError> {
        let (owner, id) = (user.to_owned(), id.map(str::to_owned));
        let work = move |tx: &mut dyn Tx| match &id {
            Some(id) => {
                read::tile_by_id(tx, &owner, id)?;
                Ok(tx.execute(SEEN, &[(&owner).into(), id.into()])?)
            }
            None => Ok(tx.execute(SEEN_ALL, &[(&owner).into()])?),
        };
        self.write(user, work).await
    }
}
