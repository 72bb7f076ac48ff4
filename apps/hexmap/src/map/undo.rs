//! Undoing a change exactly: ids, versions, places, texts and times are what they were.
//!
//! Invariant: nothing is undone over something that came later. What the change left behind must be as it left it, tile by tile,
//! and where something goes back to must be free and hang under the same tile; otherwise nothing happens and all that stands in the
//! way is named. An undo is a change like any other, so undoing it is how it is done again.

use super::effect::{place, quoted};
use super::read::{self, id_at, key};
use super::record::{self, Kind, New, Side};
use super::sealed::{key_of, open, open_opt};
use super::{MapError, Stamp, change, relocate, rows};
use crate::coord::{Coord, Path};
use store::{Row, StoreError, Tx, Value};

/// Conflicts that are named; the count tells of the others.
const CONFLICTS_NAMED_MAX: usize = 10;

store::statements! { UNDOS:
    /// 1 owner, 2 id.
    READ_CHANGE = "SELECT group_id, kind, path, parent_id, other_path, other_parent_id, image, flipped, undoes, undone_by
                   FROM hexmap_changes WHERE owner = ?1 AND id = ?2";
    /// 1 owner, 2 image, 3 side, 4 group, 5 and 6 range of the paths, 7 how many. The tiles of an image that are not in the map as they
    /// are in it. Compared as sets, which takes the same time whatever the database believes about the sizes.
    DIFFERING = "SELECT path FROM (
                     SELECT path, id, item_type, version, updated_at, title, content, preview, link, visibility FROM hexmap_images
                     WHERE owner = ?1 AND image = ?2 AND side = ?3
                 EXCEPT
                     SELECT path, id, item_type, version, updated_at, title, content, preview, link, visibility FROM hexmap_tiles
                     WHERE owner = ?1 AND group_id = ?4 AND path >= ?5 AND path < ?6
                 ) AS differing ORDER BY path LIMIT ?7";
    /// As [`DIFFERING`], without texts and with two ranges, 5 to 8; 9 how many.
    DISPLACED = "SELECT path FROM (
                     SELECT path, id, item_type, version, updated_at FROM hexmap_images
                     WHERE owner = ?1 AND image = ?2 AND side = ?3
                 EXCEPT
                     SELECT path, id, item_type, version, updated_at FROM hexmap_tiles
                     WHERE owner = ?1 AND group_id = ?4 AND ((path >= ?5 AND path < ?6) OR (path >= ?7 AND path < ?8))
                 ) AS displaced ORDER BY path LIMIT ?9";
    /// 1 owner, 2 image, 3 side, 4 group, 5 and 6 range of the paths, 7 how many. What lies there and is not in the image.
    ADDED = "SELECT path FROM (
                 SELECT path FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?4 AND path >= ?5 AND path < ?6
             EXCEPT
                 SELECT path FROM hexmap_images WHERE owner = ?1 AND image = ?2 AND side = ?3
             ) AS added ORDER BY path LIMIT ?7";
    /// 1 owner, 2 image, 3 side, 4 path.
    IN_IMAGE = "SELECT id, title FROM hexmap_images WHERE owner = ?1 AND image = ?2 AND side = ?3 AND path = ?4";
    /// 1 owner, 2 group, 3 path.
    IN_MAP = "SELECT id, title FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path = ?3";
    /// 1 owner, 2 id.
    TITLE_OF = "SELECT title FROM hexmap_tiles WHERE owner = ?1 AND id = ?2";
    /// 1 owner, 2 image, 3 side.
    COUNT_IMAGE = "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_images WHERE owner = ?1 AND image = ?2 AND side = ?3";
    /// 1 owner, 2 image, 3 side, 4 group.
    RESTORE = concat!(
        "INSERT INTO hexmap_tiles (owner, group_id, path, ", rows::kept!(), ")
         SELECT owner, CAST(?4 AS BIGINT), path, ", rows::kept!(), " FROM hexmap_images WHERE owner = ?1 AND image = ?2 AND side = ?3"
    );
    /// 1 owner, 2 image, 3 side, 4 group, 5 path. Of a tile that stays where it is. What its owner has looked at meanwhile they have
    /// looked at.
    RESTORE_TEXTS = "UPDATE hexmap_tiles SET (item_type, title, content, preview, link, visibility, written_by, version, updated_at,
                     unseen) = (SELECT h.item_type, h.title, h.content, h.preview, h.link, h.visibility, h.written_by, h.version,
                     h.updated_at, CASE WHEN hexmap_tiles.unseen = 0 THEN 0 ELSE h.unseen END FROM hexmap_images h
                     WHERE h.owner = ?1 AND h.image = ?2 AND h.side = ?3 AND h.path = ?5)
                     WHERE owner = ?1 AND group_id = ?4 AND path = ?5";
    /// 1 owner, 2 image, 3 side, 4 group, 5 to 8 two ranges of paths. After the tiles are where they were.
    RESTORE_VERSIONS = "UPDATE hexmap_tiles SET (version, updated_at, unseen) = (SELECT h.version, h.updated_at,
                        CASE WHEN hexmap_tiles.unseen = 0 THEN 0 ELSE h.unseen END FROM hexmap_images h
                        WHERE h.owner = ?1 AND h.image = ?2 AND h.side = ?3 AND h.path = hexmap_tiles.path)
                        WHERE owner = ?1 AND group_id = ?4 AND ((path >= ?5 AND path < ?6) OR (path >= ?7 AND path < ?8))";
    /// 1 owner, 2 id, 3 what undid it, if anything.
    SET_UNDONE = "UPDATE hexmap_changes SET undone_by = ?3 WHERE owner = ?1 AND id = ?2";
}

/// A kept change.
struct Kept {
    id: String,
    map: Coord,
    kind: Kind,
    path: Path,
    parent_id: Option<String>,
    other_path: Option<Path>,
    other_parent_id: Option<String>,
    image: String,
    flipped: bool,
    undoes: Option<String>,
    undone_by: Option<String>,
}

impl Kept {
    fn parse(owner: &str, id: &str, row: &Row) -> Result<Self, MapError> {
        let broken = |what: &str| StoreError::Statement(format!("a change in the database has no valid {what}"));
        let path = |text: String| Path::parse(&text).map_err(|_| broken("path"));
        let group = u32::try_from(row.int(0)?).map_err(|_| broken("group"))?;
        Ok(Self {
            id: id.to_owned(),
            map: Coord::new(owner, group, Path::root()).map_err(|_| broken("owner"))?,
            kind: Kind::from_word(&row.text(1)?).ok_or_else(|| broken("kind"))?,
            path: path(row.text(2)?)?,
            parent_id: row.opt_text(3)?,
            other_path: row.opt_text(4)?.map(path).transpose()?,
            other_parent_id: row.opt_text(5)?,
            image: row.text(6)?,
            flipped: row.bool(7)?,
            undoes: row.opt_text(8)?,
            undone_by: row.opt_text(9)?,
        })
    }

    fn at(&self, path: &Path) -> Coord {
        self.map.at(path.clone())
    }

    /// Owner, image, side and group, as most statements here begin.
    fn image(&self, side: Side) -> Vec<Value> {
        let [owner, group, _] = key(&self.map);
        vec![owner, (&self.image).into(), side.number(self.flipped).into(), group]
    }

    fn count(&self, tx: &mut dyn Tx, side: Side) -> Result<i64, MapError> {
        let mut params = self.image(side);
        params.truncate(3);
        Ok(tx.query_one(COUNT_IMAGE, &params)?.int(0)?)
    }

    /// Of a move: where its subtree is now and where it was, each with the tile above it.
    fn ends(&self) -> Option<(End<'_>, End<'_>)> {
        let from = End { path: &self.path, parent_id: self.parent_id.as_deref() };
        let to = End { path: self.other_path.as_ref()?, parent_id: self.other_parent_id.as_deref() };
        Some(if self.flipped { (from, to) } else { (to, from) })
    }
}

/// One of the two places of a move.
#[derive(Clone, Copy)]
struct End<'a> {
    path: &'a Path,
    parent_id: Option<&'a str>,
}

/// What stands in the way, as far as it is named.
#[derive(Default)]
struct Conflicts(Vec<String>);

impl Conflicts {
    /// Of paths one more than are named was asked for.
    fn add(&mut self, rows: &[Row], mut describe: impl FnMut(&str) -> Result<String, MapError>) -> Result<(), MapError> {
        for row in rows.iter().take(CONFLICTS_NAMED_MAX) {
            self.0.push(describe(&row.text(0)?)?);
        }
        if rows.len() > CONFLICTS_NAMED_MAX {
            self.0.push("There are more such tiles".to_owned());
        }
        Ok(())
    }

    fn none(self) -> Result<(), MapError> {
        if self.0.is_empty() { Ok(()) } else { Err(MapError::Conflict(self.0)) }
    }
}

/// Undoes a change as a whole, or nothing of it. Returns how many tiles are as they were.
pub(super) fn undo(tx: &mut dyn Tx, owner: &str, id: &str, stamp: &Stamp) -> Result<u64, MapError> {
    let row = tx.query_opt(READ_CHANGE, &[owner.into(), id.into()])?.ok_or(MapError::NoChange)?;
    let kept = Kept::parse(owner, id, &row)?;
    if kept.undone_by.is_some() {
        return Err(MapError::Conflict(vec!["It was undone already".to_owned()]));
    }
    let tiles = match (kept.kind, kept.ends()) {
        (Kind::Move | Kind::Swap, Some((now, then))) => put_back(tx, &kept, now, then, stamp)?,
        (Kind::Move | Kind::Swap, None) => return Err(MapError::NoChange),
        (Kind::Create | Kind::Update | Kind::Delete, _) => restore(tx, &kept)?,
    };
    let other = kept.other_path.as_ref().map(|path| (path, kept.other_parent_id.as_deref()));
    let new = New {
        kind: kept.kind,
        path: &kept.path,
        parent_id: kept.parent_id.as_deref(),
        other,
        images_of: Some((&kept.image, !kept.flipped)),
        undoes: Some(&kept.id),
    };
    record::write(tx, &kept.map, &new, stamp)?;
    set_undone(tx, owner, &kept.id, Some(&stamp.change))?;
    if let Some(first) = &kept.undoes {
        set_undone(tx, owner, first, None)?;
    }
    Ok(tiles)
}

fn set_undone(tx: &mut dyn Tx, owner: &str, id: &str, by: Option<&str>) -> Result<(), MapError> {
    tx.execute(SET_UNDONE, &[owner.into(), id.into(), by.into()])?;
    Ok(())
}

/// Tiles that were made, changed or deleted.
fn restore(tx: &mut dyn Tx, kept: &Kept) -> Result<u64, MapError> {
    let there = kept.count(tx, Side::After)?;
    let mut conflicts = Conflicts::default();
    let range = if kept.kind == Kind::Update { record::one(&kept.path) } else { record::tree(&kept.path) };
    let rows = tx.query(DIFFERING, &[kept.image(Side::After), range.into(), vec![limit()]].concat())?;
    conflicts.add(&rows, |path| differs(tx, kept, path))?;
    if kept.kind != Kind::Update {
        added(tx, kept, &kept.path, &mut conflicts)?;
    }
    if there == 0 {
        parent_is(tx, kept, End { path: &kept.path, parent_id: kept.parent_id.as_deref() }, &mut conflicts)?;
    }
    conflicts.none()?;
    if kept.kind == Kind::Update {
        let path = vec![kept.path.to_string().into()];
        return Ok(tx.execute(RESTORE_TEXTS, &[kept.image(Side::Before), path].concat())?);
    }
    let removed = change::remove(tx, &kept.at(&kept.path))?;
    match tx.execute(RESTORE, &kept.image(Side::Before)) {
        // Its place is free, so it is its id that another tile has: one that came back some other way.
        Err(StoreError::Duplicate(_)) => {
            Err(MapError::Conflict(vec!["One of the tiles is elsewhere on the map already".to_owned()]))
        }
        restored => Ok(restored?.max(removed)),
    }
}

/// Subtrees that were moved.
fn put_back(tx: &mut dyn Tx, kept: &Kept, now: End<'_>, then: End<'_>, stamp: &Stamp) -> Result<u64, MapError> {
    let mut conflicts = Conflicts::default();
    let other = if kept.kind == Kind::Swap { then.path } else { now.path };
    let places = [record::tree(now.path), record::tree(other)].concat();
    let rows = tx.query(DISPLACED, &[kept.image(Side::After), places, vec![limit()]].concat())?;
    conflicts.add(&rows, |path| differs(tx, kept, path))?;
    added(tx, kept, now.path, &mut conflicts)?;
    added(tx, kept, then.path, &mut conflicts)?;
    if kept.kind == Kind::Move {
        parent_is(tx, kept, then, &mut conflicts)?;
    }
    conflicts.none()?;
    let tiles = relocate::carry(tx, &kept.at(now.path), then.path, kept.kind == Kind::Swap, stamp.now_us)?;
    let other = if kept.kind == Kind::Swap { now.path } else { then.path };
    let places = [record::tree(then.path), record::tree(other)].concat();
    tx.execute(RESTORE_VERSIONS, &[kept.image(Side::Before), places].concat())?;
    Ok(tiles)
}

/// What of the change is not as it left it at this path.
fn differs(tx: &mut dyn Tx, kept: &Kept, path: &str) -> Result<String, MapError> {
    let [owner, group, _] = key(&kept.map);
    let place = place_of(kept, path);
    let mut in_image = kept.image(Side::After);
    in_image.truncate(3);
    in_image.push(path.into());
    let left = tx.query_one(IN_IMAGE, &in_image)?;
    let opening = key_of(tx, &kept.map.user)?;
    let id = left.text(0)?;
    let title = open_opt(&opening, "title", &id, left.opt_text(1)?)?.unwrap_or_default();
    Ok(match tx.query_opt(IN_MAP, &[owner.clone(), group, path.into()])? {
        Some(there) => {
            let title = quoted(&open(&opening, "title", &there.text(0)?, &there.text(1)?)?);
            if there.text(0)? == id {
                format!("{title} at {place} was changed since")
            } else {
                format!("Another tile, {title}, is at {place} now")
            }
        }
        None => {
            // A move keeps no titles; the tile itself has it, wherever it is now.
            let elsewhere = tx.query_opt(TITLE_OF, &[owner, (&id).into()])?.map(|row| row.text(0)).transpose()?;
            let elsewhere = open_opt(&opening, "title", &id, elsewhere)?;
            format!("{} is not at {place} any more", quoted(&elsewhere.unwrap_or(title)))
        }
    })
}

/// What came to lie there since.
fn added(tx: &mut dyn Tx, kept: &Kept, path: &Path, conflicts: &mut Conflicts) -> Result<(), MapError> {
    let [owner, group, _] = key(&kept.map);
    let rows = tx.query(ADDED, &[kept.image(Side::After), record::tree(path).into(), vec![limit()]].concat())?;
    conflicts.add(&rows, |path| {
        let there = tx.query_one(IN_MAP, &[owner.clone(), group.clone(), path.into()])?;
        let title = open(&*key_of(tx, &kept.map.user)?, "title", &there.text(0)?, &there.text(1)?)?;
        Ok(format!("{} is at {} now", quoted(&title), place_of(kept, path)))
    })
}

fn place_of(kept: &Kept, path: &str) -> String {
    place(&kept.at(&Path::parse(path).unwrap_or_default()))
}

/// Tiles go back under the tile they hung under, not under another one at the same place.
fn parent_is(tx: &mut dyn Tx, kept: &Kept, end: End<'_>, conflicts: &mut Conflicts) -> Result<(), MapError> {
    let Some(above) = end.path.parent() else { return Ok(()) };
    let above = kept.at(&above);
    match (id_at(tx, &above)?, end.parent_id) {
        (Some(id), Some(was)) if id == was => {}
        (Some(_), _) => {
            let title = quoted(&read::tile(tx, &above)?.title);
            conflicts.0.push(format!("The tile above was another one; now {title} is at {}", place(&above)));
        }
        (None, _) => conflicts.0.push(format!("The tile above, at {}, is gone", place(&above))),
    }
    Ok(())
}

fn limit() -> Value {
    Value::Int(i64::try_from(CONFLICTS_NAMED_MAX.saturating_add(1)).unwrap_or(i64::MAX))
}
