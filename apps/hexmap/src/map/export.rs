//! Everything that is kept of one user, opened, for handing out: their maps as documents, and beside them what tiles held before: their
//! versions, and the images that changes are undone with. Page by page.

use super::sealed::{key_of, open_opt};
use super::transfer::{self, ExportPage};
use super::{MapError, own_root};
use crate::coord::{Coord, Path};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use store::{Row, Store, StoreError, Tx, Value};

/// Rows of one page, beside the maps.
const ROWS: i64 = 32;

store::statements! { EXPORT:
    /// 1 owner, 2 the last. What is left of a map without tiles, as an undo leaves it, is none.
    NEXT_GROUP = "SELECT group_id FROM hexmap_maps WHERE owner = ?1 AND group_id > ?2 AND tiles > 0 ORDER BY group_id LIMIT 1";
    /// 1 owner, 2 tile and 3 number of the last, 4 how many.
    LIST_VERSIONS = "SELECT tile_id, number, title, content, preview, link, item_type, written_by, replaced_at FROM hexmap_versions
                     WHERE owner = ?1 AND (tile_id > ?2 OR (tile_id = ?2 AND number > ?3)) ORDER BY tile_id, number LIMIT ?4";
    /// 1 owner, 2 change, 3 side and 4 path of the last, 5 how many.
    LIST_IMAGES = "SELECT id, image, title, content, preview, link, side, path, updated_at FROM hexmap_images
                   WHERE owner = ?1 AND (image > ?2 OR (image = ?2 AND (side > ?3 OR (side = ?3 AND path > ?4))))
                   ORDER BY image, side, path LIMIT ?5";
}

/// What the next page begins after.
#[derive(Serialize, Deserialize)]
enum Cursor {
    /// The map of this group and all before it.
    Map(i64),
    /// This path of the map of this group.
    Tile(u32, String),
    /// This version of this tile.
    Version(String, i64),
    /// This image of this change.
    Image(String, i64, String),
}

/// Some of what is kept of a user, and what the next ones are asked for with; none after the last.
///
/// # Errors
/// [`MapError::Store`], and [`MapError::Invalid`] for what no page said.
pub async fn export(store: &Store, user: &str, after: Option<&str>) -> Result<(Vec<Json>, Option<String>), MapError> {
    let broken = |_| MapError::Invalid("after must be what the page before said is next".to_owned());
    let after = after.map(serde_json::from_str::<Cursor>).transpose().map_err(broken)?.map(Arc::new);
    let owner = own_root(user)?;
    let (rows, next) = store
        .read(move |tx| match after.as_deref() {
            None => of_next_map(tx, &owner, -1),
            Some(Cursor::Map(group)) => of_next_map(tx, &owner, *group),
            Some(Cursor::Tile(group, path)) => of_map(tx, &owner, *group, Some(path)),
            Some(Cursor::Version(tile, number)) => versions(tx, &owner.user, (tile, *number)),
            Some(Cursor::Image(change, side, path)) => images(tx, &owner.user, (change, *side, path)),
        })
        .await?;
    let next = next.map(|next| serde_json::to_string(&next)).transpose();
    Ok((rows, next.map_err(|error| StoreError::Statement(error.to_string()))?))
}

/// Rows, and what comes after them.
type Part = (Vec<Json>, Option<Cursor>);

fn of_next_map(tx: &mut dyn Tx, owner: &Coord, after: i64) -> Result<Part, MapError> {
    match tx.query_opt(NEXT_GROUP, &[(&owner.user).into(), after.into()])? {
        Some(row) => of_map(tx, owner, u32::try_from(row.int(0)?).unwrap_or_default(), None),
        None => Ok((Vec::new(), Some(Cursor::Version(String::new(), 0)))),
    }
}

/// A page of a map, as its own export has it.
fn of_map(tx: &mut dyn Tx, owner: &Coord, group: u32, after: Option<&String>) -> Result<Part, MapError> {
    let top = Coord::new(&owner.user, group, Path::root()).map_err(|error| MapError::Invalid(error.to_string()))?;
    let page: ExportPage = match transfer::page(tx, &top, after.map(String::as_str)) {
        // Deleted since its last page.
        Err(MapError::NotFound(_)) => return Ok((Vec::new(), Some(Cursor::Map(group.into())))),
        page => page?,
    };
    let next = page.next.clone().map_or(Cursor::Map(group.into()), |path| Cursor::Tile(group, path));
    Ok((vec![json!({"kind": "map", "group_id": group, "page": page})], Some(next)))
}

fn versions(tx: &mut dyn Tx, owner: &str, (tile, number): (&str, i64)) -> Result<Part, MapError> {
    let rows = tx.query(LIST_VERSIONS, &[owner.into(), tile.into(), number.into(), ROWS.into()])?;
    let told = |row: &Row, texts: Json| {
        Ok(json!({"kind": "version", "id": row.text(0)?, "number": row.int(1)?, "texts": texts, "type": row.text(6)?,
                  "written_by": row.text(7)?, "replaced_at_ms": row.int(8)?.div_euclid(1_000)}))
    };
    let last = |row: &Row| Ok(Cursor::Version(row.text(0)?, row.int(1)?));
    of_rows(tx, owner, &rows, told, last, Some(Cursor::Image(String::new(), -1, String::new())))
}

/// The touched tiles of a change: on side 0 as they were before it, on side 1 as they were after.
fn images(tx: &mut dyn Tx, owner: &str, (change, side, path): (&str, i64, &str)) -> Result<Part, MapError> {
    let params: [Value; 5] = [owner.into(), change.into(), side.into(), path.into(), ROWS.into()];
    let rows = tx.query(LIST_IMAGES, &params)?;
    let told = |row: &Row, texts: Json| {
        Ok(json!({"kind": "image", "id": row.text(0)?, "change": row.text(1)?, "texts": texts,
                  "side": if row.int(6)? == 0 { "before" } else { "after" }, "path": row.text(7)?,
                  "updated_at_ms": row.int(8)?.div_euclid(1_000)}))
    };
    let last = |row: &Row| Ok(Cursor::Image(row.text(1)?, row.int(6)?, row.text(7)?));
    of_rows(tx, owner, &rows, told, last, None)
}

/// Rows whose first column is their tile's id, and whose third to sixth are sealed.
fn of_rows(
    tx: &mut dyn Tx,
    owner: &str,
    rows: &[Row],
    told: impl Fn(&Row, Json) -> Result<Json, StoreError>,
    last: impl Fn(&Row) -> Result<Cursor, StoreError>,
    then: Option<Cursor>,
) -> Result<Part, MapError> {
    let key = key_of(tx, owner)?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let id = row.text(0)?;
        let text = |column, index| open_opt(&key, column, &id, row.opt_text(index)?);
        let texts = json!({
            "title": text("title", 2)?, "content": text("content", 3)?, "preview": text("preview", 4)?, "link": text("link", 5)?,
        });
        all.push(told(row, texts)?);
    }
    let is_last = i64::try_from(rows.len()).unwrap_or(i64::MAX) < ROWS;
    let next = match rows.last() {
        Some(row) if !is_last => Some(last(row)?),
        Some(_) | None => then,
    };
    Ok((all, next))
}
