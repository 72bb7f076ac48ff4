//! Where in the arguments something stands, as people write it.

use std::fmt;

/// Characters of one name that are shown.
const NAME_CHARS_MAX: usize = 60;

/// A place, as a chain of steps from the top.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    above: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Top,
    Name(&'a str),
    Index(usize),
}

impl Place<'_> {
    pub(super) const TOP: Self = Self { above: None, step: Step::Top };

    pub(super) const fn name<'b>(&'b self, name: &'b str) -> Place<'b> {
        Place { above: Some(self), step: Step::Name(name) }
    }

    pub(super) const fn index(&self, index: usize) -> Place<'_> {
        Place { above: Some(self), step: Step::Index(index) }
    }

    fn is_top(&self) -> bool {
        matches!(self.step, Step::Top)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(above) = self.above else { return f.write_str("arguments") };
        match (self.step, above.is_top()) {
            (Step::Top, _) => f.write_str("arguments"),
            (Step::Index(index), _) => write!(f, "{above}[{index}]"),
            (Step::Name(name), true) => f.write_str(&shown(name)),
            (Step::Name(name), false) => write!(f, "{above}.{}", shown(name)),
        }
    }
}

/// A name without what can't be seen, of a length that can be read.
pub(super) fn shown(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(NAME_CHARS_MAX).collect()
}
