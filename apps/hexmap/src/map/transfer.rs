//! A map as a document: written out page by page, read in as a whole or not at all.
//!
//! The format is our own and has a version. A document is checked completely before anything is touched; what it then changes is one
//! transaction.

use super::read::{self, id_at, key};
use super::record::{self, Kind, New, Side};
use super::sealed::{self, key_for, key_of, open, open_opt};
use super::{MapError, Maps, Stamp, attention, change, limits};
use crate::coord::{Coord, DEPTH_MAX, PATH_BYTES_MAX, Path};
use crate::tile::{ItemType, NewTile, TileUpdate, Visibility};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use store::{Tx, UserKey, Value};

/// Bytes of a document.
pub const DOCUMENT_BYTES_MAX: usize = 24 << 20;
/// The word by which a document says what it is.
const FORMAT: &str = "hexward.map";
/// The version that is written, and the newest that is read.
const FORMAT_VERSION: i64 = 1;
/// Bytes of texts on one page of an export, roughly.
const PAGE_BYTES: usize = 512 << 10;
/// Tiles read at once.
const READ_AT_ONCE: i64 = 256;
/// Rows of one [`INSERT_MANY`].
const INSERTED_AT_ONCE: usize = 8;

store::statements! { TRANSFER:
    /// 1 owner, 2 group, 3 the last path of the page before, 4 the end of the paths, 5 how many.
    PAGE = "SELECT path, item_type, title, content, preview, link, visibility, id FROM hexmap_tiles
            WHERE owner = ?1 AND group_id = ?2 AND path > ?3 AND path < ?4 ORDER BY path LIMIT ?5";
    /// 1 owner, 2 group.
    REVISION = "SELECT revision FROM hexmap_maps WHERE owner = ?1 AND group_id = ?2";
    /// 1 owner, 2 group.
    CLEAR = "DELETE FROM hexmap_tiles WHERE owner = ?1 AND group_id = ?2 AND path <> ''";
    /// 1 owner, 2 group, 3 path, 4 id, 5 type, 6 title, 7 content, 8 preview, 9 link, 10 visibility, 11 now.
    INSERT_ONE = "INSERT INTO hexmap_tiles (owner, group_id, path, id, item_type, title, content, preview, link, visibility, version,
                  created_at, updated_at, written_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11, ?11, 'person')";
    /// 1 owner, 2 group, 3 now; then eight for each tile as in [`INSERT_ONE`].
    INSERT_MANY = "INSERT INTO hexmap_tiles (owner, group_id, path, id, item_type, title, content, preview, link, visibility, version,
                   created_at, updated_at, written_by) VALUES
                   (?1, ?2, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 1, ?3, ?3, 'person'),
                   (?1, ?2, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, 1, ?3, ?3, 'person'),
                   (?1, ?2, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, 1, ?3, ?3, 'person'),
                   (?1, ?2, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, 1, ?3, ?3, 'person'),
                   (?1, ?2, ?36, ?37, ?38, ?39, ?40, ?41, ?42, ?43, 1, ?3, ?3, 'person'),
                   (?1, ?2, ?44, ?45, ?46, ?47, ?48, ?49, ?50, ?51, 1, ?3, ?3, 'person'),
                   (?1, ?2, ?52, ?53, ?54, ?55, ?56, ?57, ?58, ?59, 1, ?3, ?3, 'person'),
                   (?1, ?2, ?60, ?61, ?62, ?63, ?64, ?65, ?66, ?67, 1, ?3, ?3, 'person')";
}

/// A whole document. Every key is known, or it is no document of ours.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    version: i64,
    tiles: Vec<WrittenTile>,
}

/// One tile of it; what is usual is left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenTile {
    path: Vec<i64>,
    title: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preview: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(default = "usual_type", skip_serializing_if = "is_usual_type", rename = "type")]
    item_type: String,
    #[serde(default = "usual_visibility", skip_serializing_if = "is_usual_visibility")]
    visibility: String,
}

fn usual_type() -> String {
    ItemType::default().word().to_owned()
}

fn is_usual_type(word: &str) -> bool {
    word == ItemType::default().word()
}

fn usual_visibility() -> String {
    Visibility::default().word().to_owned()
}

fn is_usual_visibility(word: &str) -> bool {
    word == Visibility::default().word()
}

/// A document that was checked: its tiles by path, complete from the root down.
#[derive(Clone, Debug)]
pub struct Document {
    root: NewTile,
    /// Without the root. Ordered, so that each tile comes after the one above it.
    tiles: BTreeMap<Path, NewTile>,
}

/// One page of an export.
#[derive(Clone, Debug, Serialize)]
pub struct ExportPage {
    /// What the document says of itself.
    format: &'static str,
    version: i64,
    /// Changes with every change of the map: pages of two revisions do not belong together.
    pub revision: i64,
    /// The tiles of this page, their paths counted from the tile that is exported.
    pub tiles: Vec<WrittenTile>,
    /// What the next page is asked for with; none on the last.
    pub next: Option<String>,
}

fn fault<T>(text: String) -> Result<T, MapError> {
    Err(MapError::Invalid(text))
}

impl Document {
    /// Reads a document and checks it as a whole. Nothing is looked up and nothing is changed.
    ///
    /// # Errors
    /// [`MapError::Invalid`] saying what is wrong, and where.
    pub fn read(text: &str) -> Result<Self, MapError> {
        if text.len() > DOCUMENT_BYTES_MAX {
            return fault(format!("The file has {} bytes; at most {DOCUMENT_BYTES_MAX} can be imported", text.len()));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let written: Written = serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
        if written.format != FORMAT {
            return fault(format!("The file is no map: its format must be {FORMAT:?}"));
        }
        if !(1..=FORMAT_VERSION).contains(&written.version) {
            return fault(format!(
                "The file has version {} of the format; this server reads up to {FORMAT_VERSION}",
                written.version
            ));
        }
        let mut tiles = BTreeMap::new();
        for (number, tile) in written.tiles.into_iter().enumerate() {
            let place = format!("tiles[{number}]");
            let (path, tile) = tile.check().map_err(|why| MapError::Invalid(format!("{place}: {why}")))?;
            if tiles.contains_key(&path) {
                return fault(format!("{place}: there is another tile at {:?} before it", path.steps()));
            }
            tiles.insert(path, tile);
        }
        let Some(root) = tiles.remove(&Path::root()) else {
            return fault("The file has no root: one tile must have the path []".to_owned());
        };
        let orphan = tiles.keys().find(|path| path.parent().is_none_or(|above| !above.is_root() && !tiles.contains_key(&above)));
        if let Some(path) = orphan {
            return fault(format!("The tile at {:?} has no tile above it in the file", path.steps()));
        }
        Ok(Self { root, tiles })
    }

    /// Tiles, the root included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tiles.len().saturating_add(1)
    }

    /// It never is: there is a root.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    fn bytes(&self) -> i64 {
        let of = |tile: &NewTile| {
            let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            tile.title.len() + tile.content.len() + optional(&tile.preview) + optional(&tile.link)
        };
        let bytes = self.tiles.values().map(of).sum::<usize>().saturating_add(of(&self.root));
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

/// What is wrong with a text that is no document, in words that help to find it.
fn unreadable(text: &str, error: &serde_json::Error) -> MapError {
    let place = format!("line {}, column {}", error.line(), error.column());
    MapError::Invalid(if text.trim().is_empty() {
        "The file is empty".to_owned()
    } else if error.is_eof() {
        format!("The file is cut: it ends at {place}, in the middle of something")
    } else if error.is_syntax() {
        format!("The file is no JSON: see {place}")
    } else {
        let why = error.to_string();
        format!("The file is no map that can be read: {}", why.chars().take(200).collect::<String>())
    })
}

impl WrittenTile {
    fn check(self) -> Result<(Path, NewTile), String> {
        let path = Path::new(&self.path).map_err(|error| error.to_string())?;
        let item_type = ItemType::from_word(&self.item_type).ok_or("type must be organizational, context or system")?;
        let visibility = Visibility::from_word(&self.visibility).ok_or("visibility must be private or public")?;
        // The root of a map is what it is; where it comes to lie below another tile it groups what is below it.
        let item_type = match (path.is_root(), item_type) {
            (true, ItemType::User) => ItemType::Organizational,
            (_, other) => other,
        };
        let Self { title, content, preview, link, .. } = self;
        let tile = NewTile { title, content, preview, link, item_type, visibility };
        tile.check()?;
        Ok((path, tile))
    }
}

impl Maps {
    /// One page of what lies at and below a tile. The first is asked for without `after`.
    ///
    /// # Errors
    /// [`MapError::NotFound`], [`MapError::Store`].
    pub async fn export_page(&self, top: &Coord, after: Option<&str>) -> Result<ExportPage, MapError> {
        let (top, after) = (top.clone(), after.map(str::to_owned));
        if let Some(after) = &after {
            let after = Path::parse(after).map_err(|error| MapError::Invalid(error.to_string()))?;
            if !after.is_below(&top.path) {
                return fault("after must be what the page before said is next".to_owned());
            }
        }
        let user = top.user.clone();
        self.read(&user, move |tx| page(tx, &top, after.as_deref())).await
    }

    /// Reads a document into a map: in place of all its tiles, or, with a free place, below the tile above that. Returns how many
    /// tiles it brought.
    ///
    /// # Errors
    /// [`MapError`] saying what stands in the way; then the map is as it was.
    pub async fn import(&self, target: &Coord, document: Document) -> Result<usize, MapError> {
        for path in document.tiles.keys() {
            let steps = target.path.depth().saturating_add(path.depth());
            let bytes = target.path.to_string().len().saturating_add(path.to_string().len()).saturating_add(1);
            if steps > DEPTH_MAX || bytes > PATH_BYTES_MAX {
                return fault(format!("There the map would be more than {DEPTH_MAX} steps deep. Import it nearer to the root"));
            }
        }
        // Before all the work of it; what counts is looked at again when everything is there.
        let brought =
            limits::Usage { tiles: i64::try_from(document.len()).unwrap_or(i64::MAX), bytes: document.bytes(), maps: 0 };
        self.limits.allow(&limits::Usage::default(), &brought)?;
        let count = document.len();
        let ids: Vec<String> = (0..count).map(|_| self.stamp().id).collect();
        let (target, stamp, user) = (target.clone(), self.stamp(), target.user.clone());
        self.write(&user, move |tx: &mut dyn Tx| bring(tx, &target, &document, &ids, &stamp)).await?;
        Ok(count)
    }
}

pub(super) fn page(tx: &mut dyn Tx, top: &Coord, after: Option<&str>) -> Result<ExportPage, MapError> {
    let [owner, group, path] = key(top);
    let first = read::tile(tx, top)?;
    let opening = key_of(tx, &top.user)?;
    let below = top.path.texts_below();
    let revision = tx.query_opt(REVISION, &[owner.clone(), group.clone()])?.map_or(Ok(0), |row| row.int(0))?;
    let (mut tiles, mut bytes, mut last) = (Vec::new(), 0, path);
    if let Some(after) = after {
        last = after.into();
    } else {
        let item_type = if first.item_type == ItemType::User { ItemType::Organizational } else { first.item_type };
        tiles.push(WrittenTile {
            path: Vec::new(),
            title: first.title,
            content: first.content,
            preview: first.preview,
            link: first.link,
            item_type: item_type.word().to_owned(),
            visibility: first.visibility.word().to_owned(),
        });
    }
    loop {
        let params = [owner.clone(), group.clone(), last.clone(), (&below.end).into(), Value::Int(READ_AT_ONCE)];
        let rows = tx.query(PAGE, &params)?;
        let Some(ending) = rows.last() else { break };
        let ended = i64::try_from(rows.len()).unwrap_or(i64::MAX) < READ_AT_ONCE;
        last = ending.text(0)?.into();
        for row in &rows {
            let tile = of_row(&opening, row, &top.path)?;
            bytes += 60 + tile.title.len() + tile.content.len() + tile.preview.as_ref().map_or(0, String::len);
            tiles.push(tile);
        }
        if ended {
            break;
        }
        if bytes >= PAGE_BYTES {
            let next = match last {
                Value::Text(path) => Some(path),
                Value::Null | Value::Int(_) | Value::Blob(_) => None,
            };
            return Ok(ExportPage { format: FORMAT, version: FORMAT_VERSION, revision, tiles, next });
        }
    }
    Ok(ExportPage { format: FORMAT, version: FORMAT_VERSION, revision, tiles, next: None })
}

fn of_row(key: &UserKey, row: &store::Row, top: &Path) -> Result<WrittenTile, MapError> {
    let broken = || store::StoreError::Statement("a tile in the database has no valid path".to_owned());
    let path = Path::parse(&row.text(0)?).map_err(|_| broken())?;
    let path = path.steps().get(top.depth()..).unwrap_or_default().iter().map(|step| i64::from(*step)).collect();
    let id = row.text(7)?;
    Ok(WrittenTile {
        path,
        item_type: row.text(1)?,
        title: open(key, "title", &id, &row.text(2)?)?,
        content: open(key, "content", &id, &row.text(3)?)?,
        preview: open_opt(key, "preview", &id, row.opt_text(4)?)?,
        link: open_opt(key, "link", &id, row.opt_text(5)?)?,
        visibility: row.text(6)?,
    })
}

/// The transaction of an import. It is kept like any change, so it can be undone: a map that is replaced as one whose tiles were all
/// deleted, with what came in their place as what has to be there still.
fn bring(tx: &mut dyn Tx, target: &Coord, document: &Document, ids: &[String], stamp: &Stamp) -> Result<(), MapError> {
    let now_us = stamp.now_us;
    let [owner, group, _] = key(target);
    let mut ids = ids.iter();
    let mut id = || ids.next().ok_or_else(|| MapError::Invalid("too few ids".to_owned()));
    let root = &document.root;
    let sealing = key_for(tx, &target.user, now_us)?;
    let (kind, parent_id) = if target.path.is_root() {
        if id_at(tx, target)?.is_none() {
            return Err(MapError::NotFound(target.to_string()));
        }
        let mut old = read::tile(tx, target)?;
        record::keep(tx, &stamp.change, target, Side::Before, record::tree(&target.path))?;
        tx.execute(CLEAR, &[owner.clone(), group.clone()])?;
        let update = TileUpdate {
            title: Some(root.title.clone()),
            content: Some(root.content.clone()),
            preview: Some(root.preview.clone()),
            link: Some(root.link.clone()),
            item_type: None,
            visibility: Some(root.visibility),
        };
        change::rewrite(tx, target, &mut old, &update, stamp)?;
        (Kind::Delete, None)
    } else {
        let above = target.path.parent().map(|path| target.at(path)).unwrap_or_else(|| target.clone());
        let parent_id = id_at(tx, &above)?.ok_or_else(|| MapError::NoParent(above.to_string()))?;
        if id_at(tx, target)?.is_some() {
            return Err(MapError::Occupied(target.to_string()));
        }
        let head = [owner.clone(), group.clone()];
        let row = fields(&sealing, target.path.to_string(), id()?, root)?;
        tx.execute(INSERT_ONE, &[head.as_slice(), &row, &[Value::Int(now_us)]].concat())?;
        (Kind::Create, Some(parent_id))
    };
    let rows: Vec<[Value; 8]> = document
        .tiles
        .iter()
        .map(|(path, tile)| fields(&sealing, below(&target.path, path), id()?, tile))
        .collect::<Result<_, MapError>>()?;
    for rows in rows.chunks(INSERTED_AT_ONCE) {
        if rows.len() == INSERTED_AT_ONCE {
            let head = [owner.clone(), group.clone(), Value::Int(now_us)];
            tx.execute(INSERT_MANY, &[head.as_slice(), &rows.concat()].concat())?;
        } else {
            for row in rows {
                let head = [owner.clone(), group.clone()];
                tx.execute(INSERT_ONE, &[head.as_slice(), row, &[Value::Int(now_us)]].concat())?;
            }
        }
    }
    attention::written(tx, target, stamp.actor)?;
    record::keep(tx, &stamp.change, target, Side::After, record::tree(&target.path))?;
    record::write(tx, target, &New::of(kind, target, parent_id.as_deref()), stamp)
}

fn below(top: &Path, path: &Path) -> String {
    if top.is_root() { path.to_string() } else { format!("{top},{path}") }
}

/// Path, id, type, title, content, preview, link, visibility.
fn fields(key: &UserKey, path: String, id: &str, tile: &NewTile) -> Result<[Value; 8], MapError> {
    let [title, content, preview, link] = sealed::fields(key, id, tile)?;
    Ok([path.into(), id.into(), tile.item_type.word().into(), title, content, preview, link, tile.visibility.word().into()])
}
