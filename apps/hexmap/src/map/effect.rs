//! What a change would do, told before it is made: which tiles it touches, as a digest, and the same in a sentence for a person.
//!
//! The digest is of id, version and last change of every tile that would be touched. A version goes up with every change of a tile or
//! its place, and back only with an undo, whose next change happens at another time: as long as the digest holds, they are as they were.

use super::read::{id_at, key};
use super::record;
use super::sealed::key_of;
use super::{MapError, Maps, rows};
use crate::coord::Coord;
use crate::tile::{Texts, Tile, TileUpdate};
use data_encoding::HEXLOWER;
use std::sync::Arc;
use store::{Row, StoreError, Tx};

const TITLE_CHARS_SHOWN: usize = 80;

store::statements! { EFFECTS:
    /// 1 owner, 2 group, 3 and 4 range of the paths.
    LIST_TOUCHED = "SELECT id, version, updated_at FROM hexmap_tiles
                    WHERE owner = ?1 AND group_id = ?2 AND path >= ?3 AND path < ?4 ORDER BY path";
    /// 1 owner, 2 group, 3 path.
    READ_TOUCHED = "SELECT id, version, updated_at FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path = ?3";
    /// 1 owner, 2 group, 3 path.
    READ_TOP = concat!("SELECT ", rows::columns!(), " FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path = ?3");
}

/// What a change would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Of every tile that would be touched.
    pub digest: String,
    /// For a person.
    pub summary: String,
}

/// How a change is made.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// Made.
    Do,
    /// Made, looked at, and rolled back.
    Plan,
    /// Made, if its effect has this digest.
    Expect(Arc<str>),
}

impl Maps {
    /// The same maps for one call that changes nothing: instead it fails with [`MapError::Planned`], which says what it would do,
    /// or with what would stand in its way.
    #[must_use]
    pub fn planning(&self) -> Self {
        Self { manner: Manner::Plan, ..self.clone() }
    }

    /// The same maps for one call that has to have this effect, by its digest, or changes nothing.
    #[must_use]
    pub fn expecting(&self, digest: &str) -> Self {
        Self { manner: Manner::Expect(digest.into()), ..self.clone() }
    }

    /// Makes a change in the manner of these maps. Invariant: what is planned is the change itself, rolled back by its error; what is
    /// expected is compared in the transaction that makes the change.
    pub(super) async fn change<T, F>(&self, touched: Touched, work: F) -> Result<T, MapError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, MapError> + Send + Sync + 'static,
    {
        let (user, manner) = (touched.user().to_owned(), self.manner.clone());
        let compared = move |tx: &mut dyn Tx| match &manner {
            Manner::Do => work(tx),
            Manner::Plan => {
                let effect = touched.effect(tx)?;
                work(tx)?;
                // What has no effect failed a line before.
                Err(effect.map_or(MapError::Changed, MapError::Planned))
            }
            Manner::Expect(digest) => match touched.effect(tx)? {
                Some(effect) if effect.digest == **digest => work(tx),
                Some(_) | None => Err(MapError::Changed),
            },
        };
        Self { manner: Manner::Do, ..self.clone() }.write(&user, compared).await
    }
}

/// A change, as far as its effect goes.
#[derive(Clone, Debug)]
pub(super) enum Touched {
    /// A tile of this title at a free place.
    Create(Coord, String),
    /// Some fields of a tile.
    Update(Coord, TileUpdate),
    /// A tile with everything below it, and what lies at the new place.
    Move(Coord, Coord),
    /// A tile with everything below it.
    Delete(Coord),
}

impl Touched {
    pub(super) fn user(&self) -> &str {
        match self {
            Self::Create(coord, _) | Self::Update(coord, _) | Self::Move(coord, _) | Self::Delete(coord) => &coord.user,
        }
    }

    /// None where there is nothing to be touched: the change itself will say why.
    pub(super) fn effect(&self, tx: &mut dyn Tx) -> Result<Option<Effect>, MapError> {
        match self {
            Self::Create(coord, title) => created(tx, coord, title),
            Self::Update(coord, update) => updated(tx, coord, update),
            Self::Move(from, to) => moved(tx, from, to),
            Self::Delete(coord) => deleted(tx, coord),
        }
    }
}

fn created(tx: &mut dyn Tx, coord: &Coord, title: &str) -> Result<Option<Effect>, MapError> {
    let above = coord.path.parent().map(|path| coord.at(path)).unwrap_or_else(|| coord.clone());
    let (Some(parent), Some(id)) = (top(tx, &above)?, id_at(tx, &above)?) else { return Ok(None) };
    let summary = format!("Creates {} at {} below {}.", quoted(title), place(coord), quoted(&parent.title));
    Ok(Some(effect("create", &[format!("{id} {}", coord.path)], summary)))
}

fn updated(tx: &mut dyn Tx, coord: &Coord, update: &TileUpdate) -> Result<Option<Effect>, MapError> {
    let Some(tile) = top(tx, coord)? else { return Ok(None) };
    let fields = [
        ("title", update.title.is_some()),
        ("content", update.content.is_some()),
        ("preview", update.preview.is_some()),
        ("link", update.link.is_some()),
        ("type", update.item_type.is_some()),
        ("visibility", update.visibility.is_some()),
    ];
    let named: Vec<&str> = fields.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
    let renamed = update.title.as_deref().map(|title| format!(" Its title becomes {}.", quoted(title))).unwrap_or_default();
    let summary = format!("Replaces {} of {}.{renamed}", named.join(", "), quoted(&tile.title));
    let touched = tx.query(READ_TOUCHED, &key(coord))?.iter().map(line).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(effect("update", &touched, summary)))
}

fn moved(tx: &mut dyn Tx, from: &Coord, to: &Coord) -> Result<Option<Effect>, MapError> {
    let Some(tile) = top(tx, from)? else { return Ok(None) };
    let mut touched = subtree(tx, from)?;
    let below = below(touched.len());
    let summary = match top(tx, to)? {
        None => format!("Moves {}{below} to {}.", quoted(&tile.title), place(to)),
        Some(other) => {
            let displaced = subtree(tx, to)?;
            let theirs = self::below(displaced.len());
            // So that the same tiles on other sides are another effect.
            touched.push("with".to_owned());
            touched.extend(displaced);
            format!("Lets {}{below} and {}{theirs} change places.", quoted(&tile.title), quoted(&other.title))
        }
    };
    Ok(Some(effect("move", &touched, summary)))
}

fn deleted(tx: &mut dyn Tx, coord: &Coord) -> Result<Option<Effect>, MapError> {
    let Some(tile) = top(tx, coord)? else { return Ok(None) };
    let touched = subtree(tx, coord)?;
    let summary = format!("Deletes {}{}.", quoted(&tile.title), below(touched.len()));
    Ok(Some(effect("delete", &touched, summary)))
}

fn effect(kind: &str, touched: &[String], summary: String) -> Effect {
    let text = format!("{kind}\n{}", touched.join("\n"));
    Effect { digest: HEXLOWER.encode(&policy::digest_bytes(text.as_bytes())), summary }
}

/// The tile at a place, its parent not known.
fn top(tx: &mut dyn Tx, coord: &Coord) -> Result<Option<Tile>, MapError> {
    let opening = key_of(tx, &coord.user)?;
    Ok(tx.query_opt(READ_TOP, &key(coord))?.map(|row| rows::tile(&opening, &coord.user, &row, Texts::ALL)).transpose()?)
}

/// Every tile of a subtree, the top first.
fn subtree(tx: &mut dyn Tx, coord: &Coord) -> Result<Vec<String>, MapError> {
    let ([owner, group, _], [start, end]) = (key(coord), record::tree(&coord.path));
    let listed = tx.query(LIST_TOUCHED, &[owner, group, start, end])?;
    Ok(listed.iter().map(line).collect::<Result<_, _>>()?)
}

fn line(row: &Row) -> Result<String, StoreError> {
    Ok(format!("{} {} {}", row.text(0)?, row.int(1)?, row.int(2)?))
}

/// ` and 41 tiles below it`
fn below(touched: usize) -> String {
    match touched.saturating_sub(1) {
        0 => String::new(),
        1 => " and 1 tile below it".to_owned(),
        more => format!(" and {more} tiles below it"),
    }
}

/// A title as it stands, but not so long that what follows it is not read, and without quotes that could end it too early.
pub(super) fn quoted(title: &str) -> String {
    let shown: String =
        title.chars().map(|c| if matches!(c, '\u{201c}' | '\u{201d}') { '"' } else { c }).take(TITLE_CHARS_SHOWN).collect();
    let more = if title.chars().count() > TITLE_CHARS_SHOWN { "\u{2026}" } else { "" };
    format!("\u{201c}{shown}{more}\u{201d}")
}

/// A place as people find it.
pub(super) fn place(coord: &Coord) -> String {
    if coord.path.is_root() { "the centre".to_owned() } else { format!("[{}]", coord.path) }
}
