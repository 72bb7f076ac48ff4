//! Where a tile lies. A map is a tree of hexagons: each tile has a centre (direction 0), six neighbours around it (1 to 6)
//! and six context tiles inside it (-1 to -6), so a position is the path of directions from the root.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

/// Steps from the root to the deepest tile there may be.
pub const DEPTH_MAX: usize = 50;
/// Bytes of a path's text, as the column has always been.
pub const PATH_BYTES_MAX: usize = 255;
/// Bytes of a user id inside a coordinate.
pub const USER_BYTES_MAX: usize = 128;

/// Why a position can't exist. The text is for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordError {
    /// A step that is no direction.
    #[error(
        "{0} is not a direction. Use 1 to 6 for north-west, north-east, east, south-east, south-west and west, 0 for the centre, -1 to -6 for context tiles"
    )]
    Direction(i64),
    /// More steps than a map is deep.
    #[error("the path has {0} steps; a map is at most {DEPTH_MAX} deep and a path at most {PATH_BYTES_MAX} characters")]
    TooDeep(usize),
    /// The user part is empty, too long or holds something else than letters, digits, `-` and `_`.
    #[error("the userId is not valid. Call getCurrentUser to learn yours")]
    User,
    /// Not of the form `user,group:1,2`.
    #[error("{0:?} is not a coordinate. Write userId,groupId for the root and userId,groupId:1,2 for a tile below it")]
    Form(String),
}

/// The directions from the root to a tile. The root's own path is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Vec<i8>);

impl Path {
    /// The root.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Invariant: every `Path` came through here or through [`Path::parse`], so each is within the limits.
    ///
    /// # Errors
    /// When a step is no direction or there are too many.
    pub fn new(steps: &[i64]) -> Result<Self, CoordError> {
        if steps.len() > DEPTH_MAX {
            return Err(CoordError::TooDeep(steps.len()));
        }
        let direction = |step: &i64| match i8::try_from(*step) {
            Ok(direction @ -6..=6) => Ok(direction),
            Ok(_) | Err(_) => Err(CoordError::Direction(*step)),
        };
        let path = Self(steps.iter().map(direction).collect::<Result<_, _>>()?);
        if path.text_bytes() > PATH_BYTES_MAX {
            return Err(CoordError::TooDeep(steps.len()));
        }
        Ok(path)
    }

    /// Bytes of its text.
    fn text_bytes(&self) -> usize {
        let steps: usize = self.0.iter().map(|step| if *step < 0 { 2 } else { 1 }).sum();
        steps.saturating_add(self.0.len().saturating_sub(1))
    }

    /// Reads `1,-3,2`; the empty text is the root.
    ///
    /// # Errors
    /// As [`Path::new`], and when a step is not a number written the one way this writes it.
    pub fn parse(text: &str) -> Result<Self, CoordError> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        let wrong = || CoordError::Form(text.chars().take(PATH_BYTES_MAX).collect());
        let steps: Vec<i64> =
            text.split(',').take(DEPTH_MAX + 1).map(|step| step.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        let path = Self::new(&steps)?;
        // No step can be written shorter than this writes it, nor in another way as short.
        if path.text_bytes() == text.len() { Ok(path) } else { Err(wrong()) }
    }

    /// The steps, from the root down.
    #[must_use]
    pub fn steps(&self) -> &[i8] {
        &self.0
    }

    /// How many steps below the root; the root has depth 0.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// One step up; the root has no parent.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, above)| Self(above.to_vec()))
    }

    /// Every tile above this one, the root first.
    #[must_use]
    pub fn ancestors(&self) -> Vec<Self> {
        (0..self.0.len()).filter_map(|depth| self.0.get(..depth).map(|steps| Self(steps.to_vec()))).collect()
    }

    /// Whether this lies somewhere below `other`. A tile is not below itself.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.len() > other.0.len() && self.0.starts_with(&other.0)
    }

    /// The order of a tree: each tile is followed by all those below it, and those around one tile are ordered as their texts are.
    #[must_use]
    pub fn in_tree(&self, other: &Self) -> Ordering {
        let place = |step: &i8| if *step < 0 { step.saturating_neg() } else { step.saturating_add(7) };
        self.0.iter().map(place).cmp(other.0.iter().map(place))
    }

    /// The other places of the same kind around the same parent: context places for a context tile, the six outer places for
    /// any other. The root has none.
    #[must_use]
    pub fn siblings(&self) -> Vec<Self> {
        let Some((last, above)) = self.0.split_last() else { return Vec::new() };
        let inside = self.0.iter().any(|step| *step < 0);
        let ring = (1..=6).map(|step| if inside { -step } else { step });
        ring.filter(|step| step != last).map(|step| Self::below(above, step)).collect()
    }

    /// The places that share an edge with this one around the same parent: two for an outer place, six for the centre.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Self> {
        let Some((last, above)) = self.0.split_last() else { return Vec::new() };
        let beside: Vec<i8> = match *last {
            0 => (1..=6).collect(),
            step => {
                let (sign, place) = (step.signum(), step.abs());
                vec![sign * (place % 6 + 1), sign * ((place + 4) % 6 + 1)]
            }
        };
        beside.into_iter().map(|step| Self::below(above, step)).collect()
    }

    /// The same place with `from` exchanged for `to` at its start; none when it does not lie at or below `from`.
    #[must_use]
    pub fn moved(&self, from: &Self, to: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(from.0.as_slice())?;
        Some(Self(to.0.iter().chain(rest).copied().collect()))
    }

    /// The texts of all paths below this one, as a range under byte order: `,` is followed by `-`, the digits and `:`.
    #[must_use]
    pub fn texts_below(&self) -> Range<String> {
        if self.is_root() {
            return "-".to_owned()..":".to_owned();
        }
        format!("{self},")..format!("{self}-")
    }

    fn below(above: &[i8], step: i8) -> Self {
        Self(above.iter().copied().chain([step]).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{step}")?;
        }
        Ok(())
    }
}

/// A tile's full address: whose map, which of their maps, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coord {
    /// The owner's id.
    pub user: String,
    /// Which of the owner's maps; 0 is the one everybody has.
    pub group: u32,
    /// Where in the map.
    pub path: Path,
}

impl Coord {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`CoordError::User`] when the user id could not stand in a coordinate.
    pub fn new(user: &str, group: u32, path: Path) -> Result<Self, CoordError> {
        if !is_user(user) {
            return Err(CoordError::User);
        }
        Ok(Self { user: user.to_owned(), group, path })
    }

    /// Reads `user,group` or `user,group:1,2`.
    ///
    /// # Errors
    /// [`CoordError`] saying what is wrong.
    pub fn parse(text: &str) -> Result<Self, CoordError> {
        let wrong = || CoordError::Form(text.chars().take(PATH_BYTES_MAX).collect());
        let (place, path) = match text.split_once(':') {
            Some((_, "")) => return Err(wrong()),
            Some((place, path)) => (place, Path::parse(path)?),
            None => (text, Path::root()),
        };
        let (user, group) = place.split_once(',').ok_or_else(wrong)?;
        let parsed: u32 = group.parse().map_err(|_| wrong())?;
        if parsed.to_string() != group {
            return Err(wrong());
        }
        Self::new(user, parsed, path)
    }

    /// The same map, another place.
    #[must_use]
    pub fn at(&self, path: Path) -> Self {
        Self { user: self.user.clone(), group: self.group, path }
    }
}

impl fmt::Display for Coord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.user, self.group)?;
        if self.path.is_root() { Ok(()) } else { write!(f, ":{}", self.path) }
    }
}

/// Whether a user id can stand in a coordinate (and in a style sheet's selector, where maps put it).
#[must_use]
pub fn is_user(user: &str) -> bool {
    (1..=USER_BYTES_MAX).contains(&user.len()) && user.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
