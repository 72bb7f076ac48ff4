//! How a row becomes a tile.

use super::sealed::open_opt;
use crate::coord::{Coord, Path};
use crate::tile::{ItemType, Texts, Tile, Visibility};
use store::{Row, StoreError, UserKey};

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

/// The tile in a row with these texts opened, its parent not known yet.
pub(super) fn tile(key: &UserKey, owner: &str, row: &Row, texts: Texts) -> Result<Tile, StoreError> {
    let broken = |what: &str| StoreError::Statement(format!("a tile in the database has no valid {what}"));
    let group = u32::try_from(row.int(1)?).map_err(|_| broken("group"))?;
    let path = Path::parse(&row.text(2)?).map_err(|_| broken("path"))?;
    let id = row.text(0)?;
    let text = |column, index, wanted: bool| if wanted { open_opt(key, column, &id, row.opt_text(index)?) } else { Ok(None) };
    Ok(Tile {
        coord: Coord::new(owner, group, path).map_err(|_| broken("owner"))?,
        parent_id: None,
        item_type: ItemType::from_word(&row.text(3)?).ok_or_else(|| broken("type"))?,
        title: text("title", 4, texts.title)?.unwrap_or_default(),
        content: text("content", 5, texts.content)?.unwrap_or_default(),
        preview: text("preview", 6, texts.preview)?,
        link: text("link", 7, texts.link)?,
        id,
        version: row.int(8)?,
        visibility: Visibility::from_word(&row.text(9)?).ok_or_else(|| broken("visibility"))?,
        unseen: row.bool(10)?,
    })
}
