//! Everything that is wrong with a configuration, at once.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, variable or file.
    pub place: String,
    /// What is wrong and what to do.
    pub text: String,
}

/// All that is wrong.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// A single fault.
    pub fn one(place: &str, text: String) -> Self {
        Self(vec![Fault { place: place.to_owned(), text }])
    }

    /// Adds one.
    pub fn add(&mut self, place: &str, text: &str) {
        self.0.push(Fault { place: place.to_owned(), text: text.to_owned() });
    }

    /// Whether nothing is wrong.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {}: {}", fault.place, fault.text))
    }
}

impl std::error::Error for Faults {}
