//! Reading what a model wrote as arguments. Models send coordinates as an object, as JSON text or as a coordinate id, and
//! numbers as text; all of that is understood, and nothing else.

use crate::coord::{Coord, CoordError, Path};
use crate::map::{MapError, OWN_GROUP, own_root};
use crate::tile::{ItemType, NewTile, Texts, TileUpdate, Visibility};
use serde_json::{Map, Value};

/// Steps below its top that a listing may show.
pub const LISTING_DEPTH_MAX: usize = 10;
/// The fields a caller may choose from.
pub const FIELDS: [&str; 10] =
    ["title", "content", "preview", "link", "id", "coordinates", "depth", "parentId", "itemType", "ownerId"];

/// The arguments of one call, read for one user.
pub struct Arguments<'a> {
    user: &'a str,
    object: Map<String, Value>,
}

/// Which fields of each tile an answer holds.
#[derive(Clone, Debug)]
pub enum Fields {
    /// Every field.
    All,
    /// These.
    Some(Vec<String>),
}

impl Fields {
    /// Whether a field is wanted.
    #[must_use]
    pub fn holds(&self, field: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(fields) => fields.iter().any(|wanted| wanted == field),
        }
    }

    /// The texts among them.
    #[must_use]
    pub fn texts(&self) -> Texts {
        let [title, content, preview, link] = ["title", "content", "preview", "link"].map(|text| self.holds(text));
        Texts { title, content, preview, link }
    }
}

fn invalid<T>(why: impl Into<String>) -> Result<T, MapError> {
    Err(MapError::Invalid(why.into()))
}

impl<'a> Arguments<'a> {
    /// Refuses arguments the tool doesn't have: a misspelt one would be silently ignored otherwise.
    ///
    /// # Errors
    /// [`MapError::Invalid`], here and below.
    pub fn new(user: &'a str, object: Map<String, Value>, known: &[&str]) -> Result<Self, MapError> {
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                let key: String = key.chars().take(60).collect();
                invalid(format!("There is no argument {key:?}. This tool takes: {}", known.join(", ")))
            }
            None => Ok(Self { user, object }),
        }
    }

    fn given(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A place in the caller's own map.
    ///
    /// # Errors
    /// [`MapError::NotFound`] for anybody else's map: what belongs to someone else does not exist.
    pub fn coord(&self, name: &str) -> Result<Coord, MapError> {
        let Some(value) = self.given(name) else {
            return invalid(format!("{name} is missing. Give userId, groupId and path"));
        };
        let coord = read_coord(name, value)?;
        if coord.user == self.user { Ok(coord) } else { Err(MapError::NotFound(coord.to_string())) }
    }

    /// The root of the map that `userId` and `groupId` name; the caller's own by default.
    ///
    /// # Errors
    /// As [`Self::coord`].
    pub fn root(&self) -> Result<Coord, MapError> {
        let group = self.given("groupId").map_or(Ok(OWN_GROUP), |group| read_group("groupId", group))?;
        let root = Coord { group, ..own_root(self.user)? };
        match self.given("userId").map(|user| read_user("userId", user)).transpose()? {
            Some(user) if user != self.user => Err(MapError::NotFound(Coord { user, ..root }.to_string())),
            Some(_) | None => Ok(root),
        }
    }

    /// How many steps down to show.
    ///
    /// # Errors
    /// [`MapError::Invalid`].
    pub fn depth(&self, default: usize) -> Result<usize, MapError> {
        let Some(value) = self.given("depth") else { return Ok(default) };
        match read_integer(value).and_then(|depth| usize::try_from(depth).ok()) {
            Some(depth @ 1..=LISTING_DEPTH_MAX) => Ok(depth),
            Some(_) | None => invalid(format!("depth must be a whole number from 1 to {LISTING_DEPTH_MAX}")),
        }
    }

    /// Which fields to show.
    ///
    /// # Errors
    /// [`MapError::Invalid`].
    pub fn fields(&self) -> Result<Fields, MapError> {
        let wrong = || MapError::Invalid(format!("fields must be a list of: {}", FIELDS.join(", ")));
        let Some(value) = self.given("fields") else { return Ok(Fields::All) };
        let value = unquoted(value).ok_or_else(wrong)?;
        let wanted = value.as_array().ok_or_else(wrong)?;
        let known = |field: &Value| field.as_str().filter(|field| FIELDS.contains(field)).map(str::to_owned);
        let fields: Option<Vec<String>> = wanted.iter().take(FIELDS.len() + 1).map(known).collect();
        match fields.ok_or_else(wrong)? {
            fields if fields.is_empty() => Ok(Fields::All),
            fields if fields.len() > FIELDS.len() => Err(wrong()),
            fields => Ok(Fields::Some(fields)),
        }
    }

    /// A tile's id.
    ///
    /// # Errors
    /// [`MapError::Invalid`].
    pub fn id(&self, name: &str) -> Result<Option<String>, MapError> {
        match self.given(name) {
            None => Ok(None),
            Some(Value::String(id)) => Ok(Some(id.clone())),
            Some(_) => invalid(format!("{name} must be a tile's id, as text")),
        }
    }

    /// A text that has to be there.
    ///
    /// # Errors
    /// [`MapError::Invalid`].
    pub fn text(&self, name: &str) -> Result<String, MapError> {
        self.given(name).map_or_else(|| invalid(format!("{name} is missing")), |value| text(name, value))
    }

    /// A text that may be left out.
    ///
    /// # Errors
    /// [`MapError::Invalid`].
    pub fn optional_text(&self, name: &str) -> Result<Option<String>, MapError> {
        self.given(name).map(|value| text(name, value)).transpose()
    }

    /// A whole number that has to be there.
    ///
    /// # Errors
    /// [`MapError::Invalid`].
    pub fn number(&self, name: &str) -> Result<i64, MapError> {
        let number = self.given(name).and_then(read_integer);
        number.map_or_else(|| invalid(format!("{name} must be a whole number")), Ok)
    }

    /// A place in the caller's own maps that may be left out.
    ///
    /// # Errors
    /// As [`Arguments::coord`].
    pub fn optional_coord(&self, name: &str) -> Result<Option<Coord>, MapError> {
        if self.given(name).is_none() { Ok(None) } else { self.coord(name).map(Some) }
    }

    /// The tile addItem describes.
    ///
    /// # Errors
    /// [`MapError::Invalid`].
    pub fn new_tile(&self) -> Result<NewTile, MapError> {
        let Some(title) = self.given("title") else { return invalid("title is missing. Give the tile a name") };
        Ok(NewTile {
            title: text("title", title)?,
            content: self.given("content").map_or(Ok(String::new()), |content| text("content", content))?,
            preview: self.given("preview").map(|preview| text("preview", preview)).transpose()?,
            link: self.given("url").map(|link| text("url", link)).transpose()?.filter(|link| !link.is_empty()),
            item_type: self.given("itemType").map_or(Ok(ItemType::Context), item_type)?,
            visibility: self.given("visibility").map_or(Ok(Visibility::Private), visibility)?,
        })
    }

    /// The change updateItem describes; `updates` may come as JSON text.
    ///
    /// # Errors
    /// [`MapError::Invalid`].
    pub fn update(&self) -> Result<TileUpdate, MapError> {
        const KNOWN: [&str; 6] = ["title", "content", "preview", "url", "visibility", "itemType"];
        let wrong = || MapError::Invalid(format!("updates must be an object with any of: {}", KNOWN.join(", ")));
        let updates = self.given("updates").and_then(unquoted).ok_or_else(wrong)?;
        let Value::Object(updates) = updates else { return Err(wrong()) };
        if !updates.keys().all(|key| KNOWN.contains(&key.as_str())) {
            return Err(wrong());
        }
        let removable = |name: &str| match updates.get(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => text(name, value).map(|text| Some(Some(text).filter(|text| !text.is_empty()))),
        };
        let kept = |name: &str| updates.get(name).filter(|value| !value.is_null());
        Ok(TileUpdate {
            title: kept("title").map(|title| text("title", title)).transpose()?,
            content: kept("content").map(|content| text("content", content)).transpose()?,
            preview: removable("preview")?,
            link: removable("url")?,
            item_type: kept("itemType").map(item_type).transpose()?,
            visibility: kept("visibility").map(visibility).transpose()?,
        })
    }
}

/// A value that may have been written as JSON text; one level only.
fn unquoted(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Some(other.clone()),
    }
}

fn read_coord(name: &str, value: &Value) -> Result<Coord, MapError> {
    let wrong = || MapError::Invalid(format!("{name} must hold userId (text), groupId (number) and path (a list of directions)"));
    if let Some(text) = value.as_str().filter(|text| !text.trim_start().starts_with('{')) {
        return Coord::parse(text).map_err(from_coord);
    }
    let Some(Value::Object(parts)) = unquoted(value) else { return Err(wrong()) };
    let part = |key: &str| parts.get(key).filter(|part| !part.is_null()).ok_or_else(wrong);
    let user = read_user(name, part("userId")?)?;
    let group = read_group(name, part("groupId")?)?;
    let steps = unquoted(part("path")?).ok_or_else(wrong)?;
    let steps: Option<Vec<i64>> = steps.as_array().ok_or_else(wrong)?.iter().map(read_integer).collect();
    let path = Path::new(&steps.ok_or_else(wrong)?).map_err(from_coord)?;
    Coord::new(&user, group, path).map_err(from_coord)
}

fn from_coord(error: CoordError) -> MapError {
    MapError::Invalid(error.to_string())
}

fn read_user(name: &str, value: &Value) -> Result<String, MapError> {
    let user = match value {
        Value::String(user) => user.clone(),
        Value::Number(user) => user.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    if crate::coord::is_user(&user) { Ok(user) } else { invalid(format!("{name}: {}", CoordError::User)) }
}

fn read_group(name: &str, value: &Value) -> Result<u32, MapError> {
    let group = read_integer(value).and_then(|group| u32::try_from(group).ok());
    group.map_or_else(|| invalid(format!("{name}: the groupId must be a whole number, 0 for your own map")), Ok)
}

fn read_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn text(name: &str, value: &Value) -> Result<String, MapError> {
    value.as_str().map_or_else(|| invalid(format!("{name} must be text")), |text| Ok(text.to_owned()))
}

fn item_type(value: &Value) -> Result<ItemType, MapError> {
    let known = value.as_str().and_then(ItemType::from_word);
    known.map_or_else(|| invalid("itemType must be organizational, context or system"), Ok)
}

fn visibility(value: &Value) -> Result<Visibility, MapError> {
    let known = value.as_str().and_then(Visibility::from_word);
    known.map_or_else(|| invalid("visibility must be private or public"), Ok)
}
