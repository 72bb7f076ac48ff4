//! What a tile held before: each change of it leaves a version, which the database keeps by itself (a trigger), whoever made the
//! change. The newest twenty of each tile are kept, and of one owner's as many bytes as their limit says.

use super::sealed::{key_of, open, open_opt};
use super::{MapError, Maps, change, read};
use crate::coord::Coord;
use crate::tile::{ItemType, Tile, TileUpdate, Visibility};
use store::{Row, StoreError, Tx, UserKey, Value};

/// Earlier versions of one tile; the trigger of the migration holds the same number.
pub const VERSIONS_MAX: usize = 20;
/// Versions that one change may push out. It adds at most 100 KB, which are fewer; where a limit was lowered, the next changes go on.
const TRIMS_MAX: usize = 2_000;

store::statements! { VERSIONS:
    /// 1 owner, 2 id.
    LIST = "SELECT number, item_type, title, content, preview, link, visibility, written_by, replaced_at FROM hexmap_versions
            WHERE owner = ?1 AND tile_id = ?2 ORDER BY number DESC";
    /// 1 owner, 2 id, 3 number.
    READ = "SELECT number, item_type, title, content, preview, link, visibility, written_by, replaced_at FROM hexmap_versions
            WHERE owner = ?1 AND tile_id = ?2 AND number = ?3";
    /// 1 owner.
    BYTES = "SELECT version_bytes FROM hexmap_owners WHERE owner = ?1";
    /// 1 owner. The oldest of all.
    TRIM = "DELETE FROM hexmap_versions WHERE owner = ?1 AND (tile_id, number) IN
            (SELECT tile_id, number FROM hexmap_versions WHERE owner = ?1 ORDER BY replaced_at, tile_id, number LIMIT 1)";
}

/// What a tile held until it was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// 1 for the first that was replaced; only the newest are kept.
    pub number: i64,
    /// Its type then.
    pub item_type: ItemType,
    /// Its name then.
    pub title: String,
    /// Its text then.
    pub content: String,
    /// Its preview then.
    pub preview: Option<String>,
    /// Its link then.
    pub link: Option<String>,
    /// Its visibility then.
    pub visibility: Visibility,
    /// `agent` or `person`.
    pub written_by: String,
    /// When something else took its place, in microseconds since 1970.
    pub replaced_at_us: i64,
}

impl Version {
    fn of(key: &UserKey, tile: &str, row: &Row) -> Result<Self, StoreError> {
        let broken = |what: &str| StoreError::Statement(format!("a version in the database has no valid {what}"));
        Ok(Self {
            number: row.int(0)?,
            item_type: ItemType::from_word(&row.text(1)?).ok_or_else(|| broken("type"))?,
            title: open(key, "title", tile, &row.text(2)?)?,
            content: open(key, "content", tile, &row.text(3)?)?,
            preview: open_opt(key, "preview", tile, row.opt_text(4)?)?,
            link: open_opt(key, "link", tile, row.opt_text(5)?)?,
            visibility: Visibility::from_word(&row.text(6)?).ok_or_else(|| broken("visibility"))?,
            written_by: row.text(7)?,
            replaced_at_us: row.int(8)?,
        })
    }

    fn into_update(self, now: &Tile) -> TileUpdate {
        TileUpdate {
            title: Some(self.title),
            content: Some(self.content),
            preview: Some(self.preview),
            link: Some(self.link),
            // The root keeps its type, and no other tile has it.
            item_type: Some(self.item_type).filter(|_| now.item_type != ItemType::User),
            visibility: Some(self.visibility),
        }
    }
}

/// Makes room where an owner's versions have more bytes than they may: the oldest go.
pub(super) fn trim(tx: &mut dyn Tx, owner: &str, bytes_max: i64) -> Result<(), MapError> {
    for _ in 0..TRIMS_MAX {
        let bytes = tx.query_opt(BYTES, &[owner.into()])?.map_or(Ok(0), |row| row.int(0))?;
        if bytes <= bytes_max || tx.execute(TRIM, &[owner.into()])? == 0 {
            break;
        }
    }
    Ok(())
}

impl Maps {
    /// What a tile held before, the newest first.
    ///
    /// # Errors
    /// [`MapError::NotFound`], [`MapError::Store`].
    pub async fn versions(&self, coord: &Coord) -> Result<Vec<Version>, MapError> {
        let wanted = coord.clone();
        let work = move |tx: &mut dyn Tx| {
            let id = read::tile(tx, &wanted)?.id;
            let rows = tx.query(LIST, &[(&wanted.user).into(), (&id).into()])?;
            let key = key_of(tx, &wanted.user)?;
            Ok(rows.iter().map(|row| Version::of(&key, &id, row)).collect::<Result<_, _>>()?)
        };
        self.read(&coord.user, work).await
    }

    /// Gives a tile what it held before; what it holds now becomes a version.
    ///
    /// # Errors
    /// [`MapError`] saying what stands in the way.
    pub async fn restore_version(&self, coord: &Coord, number: i64) -> Result<Tile, MapError> {
        let (wanted, stamp) = (coord.clone(), self.stamp());
        let work = move |tx: &mut dyn Tx| {
            let tile = read::tile(tx, &wanted)?;
            let row = tx.query_opt(READ, &[(&wanted.user).into(), (&tile.id).into(), Value::Int(number)])?;
            let missing = || MapError::Invalid(format!("There is no version {number} of this tile. Look at its versions again"));
            let version = Version::of(&*key_of(tx, &wanted.user)?, &tile.id, &row.ok_or_else(missing)?)?;
            change::update(tx, &wanted, &version.into_update(&tile), &stamp)
        };
        self.write(&coord.user, work).await
    }
}
