//! A part of a map as a page draws it: a tile and as many whole levels below it as a page can hold, without contents. However large a
//! map is, a view is small; what lies deeper is reached by looking from a deeper tile.

use super::read::{self, level_below, level_key};
use super::{MapError, MapLine, Maps, Usage, atlas, attention, limits};
use crate::coord::{Coord, Path};
use crate::tile::{Texts, Tile};
use std::collections::HashMap;
use store::Tx;

/// Tiles of one view.
pub const VIEW_TILES_MAX: usize = 400;
/// Levels of one view.
const LEVELS_MAX: usize = 10;

store::statements! { VIEWS:
    /// 1 owner, 2 group, 3 and 4 range of the places of one level. How many tiles of it lie below each of the level above: a path
    /// without its last step is the path of the tile above.
    BELOW = "SELECT RTRIM(RTRIM(path, '-0123456'), ','), CAST(COUNT(*) AS BIGINT) FROM hexmap_tiles
             WHERE owner = ?1 AND group_id = ?2 AND place >= ?3 AND place < ?4 GROUP BY 1";
}

/// A part of a map.
#[derive(Clone, Debug)]
pub struct View {
    /// The tiles above, the root first.
    pub above: Vec<Tile>,
    /// The tile that is looked from, first, and those below it, ordered by path; contents are left out.
    pub tiles: Vec<Tile>,
    /// How many tiles lie directly below one of these and are not in the view, by the tile's path.
    pub hidden: HashMap<Path, i64>,
    /// How many tiles of the map an agent changed since its owner looked at them.
    pub unseen_count: i64,
    /// The first of those.
    pub unseen: Vec<Tile>,
    /// All maps of the owner.
    pub maps: Vec<MapLine>,
    /// What the owner has in all of them.
    pub usage: Usage,
}

impl Maps {
    /// The part of a map below a tile.
    ///
    /// # Errors
    /// [`MapError::NotFound`], [`MapError::Store`].
    pub async fn view(&self, top: &Coord) -> Result<View, MapError> {
        let wanted = top.clone();
        self.read(&top.user, move |tx| look(tx, &wanted)).await
    }
}

fn look(tx: &mut dyn Tx, top: &Coord) -> Result<View, MapError> {
    let mut first = read::tile(tx, top)?;
    first.content.clear();
    let (mut tiles, mut hidden) = (vec![first], HashMap::new());
    for level in 1..=LEVELS_MAX {
        let room = VIEW_TILES_MAX.saturating_sub(tiles.len());
        let limit = i64::try_from(room).unwrap_or(i64::MAX).saturating_add(1);
        let listed = level_below(tx, top, level, limit, Texts { content: false, ..Texts::ALL })?;
        let fits = listed.len() <= room;
        // The level right below the tile is at most 13 tiles, so a view is never empty.
        if !fits || level == LEVELS_MAX {
            if fits {
                tiles.extend(listed);
            }
            let cut = if fits { level + 1 } else { level };
            hidden = hidden_at(tx, top, cut)?;
            break;
        }
        if listed.is_empty() {
            break;
        }
        tiles.extend(listed);
    }
    tiles.sort_by(|one, other| one.coord.path.in_tree(&other.coord.path));
    read::link_parents(&mut tiles);
    let (unseen_count, unseen) = attention::unseen(tx, top)?;
    let maps = atlas::list(tx, &top.user)?;
    let usage = limits::usage(tx, &top.user)?;
    Ok(View { above: above(tx, top)?, tiles, hidden, unseen_count, unseen, maps, usage })
}

fn hidden_at(tx: &mut dyn Tx, top: &Coord, level: usize) -> Result<HashMap<Path, i64>, MapError> {
    let rows = tx.query(BELOW, &level_key(top, level))?;
    let hidden = |row: &store::Row| Ok((Path::parse(&row.text(0)?).ok(), row.int(1)?));
    let rows: Vec<(Option<Path>, i64)> = rows.iter().map(hidden).collect::<Result<_, store::StoreError>>()?;
    Ok(rows.into_iter().filter_map(|(path, count)| path.map(|path| (path, count))).collect())
}

fn above(tx: &mut dyn Tx, top: &Coord) -> Result<Vec<Tile>, MapError> {
    top.path.ancestors().into_iter().map(|path| read::tile(tx, &top.at(path))).collect()
}
