//! A user's map in the database: every operation is one transaction, and every statement is keyed by the owner, so that
//! there is no operation by which one user could reach another's tile.

mod atlas;
mod attention;
mod change;
mod effect;
mod export;
mod limits;
mod read;
mod record;
mod relocate;
mod rows;
mod sealed;
mod transfer;
mod undo;
mod versions;
mod view;

use crate::coord::{Coord, Path};
use crate::tile::{NewTile, Tile, TileUpdate, check_place};
use effect::{Manner, Touched};
use policy::Clock;
use std::sync::Arc;
use store::{Change, Store, StoreError, Tx};

pub use atlas::MapLine;
pub use limits::{Limits, LimitsByTier, Usage};
pub use read::Extent;
pub(crate) use read::LISTED_MAX;
pub use transfer::{DOCUMENT_BYTES_MAX, Document, ExportPage};
pub use versions::{VERSIONS_MAX, Version};
pub use view::{VIEW_TILES_MAX, View};

pub(crate) use atlas::ATLAS;
pub(crate) use attention::ATTENTION;
pub(crate) use change::CHANGES;
pub(crate) use effect::EFFECTS;
pub use effect::Effect;
pub(crate) use export::EXPORT;
pub use export::export;
pub(crate) use limits::LIMITS;
pub(crate) use read::READS;
pub(crate) use record::RECORDS;
pub use record::{CHANGES_MAX, IMAGE_CHARS_MAX, IMAGE_TILES_MAX};
pub(crate) use relocate::MOVES;
pub(crate) use sealed::SEALED;
pub use sealed::{erase, seal};
pub(crate) use transfer::TRANSFER;
pub(crate) use undo::UNDOS;
pub(crate) use versions::VERSIONS;
pub(crate) use view::VIEWS;

/// Bytes of text that one answer may hold.
pub const LISTING_BYTES_MAX: i64 = 256 * 1024;
/// Moved tiles that one answer lists; the count tells of the others.
pub const MOVED_LISTED_MAX: usize = 100;
/// The one map everybody has.
pub const OWN_GROUP: u32 = 0;

/// Why an operation on a map did nothing. Nothing is ever done in part.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// There is no such tile, or it is somebody else's.
    #[error("No tile found at coordinates {0}. Call getItemsForRootItem to see which tiles there are")]
    NotFound(String),
    /// There is no tile with this id, or it is somebody else's.
    #[error("No tile found with id {0}. Call getItemsForRootItem to see which tiles there are")]
    NoSuchId(String),
    /// The tile above the wanted place is missing.
    #[error("There is no tile at {0} to hang the tile under. Create that one first or choose another place")]
    NoParent(String),
    /// The place is taken.
    #[error("There is already a tile at {0}. Choose a free place, or use updateItem to change that tile")]
    Occupied(String),
    /// What was asked for breaks a rule; the sentence says which.
    #[error("{0}")]
    Invalid(String),
    /// One may have no more of something; the sentence says of what.
    #[error("{0}")]
    Full(String),
    /// The answer would be too long.
    #[error("That part of the map holds too much text for one answer. Ask for a smaller depth, or name the fields you need")]
    TooLarge,
    /// This change is not kept, or not any more.
    #[error("This change is not known any more, so it can't be undone: only the newest {CHANGES_MAX} are kept")]
    NoChange,
    /// What came later stands in the way; each sentence names one thing.
    #[error("Nothing was undone, because the map has changed since: {}", .0.join("; "))]
    Conflict(Vec<String>),
    /// A change by this name was made before.
    #[error("This change was made already, and is not made a second time")]
    Repeated,
    /// What would be changed is not what it was when somebody agreed to it.
    #[error(
        "Nothing was changed: the tiles are not what they were when this was confirmed. Look at them, and ask again if it is still wanted"
    )]
    Changed,
    /// Nothing was done; this is what would have been.
    #[error("Nothing was done: it was only tried out")]
    Planned(Effect),
    /// The database failed: our fault, and none of the reader's business.
    #[error("The map can't be read or changed at the moment. Try again shortly")]
    Store(#[from] StoreError),
    /// The map was never opened: whoever catches this makes its root and tries again.
    #[error("No map found")]
    Unopened,
}

/// When something happens, by whose hand, and which ids a new tile and the change get; decided outside the transaction, which may run
/// more than once.
#[derive(Clone, Debug)]
struct Stamp {
    now_us: i64,
    id: String,
    change: String,
    actor: Actor,
}

/// Whose hand it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Actor {
    /// An agent's, in its user's name: what it changes is marked until they have looked at it.
    #[default]
    Agent,
    /// The user's own.
    Person,
}

impl Actor {
    /// The word in the table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Person => "person",
        }
    }
}

/// What a move changed.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The tile that was moved.
    pub tile_id: String,
    /// The changed tiles, the moved one first; at most [`MOVED_LISTED_MAX`].
    pub tiles: Vec<Tile>,
    /// How many tiles changed their place.
    pub count: u64,
}

/// The maps of all users.
#[derive(Clone)]
pub struct Maps {
    store: Store,
    clock: Arc<dyn Clock>,
    actor: Actor,
    limits: Limits,
    /// What the next change is called; otherwise it gets a name of its own.
    change: Option<Arc<str>>,
    /// How the next change is made.
    manner: Manner,
}

impl Maps {
    /// The store must have been opened with [`crate::SCHEMA`].
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, actor: Actor::default(), limits: Limits::default(), change: None, manner: Manner::Do }
    }

    /// The same for somebody's hand, within the limits of their tier.
    #[must_use]
    pub fn serving(&self, actor: Actor, limits: Limits) -> Self {
        Self { actor, limits, ..self.clone() }
    }

    /// How much their owner may keep.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The same maps for one call, whose change is called like it, so that [`Maps::undo`] finds it by this name. A second change
    /// under the same name is refused.
    #[must_use]
    pub fn in_call(&self, call: &str) -> Self {
        Self { change: Some(call.into()), ..self.clone() }
    }

    /// The tile at a place.
    ///
    /// # Errors
    /// [`MapError::NotFound`], [`MapError::Store`].
    pub async fn tile(&self, coord: &Coord) -> Result<Tile, MapError> {
        let wanted = coord.clone();
        self.read(&coord.user, move |tx| read::tile(tx, &wanted)).await
    }

    /// The tile with an id.
    ///
    /// # Errors
    /// [`MapError::NoSuchId`], [`MapError::Store`].
    pub async fn tile_by_id(&self, user: &str, id: &str) -> Result<Tile, MapError> {
        let (owner, id) = (user.to_owned(), id.to_owned());
        self.read(user, move |tx| read::tile_by_id(tx, &owner, &id)).await
    }

    /// The tile at a place with what lies below it, each tile followed by all those below it.
    ///
    /// # Errors
    /// [`MapError::NotFound`], [`MapError::TooLarge`], [`MapError::Store`].
    pub async fn subtree(&self, coord: &Coord, extent: Extent) -> Result<Vec<Tile>, MapError> {
        let wanted = coord.clone();
        self.read(&coord.user, move |tx| read::subtree(tx, &wanted, extent)).await
    }

    /// How many tiles lie on each of the levels below a tile, down to the first empty one; none is counted further than `most`.
    ///
    /// # Errors
    /// [`MapError::Store`].
    pub async fn count_levels(&self, coord: &Coord, depth: usize, most: i64) -> Result<Vec<i64>, MapError> {
        let wanted = coord.clone();
        self.read(&coord.user, move |tx| read::count_levels(tx, &wanted, depth, most)).await
    }

    /// Creates a tile at a free place below an existing one.
    ///
    /// # Errors
    /// [`MapError`] saying what stands in the way.
    pub async fn create_tile(&self, coord: &Coord, tile: NewTile) -> Result<Tile, MapError> {
        tile.check().map_err(MapError::Invalid)?;
        check_place(&coord.path, "created").map_err(MapError::Invalid)?;
        let touched = Touched::Create(coord.clone(), tile.title.clone());
        let (wanted, stamp) = (coord.clone(), self.stamp());
        self.change(touched, move |tx: &mut dyn Tx| change::create(tx, &wanted, &tile, &stamp)).await
    }

    /// Changes some of a tile's fields.
    ///
    /// # Errors
    /// [`MapError`] saying what stands in the way.
    pub async fn update_tile(&self, coord: &Coord, update: TileUpdate) -> Result<Tile, MapError> {
        update.check().map_err(MapError::Invalid)?;
        let touched = Touched::Update(coord.clone(), update.clone());
        let (wanted, stamp) = (coord.clone(), self.stamp());
        self.change(touched, move |tx: &mut dyn Tx| change::update(tx, &wanted, &update, &stamp)).await
    }

    /// Deletes a tile with everything below it; returns how many tiles that were.
    ///
    /// # Errors
    /// [`MapError`] saying what stands in the way.
    pub async fn delete_tile(&self, coord: &Coord) -> Result<u64, MapError> {
        check_place(&coord.path, "deleted").map_err(MapError::Invalid)?;
        let (wanted, stamp) = (coord.clone(), self.stamp());
        self.change(Touched::Delete(coord.clone()), move |tx| change::delete(tx, &wanted, &stamp)).await
    }

    /// Moves a tile with everything below it; what lies at the new place goes to the old one.
    ///
    /// # Errors
    /// [`MapError`] saying what stands in the way.
    pub async fn move_tile(&self, from: &Coord, to: &Coord) -> Result<Moved, MapError> {
        relocate::check(from, to)?;
        let (old, new, stamp) = (from.clone(), to.clone(), self.stamp());
        let work = move |tx: &mut dyn Tx| relocate::relocate(tx, &old, &new, &stamp);
        self.change(Touched::Move(from.clone(), to.clone()), work).await
    }

    /// Undoes a change of this user's exactly, or nothing of it; returns how many tiles are as they were. Undoing the undo does it
    /// again.
    ///
    /// # Errors
    /// [`MapError::Conflict`] with what stands in the way, [`MapError::NoChange`], [`MapError::Store`].
    pub async fn undo(&self, user: &str, change: &str) -> Result<u64, MapError> {
        let (owner, change, stamp) = (user.to_owned(), change.to_owned(), self.stamp());
        self.write(user, move |tx| undo::undo(tx, &owner, &change, &stamp)).await
    }

    fn stamp(&self) -> Stamp {
        let now_us = self.clock.now().0;
        let (secs, micros) = (now_us.div_euclid(1_000_000), now_us.rem_euclid(1_000_000));
        let nanos = u32::try_from(micros.saturating_mul(1_000)).unwrap_or_default();
        let moment = uuid::Timestamp::from_unix(uuid::NoContext, u64::try_from(secs).unwrap_or_default(), nanos);
        let fresh = || uuid::Uuid::new_v7(moment).to_string();
        let change = self.change.as_deref().map_or_else(fresh, str::to_owned);
        Stamp { now_us, id: fresh(), change, actor: self.actor }
    }

    /// Reads; a user without a map gets one first.
    async fn read<T, F>(&self, user: &str, work: F) -> Result<T, MapError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, MapError> + Clone + Send + Sync + 'static,
    {
        match self.store.read(work.clone()).await {
            Err(MapError::Unopened) => {}
            done => return done,
        }
        let (root, stamp) = (own_root(user)?, self.stamp());
        self.store.write(move |tx| change::open(tx, &root, &stamp)).await?;
        self.store.read(work).await
    }

    /// Writes, in a map that is there, and tells whoever shows it that it changed.
    async fn write<T, F>(&self, user: &str, work: F) -> Result<T, MapError>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Tx) -> Result<T, MapError> + Send + Sync + 'static,
    {
        // What can't be tried out, or compared with what was expected, is not done either.
        if !matches!(self.manner, Manner::Do) {
            return Err(MapError::Changed);
        }
        let (root, stamp, limits) = (own_root(user)?, self.stamp(), self.limits);
        let opened_then = move |tx: &mut dyn Tx| -> Result<T, MapError> {
            change::open(tx, &root, &stamp)?;
            // Invariant: whatever the work was, nobody has more than they may afterwards, and only who got more is refused.
            let before = limits::usage(tx, &root.user)?;
            let done = work(tx)?;
            limits.allow(&before, &limits::usage(tx, &root.user)?)?;
            versions::trim(tx, &root.user, limits.version_bytes_max)?;
            Ok(done)
        };
        let done = self.store.write(opened_then).await?;
        self.store.announce(Change::App { user: user.to_owned(), app: crate::APP.to_owned() });
        Ok(done)
    }
}

/// The root of the map everybody has.
///
/// # Errors
/// [`MapError::Invalid`] when the id can't stand in a coordinate.
pub fn own_root(user: &str) -> Result<Coord, MapError> {
    Coord::new(user, OWN_GROUP, Path::root()).map_err(|error| MapError::Invalid(error.to_string()))
}
