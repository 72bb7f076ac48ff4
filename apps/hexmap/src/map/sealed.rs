//! What people wrote on their maps is sealed under their own keys: titles, contents, previews and links. Places, ids, types and versions
//! are not, for the database orders and compares by them.
//!
//! A sealed text is bound to its tile's owner and id, not to its place or its table: images of changes and versions hold the very same
//! bytes, which the database copies by itself.

use super::MapError;
use crate::tile::NewTile;
use policy::Timestamp;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use store::{Place, Row, Statement, Store, StoreError, Tx, UserKey, Value};

/// How many bytes of text a sealed column holds; of a missing one none.
macro_rules! bytes {
    ($column:literal) => {
        concat!("(CASE WHEN OCTET_LENGTH(", $column, ") > 38 THEN (OCTET_LENGTH(", $column, ") - 1) * 3 / 4 - 28 ELSE 0 END)")
    };
}
pub(super) use bytes;

store::statements! { SEALED:
    READ_PASSED = "SELECT id FROM hexmap_sealed WHERE id = 1";
    INSERT_PASSED = "INSERT INTO hexmap_sealed (id) VALUES (1)";
    LIST_OWNERS = "SELECT owner FROM hexmap_tiles UNION SELECT owner FROM hexmap_images UNION SELECT owner FROM hexmap_versions";
    LIST_TILES = "SELECT id, title, content, preview, link, group_id, path FROM hexmap_tiles WHERE owner = ?1";
    SET_TILE = "UPDATE hexmap_tiles SET title = ?4, content = ?5, preview = ?6, link = ?7 WHERE owner = ?1 AND group_id = ?2 AND path = ?3";
    LIST_IMAGES = "SELECT id, title, content, preview, link, image, side, path FROM hexmap_images WHERE owner = ?1 AND title IS NOT NULL";
    SET_IMAGE = "UPDATE hexmap_images SET title = ?5, content = ?6, preview = ?7, link = ?8
                 WHERE owner = ?1 AND image = ?2 AND side = ?3 AND path = ?4";
    LIST_VERSIONS = "SELECT tile_id, title, content, preview, link, number FROM hexmap_versions WHERE owner = ?1";
    SET_VERSION = "UPDATE hexmap_versions SET title = ?4, content = ?5, preview = ?6, link = ?7
                   WHERE owner = ?1 AND tile_id = ?2 AND number = ?3";
    /// 1 owner. What the triggers made of the pass.
    COUNT_TILES = concat!("UPDATE hexmap_maps SET bytes = (SELECT COALESCE(SUM(", bytes!("title"), " + ", bytes!("content"), " + ",
                          bytes!("preview"), " + ", bytes!("link"), "), 0) FROM hexmap_tiles t
                          WHERE t.owner = hexmap_maps.owner AND t.group_id = hexmap_maps.group_id) WHERE owner = ?1");
    COUNT_VERSIONS = concat!("UPDATE hexmap_owners SET version_bytes = (SELECT COALESCE(SUM(", bytes!("title"), " + ", bytes!("content"),
                             " + ", bytes!("preview"), " + ", bytes!("link"), " + 200), 0) FROM hexmap_versions v
                             WHERE v.owner = hexmap_owners.owner) WHERE owner = ?1");
    FORGET_TILES = "DELETE FROM hexmap_tiles WHERE owner = ?1";
    FORGET_IMAGES = "DELETE FROM hexmap_images WHERE owner = ?1";
    FORGET_CHANGES = "DELETE FROM hexmap_changes WHERE owner = ?1";
    FORGET_VERSIONS = "DELETE FROM hexmap_versions WHERE owner = ?1";
    FORGET_OWNER = "DELETE FROM hexmap_owners WHERE owner = ?1";
    FORGET_MAPS = "DELETE FROM hexmap_maps WHERE owner = ?1";
}

/// The columns, in the order in which every statement has them.
const COLUMNS: [&str; 4] = ["title", "content", "preview", "link"];

fn place<'i>(column: &'static str, id: &'i str) -> Place<'i> {
    Place::new("hexmap_tiles", column, id)
}

/// Opens a text of a tile.
pub(super) fn open(key: &UserKey, column: &'static str, id: &str, text: &str) -> Result<String, StoreError> {
    key.open(place(column, id), text)
}

/// The same of one that the tile may not have, or that was not asked for.
pub(super) fn open_opt(
    key: &UserKey,
    column: &'static str,
    id: &str,
    text: Option<String>,
) -> Result<Option<String>, StoreError> {
    key.open_opt(place(column, id), text.as_deref())
}

/// The key of an owner who may have none yet: without, nothing opens.
pub(super) fn key_of(tx: &mut dyn Tx, owner: &str) -> Result<Arc<UserKey>, StoreError> {
    tx.key_of(owner, None)
}

/// The key of an owner for whom something is written.
pub(super) fn key_for(tx: &mut dyn Tx, owner: &str, now_us: i64) -> Result<Arc<UserKey>, StoreError> {
    tx.key_of(owner, Some(Timestamp(now_us)))
}

/// Title, content, preview and link of a new tile.
pub(super) fn fields(key: &UserKey, id: &str, tile: &NewTile) -> Result<[Value; 4], StoreError> {
    Ok([
        key.seal(place("title", id), &tile.title)?.into(),
        key.seal(place("content", id), &tile.content)?.into(),
        key.seal_opt(place("preview", id), tile.preview.as_deref())?.into(),
        key.seal_opt(place("link", id), tile.link.as_deref())?.into(),
    ])
}

/// A text that may have changed: the one that is there stays as it is if it says the same, so that the database sees no change either.
pub(super) fn renewed(
    key: &UserKey,
    column: &'static str,
    id: &str,
    there: Option<String>,
    text: Option<&str>,
) -> Result<Value, StoreError> {
    if open_opt(key, column, id, there.clone())?.as_deref() == text {
        return Ok(there.into());
    }
    Ok(key.seal_opt(place(column, id), text)?.into())
}

/// Seals what an older version left unsealed, once, as a whole. To be called at each start, before anything reads a map.
///
/// # Errors
/// [`StoreError`]; then nothing was sealed.
pub async fn seal(store: &Store) -> Result<(), StoreError> {
    if store.read(|tx| tx.query_opt(READ_PASSED, &[])).await?.is_some() {
        return Ok(());
    }
    store.write(pass).await
}

fn pass(tx: &mut dyn Tx) -> Result<(), StoreError> {
    if tx.query_opt(READ_PASSED, &[])?.is_some() {
        return Ok(());
    }
    let now = tx.clock(Timestamp(0))?;
    for row in tx.query(LIST_OWNERS, &[])? {
        let owner = row.text(0)?;
        let key = key_for(tx, &owner, now.0)?;
        let mut kept = Sealed::new();
        seal_rows(tx, (&key, &mut kept), &owner, LIST_TILES, SET_TILE, |row| Ok(vec![row.int(5)?.into(), row.text(6)?.into()]))?;
        seal_rows(tx, (&key, &mut kept), &owner, LIST_IMAGES, SET_IMAGE, |row| {
            Ok(vec![row.text(5)?.into(), row.int(6)?.into(), row.text(7)?.into()])
        })?;
        seal_rows(tx, (&key, &mut kept), &owner, LIST_VERSIONS, SET_VERSION, |row| {
            Ok(vec![row.text(0)?.into(), row.int(5)?.into()])
        })?;
        tx.execute(COUNT_TILES, &[(&owner).into()])?;
        tx.execute(COUNT_VERSIONS, &[owner.into()])?;
    }
    // From here on the database keeps versions.
    tx.execute(INSERT_PASSED, &[]).map(|_| ())
}

/// What was sealed of an owner's, by column, tile and text: where tiles and images held the same they hold the same again, for undoing
/// compares them.
type Sealed = HashMap<(&'static str, String, String), String>;

/// The tile's id, its four texts, and what names the row.
fn seal_rows(
    tx: &mut dyn Tx,
    (key, kept): (&UserKey, &mut Sealed),
    owner: &str,
    list: Statement,
    set: Statement,
    name: fn(&Row) -> Result<Vec<Value>, StoreError>,
) -> Result<(), StoreError> {
    for row in tx.query(list, &[owner.into()])? {
        let id = row.text(0)?;
        let mut params = vec![Value::from(owner)];
        params.extend(name(&row)?);
        for (index, column) in COLUMNS.into_iter().enumerate() {
            let sealed = match row.opt_text(index.saturating_add(1))? {
                None => None,
                Some(text) => Some(match kept.entry((column, id.clone(), text)) {
                    Entry::Occupied(there) => there.get().clone(),
                    Entry::Vacant(free) => {
                        let sealed = key.seal(place(column, &id), &free.key().2)?;
                        free.insert(sealed).clone()
                    }
                }),
            };
            params.push(sealed.into());
        }
        tx.execute(set, &params)?;
    }
    Ok(())
}

/// Deletes everything that is kept of one user, in one commit; returns how many tiles they had.
///
/// # Errors
/// [`MapError::Store`]; then nothing was deleted.
pub async fn erase(store: &Store, user: &str) -> Result<u64, MapError> {
    let owner = user.to_owned();
    // What triggers make of it goes last.
    let forget = [FORGET_IMAGES, FORGET_CHANGES, FORGET_VERSIONS, FORGET_OWNER, FORGET_MAPS];
    store
        .write(move |tx| {
            let tiles = tx.execute(FORGET_TILES, &[(&owner).into()])?;
            forget.iter().try_for_each(|statement| tx.execute(*statement, &[(&owner).into()]).map(|_| ()))?;
            Ok(tiles)
        })
        .await
}
