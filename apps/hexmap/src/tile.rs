//! What a tile holds, and what it may hold.

use crate::coord::{Coord, Path};
use serde_json::{Map, Value, json};

/// Characters of a title.
pub const TITLE_CHARS_MAX: usize = 200;
/// Characters of a tile's content.
pub const CONTENT_CHARS_MAX: usize = 20_000;
/// Characters of a preview.
pub const PREVIEW_CHARS_MAX: usize = 1_000;
/// Bytes of a link.
pub const LINK_BYTES_MAX: usize = 2_000;

/// What a tile is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ItemType {
    /// The root of a map; made by us alone.
    User,
    /// Groups others.
    Organizational,
    /// Knowledge; the default.
    #[default]
    Context,
    /// Something to be carried out.
    System,
}

impl ItemType {
    /// The word used on the wire and in the table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Organizational => "organizational",
            Self::Context => "context",
            Self::System => "system",
        }
    }

    /// The type a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::User, Self::Organizational, Self::Context, Self::System].into_iter().find(|kind| kind.word() == word)
    }
}

/// Who may be shown a tile. Nothing is shared yet, so this says only what may be: whoever reads a tile is its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Its owner alone; the default.
    #[default]
    Private,
    /// Whoever the owner shares the map with, once that exists.
    Public,
}

impl Visibility {
    /// The word used on the wire and in the table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
        }
    }

    /// What a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Private, Self::Public].into_iter().find(|known| known.word() == word)
    }
}

/// Which texts of a tile are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts {
    /// Its name.
    pub title: bool,
    /// Its text.
    pub content: bool,
    /// A short form of the content.
    pub preview: bool,
    /// An address.
    pub link: bool,
}

impl Texts {
    /// Each of them.
    pub const ALL: Self = Self { title: true, content: true, preview: true, link: true };
}

/// A tile as it lies in a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Stable, whatever happens to its place.
    pub id: String,
    /// Where it lies.
    pub coord: Coord,
    /// The tile above; the root has none.
    pub parent_id: Option<String>,
    /// What it is for.
    pub item_type: ItemType,
    /// Its name.
    pub title: String,
    /// Its text, often long; may be empty.
    pub content: String,
    /// A short form of the content.
    pub preview: Option<String>,
    /// An `http` or `https` address.
    pub link: Option<String>,
    /// 1 for a new tile, one more after each change of it or of its place.
    pub version: i64,
    /// Who may be shown it.
    pub visibility: Visibility,
    /// Whether an agent changed it and its owner has not looked at it since.
    pub unseen: bool,
}

impl Tile {
    /// The tile as the tools show it: those of its fields that are wanted.
    #[must_use]
    pub fn to_json(&self, wanted: impl Fn(&str) -> bool) -> Map<String, Value> {
        let mut shown = Map::new();
        let mut show = |name: &str, value: &dyn Fn() -> Value| {
            if wanted(name) {
                shown.insert(name.to_owned(), value());
            }
        };
        show("id", &|| json!(self.id));
        show("coordinates", &|| json!(self.coord.to_string()));
        show("depth", &|| json!(self.coord.path.depth()));
        show("title", &|| json!(self.title));
        show("content", &|| json!(self.content));
        show("preview", &|| json!(self.preview));
        show("link", &|| json!(self.link));
        show("parentId", &|| json!(self.parent_id));
        show("itemType", &|| json!(self.item_type.word()));
        show("ownerId", &|| json!(self.coord.user));
        show("originId", &|| Value::Null);
        show("visibility", &|| json!(self.visibility.word()));
        show("version", &|| json!(self.version));
        shown
    }
}

/// What someone wants a new tile to hold. [`NewTile::check`] says whether it may.
#[derive(Clone, Debug, Default)]
pub struct NewTile {
    /// Its name.
    pub title: String,
    /// Its text.
    pub content: String,
    /// A short form of the content.
    pub preview: Option<String>,
    /// An `http` or `https` address.
    pub link: Option<String>,
    /// What it is for.
    pub item_type: ItemType,
    /// Who may be shown it.
    pub visibility: Visibility,
}

impl NewTile {
    /// # Errors
    /// The sentence that says which limit it breaks.
    pub fn check(&self) -> Result<(), String> {
        check_title(&self.title)?;
        check_text("content", &self.content, CONTENT_CHARS_MAX)?;
        self.preview.as_ref().map_or(Ok(()), |preview| check_text("preview", preview, PREVIEW_CHARS_MAX))?;
        self.link.as_ref().map_or(Ok(()), |link| check_link(link))?;
        check_type(self.item_type)
    }
}

/// A partial change: what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct TileUpdate {
    /// A new name.
    pub title: Option<String>,
    /// A new text.
    pub content: Option<String>,
    /// A new preview, or `Some(None)` to have none.
    pub preview: Option<Option<String>>,
    /// A new link, or `Some(None)` to have none.
    pub link: Option<Option<String>>,
    /// Another type.
    pub item_type: Option<ItemType>,
    /// Another visibility.
    pub visibility: Option<Visibility>,
}

impl TileUpdate {
    /// # Errors
    /// As [`NewTile::check`]; also when nothing would change.
    pub fn check(&self) -> Result<(), String> {
        let fields = [self.title.is_some(), self.content.is_some(), self.preview.is_some(), self.link.is_some()];
        if !fields.contains(&true) && self.item_type.is_none() && self.visibility.is_none() {
            return Err("updates is empty. Give at least one of title, content, preview, url, itemType or visibility".to_owned());
        }
        self.title.as_deref().map_or(Ok(()), check_title)?;
        self.content.as_ref().map_or(Ok(()), |content| check_text("content", content, CONTENT_CHARS_MAX))?;
        self.preview.iter().flatten().try_for_each(|preview| check_text("preview", preview, PREVIEW_CHARS_MAX))?;
        self.link.iter().flatten().try_for_each(|link| check_link(link))?;
        self.item_type.map_or(Ok(()), check_type)
    }

    /// Writes the change into a tile.
    pub fn apply(&self, tile: &mut Tile) {
        if let Some(title) = &self.title {
            tile.title.clone_from(title);
        }
        if let Some(content) = &self.content {
            tile.content.clone_from(content);
        }
        if let Some(preview) = &self.preview {
            tile.preview.clone_from(preview);
        }
        if let Some(link) = &self.link {
            tile.link.clone_from(link);
        }
        tile.item_type = self.item_type.unwrap_or(tile.item_type);
        tile.visibility = self.visibility.unwrap_or(tile.visibility);
    }
}

/// Whether `path` is a place a user may fill: the root is made by us.
///
/// # Errors
/// The sentence that says why not.
pub fn check_place(path: &Path, what: &str) -> Result<(), String> {
    if path.is_root() { Err(format!("The root of a map can't be {what}. Choose a place below it")) } else { Ok(()) }
}

fn check_type(item_type: ItemType) -> Result<(), String> {
    if item_type == ItemType::User {
        return Err("itemType user is kept for the root of a map. Use organizational, context or system".to_owned());
    }
    Ok(())
}

fn check_title(title: &str) -> Result<(), String> {
    if title.trim().is_empty() {
        return Err("title is empty. Give the tile a name".to_owned());
    }
    if title.chars().any(char::is_control) {
        return Err("title holds a control character. Write it on one line, without tabs".to_owned());
    }
    within("title", title, TITLE_CHARS_MAX)
}

fn check_text(field: &str, text: &str, chars_max: usize) -> Result<(), String> {
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(format!("{field} holds a control character. Only line feeds and tabs are allowed"));
    }
    within(field, text, chars_max)
}

fn within(field: &str, text: &str, chars_max: usize) -> Result<(), String> {
    let chars = text.chars().count();
    if chars > chars_max {
        return Err(format!("{field} has {chars} characters; at most {chars_max} are allowed. Shorten it"));
    }
    Ok(())
}

/// Only web links: a link is shown to a person, who may click it.
fn check_link(link: &str) -> Result<(), String> {
    let wrong = || format!("url must be a complete http or https address of at most {LINK_BYTES_MAX} characters");
    if link.len() > LINK_BYTES_MAX || link.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(wrong());
    }
    // What browsers would mend (`https:/example.com`) is refused: the link is shown as it is written.
    let rest = ["https://", "http://"].into_iter().find_map(|scheme| link.strip_prefix(scheme)).ok_or_else(wrong)?;
    let url = url::Url::parse(link).map_err(|_| wrong())?;
    let plain = !rest.starts_with('/') && url.has_host() && url.username().is_empty() && url.password().is_none();
    if plain { Ok(()) } else { Err(wrong()) }
}
