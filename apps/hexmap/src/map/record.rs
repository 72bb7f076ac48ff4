//! Changes of a map, kept for a while so that they can be undone: a row for each, and the touched tiles as they were before and after.
//!
//! Tiles go into the images by one statement inside the database, however many they are. Invariant: change, images and record are one
//! transaction, so there is no change without its record.

use super::read::key;
use super::sealed::bytes;
use super::{MapError, Stamp, rows};
use crate::coord::{Coord, Path};
use store::{StoreError, Tx, Value};

/// Changes of one person that are kept.
pub const CHANGES_MAX: i64 = 1_000;
/// Tiles in the images of one person's changes.
pub const IMAGE_TILES_MAX: i64 = 100_000;
/// Bytes of text in them.
pub const IMAGE_CHARS_MAX: i64 = 64 << 20;

store::statements! { RECORDS:
    /// 1 owner, 2 image, 3 side, 4 group, 5 and 6 range of the paths.
    KEEP = concat!(
        "INSERT INTO hexmap_images (owner, image, side, path, ", rows::kept!(), ")
         SELECT owner, CAST(?2 AS TEXT), CAST(?3 AS BIGINT), path, ", rows::kept!(), " FROM hexmap_tiles
         WHERE owner = ?1 AND group_id = ?4 AND path >= ?5 AND path < ?6"
    );
    /// As [`KEEP`], without texts.
    MARK = concat!(
        "INSERT INTO hexmap_images (owner, image, side, path, ", rows::kept!(), ")
         SELECT owner, CAST(?2 AS TEXT), CAST(?3 AS BIGINT), path, id, item_type, NULL, NULL, NULL, NULL, NULL, NULL, unseen,
         version, created_at, updated_at
         FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?4 AND path >= ?5 AND path < ?6"
    );
    /// 1 owner, 2 image.
    WEIGH_IMAGE = concat!("SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(", bytes!("title"), " + ", bytes!("content"), " + ",
                   bytes!("preview"), " + ", bytes!("link"), "), 0) AS BIGINT) FROM hexmap_images WHERE owner = ?1 AND image = ?2");
    /// 1 owner, 2 id, 3 group, 4 kind, 5 path, 6 parent, 7 other path, 8 other parent, 9 image, 10 flipped, 11 tiles, 12 characters,
    /// 13 what it undoes, 14 now.
    INSERT_CHANGE = "INSERT INTO hexmap_changes (owner, id, seq, group_id, kind, path, parent_id, other_path, other_parent_id, image,
                     flipped, tiles, chars, undoes, created_at)
                     VALUES (?1, ?2, (SELECT COALESCE(MAX(seq), 0) + 1 FROM hexmap_changes WHERE owner = ?1), ?3, ?4, ?5, ?6, ?7, ?8, ?9,
                     ?10, ?11, ?12, ?13, ?14)";
    /// 1 owner.
    WEIGH_KEPT = "SELECT CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(tiles), 0) AS BIGINT), CAST(COALESCE(SUM(chars), 0) AS BIGINT)
                  FROM hexmap_changes WHERE owner = ?1";
    /// 1 owner. By the last use of the images: as long as an undo may want them they stay.
    LIST_IMAGES = "SELECT image, CAST(COUNT(*) AS BIGINT), CAST(SUM(tiles) AS BIGINT), CAST(SUM(chars) AS BIGINT) FROM hexmap_changes
                   WHERE owner = ?1 GROUP BY image ORDER BY MAX(seq)";
    /// 1 owner, 2 image.
    FORGET_IMAGE = "DELETE FROM hexmap_images WHERE owner = ?1 AND image = ?2";
    /// 1 owner, 2 image.
    FORGET_CHANGES = "DELETE FROM hexmap_changes WHERE owner = ?1 AND image = ?2";
}

/// What happened to the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Update,
    Delete,
    /// To a free place.
    Move,
    /// Two subtrees changed places.
    Swap,
}

impl Kind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Move => "move",
            Self::Swap => "swap",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Create, Self::Update, Self::Delete, Self::Move, Self::Swap].into_iter().find(|kind| kind.word() == word)
    }
}

/// Which of the two images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl Side {
    /// As it stands in the table, of images that are meant the other way round if `flipped`.
    pub(super) const fn number(self, flipped: bool) -> i64 {
        match (self, flipped) {
            (Self::Before, false) | (Self::After, true) => 0,
            (Self::After, false) | (Self::Before, true) => 1,
        }
    }
}

/// A change about to be written down.
pub(super) struct New<'a> {
    pub(super) kind: Kind,
    pub(super) path: &'a Path,
    pub(super) parent_id: Option<&'a str>,
    pub(super) other: Option<(&'a Path, Option<&'a str>)>,
    /// The change that has the images, where it is not this one, and whether they are meant the other way round.
    pub(super) images_of: Option<(&'a str, bool)>,
    pub(super) undoes: Option<&'a str>,
}

impl<'a> New<'a> {
    pub(super) const fn of(kind: Kind, coord: &'a Coord, parent_id: Option<&'a str>) -> Self {
        Self { kind, path: &coord.path, parent_id, other: None, images_of: None, undoes: None }
    }
}

/// A tile's path alone, as a range under byte order: `,` follows everything that could come between.
pub(super) fn one(path: &Path) -> [Value; 2] {
    [path.to_string().into(), format!("{path},").into()]
}

/// A tile's path and all those below it, as one range.
pub(super) fn tree(path: &Path) -> [Value; 2] {
    [path.to_string().into(), path.texts_below().end.into()]
}

/// Keeps how the tiles of a range are now.
pub(super) fn keep(tx: &mut dyn Tx, image: &str, at: &Coord, side: Side, range: [Value; 2]) -> Result<u64, MapError> {
    copy(tx, KEEP, image, at, side, range)
}

/// Keeps where a tile is now and everything below it, without texts.
pub(super) fn mark(tx: &mut dyn Tx, image: &str, at: &Coord, side: Side) -> Result<u64, MapError> {
    copy(tx, MARK, image, at, side, tree(&at.path))
}

fn copy(tx: &mut dyn Tx, by: store::Statement, image: &str, at: &Coord, side: Side, range: [Value; 2]) -> Result<u64, MapError> {
    let ([owner, group, _], [start, end]) = (key(at), range);
    match tx.execute(by, &[owner, image.into(), side.number(false).into(), group, start, end]) {
        // Images stand under their change's name, so there is one by this name already.
        Err(StoreError::Duplicate(_)) => Err(MapError::Repeated),
        copied => Ok(copied?),
    }
}

/// Writes the change down, and forgets what is too old.
pub(super) fn write(tx: &mut dyn Tx, map: &Coord, new: &New<'_>, stamp: &Stamp) -> Result<(), MapError> {
    let [owner, group, _] = key(map);
    let (image, flipped) = new.images_of.unwrap_or((&stamp.change, false));
    let (tiles, chars) = match new.images_of {
        Some(_) => (0, 0),
        None => {
            let row = tx.query_one(WEIGH_IMAGE, &[owner.clone(), image.into()])?;
            (row.int(0)?, row.int(1)?)
        }
    };
    let params = [
        owner.clone(),
        (&*stamp.change).into(),
        group,
        new.kind.word().into(),
        new.path.to_string().into(),
        new.parent_id.into(),
        new.other.map(|(path, _)| path.to_string()).into(),
        new.other.and_then(|(_, parent)| parent).into(),
        image.into(),
        flipped.into(),
        tiles.into(),
        chars.into(),
        new.undoes.into(),
        stamp.now_us.into(),
    ];
    match tx.execute(INSERT_CHANGE, &params) {
        Err(StoreError::Duplicate(_)) => return Err(MapError::Repeated),
        inserted => inserted?,
    };
    forget_old(tx, &owner)
}

/// Invariant: what one person's changes keep is bounded. The newest images stay, whatever they weigh.
fn forget_old(tx: &mut dyn Tx, owner: &Value) -> Result<(), MapError> {
    let kept = tx.query_one(WEIGH_KEPT, std::slice::from_ref(owner))?;
    let (mut changes, mut tiles, mut chars) = (kept.int(0)?, kept.int(1)?, kept.int(2)?);
    if changes <= CHANGES_MAX && tiles <= IMAGE_TILES_MAX && chars <= IMAGE_CHARS_MAX {
        return Ok(());
    }
    let images = tx.query(LIST_IMAGES, std::slice::from_ref(owner))?;
    let Some((_newest, older)) = images.split_last() else { return Ok(()) };
    for row in older {
        if changes <= CHANGES_MAX && tiles <= IMAGE_TILES_MAX && chars <= IMAGE_CHARS_MAX {
            break;
        }
        let params = [owner.clone(), row.text(0)?.into()];
        tx.execute(FORGET_IMAGE, &params)?;
        tx.execute(FORGET_CHANGES, &params)?;
        changes -= row.int(1)?;
        tiles -= row.int(2)?;
        chars -= row.int(3)?;
    }
    Ok(())
}
