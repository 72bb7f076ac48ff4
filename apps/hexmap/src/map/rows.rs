//! How a row becomes a tile.

use crate::coord::{Coord, Path};
use crate::tile::{ItemType, Tile, Visibility};
use store::{Row, StoreError};

/// The columns [`tile`] reads, in its order.
macro_rules! columns {
    () => {
        "id, group_id, path, item_type, title, content, preview, link, version, visibility, unseen"
    };
}
pub(super) use columns;

/// The columns that a tile has beside its owner, group and path. Whoever adds one to the tiles adds it to the images of changes too,
/// and to what [`super::undo`] compares.
macro_rules! kept {
    () => {
        "id, item_type, title, content, preview, link, visibility, written_by, unseen, version, created_at, updated_at"
    };
}
pub(super) use kept;

/// The tile in a row, its parent not known yet.
pub(super) fn tile(owner: &str, row: &Row) -> Result<Tile, StoreError> {
    let broken = |what: &str| StoreError::Statement(format!("a tile in the database has no valid {what}"));
    let group = u32::try_from(row.int(1)?).map_err(|_| broken("group"))?;
    let path = Path::parse(&row.text(2)?).map_err(|_| broken("path"))?;
    Ok(Tile {
        id: row.text(0)?,
        coord: Coord::new(owner, group, path).map_err(|_| broken("owner"))?,
        parent_id: None,
        item_type: ItemType::from_word(&row.text(3)?).ok_or_else(|| broken("type"))?,
        title: row.text(4)?,
        content: row.text(5)?,
        preview: row.opt_text(6)?,
        link: row.opt_text(7)?,
        version: row.int(8)?,
        visibility: Visibility::from_word(&row.text(9)?).ok_or_else(|| broken("visibility"))?,
        unseen: row.bool(10)?,
    })
}
