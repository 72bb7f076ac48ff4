//! Everything that is wrong with a configuration, at once.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, variable or file.
    pub place: String,
    /// What is wrong and what to do.
    pub text: String,
    /// The file with line and column, or the layer of the environment, where it stands anywhere.
    pub at: Option<String>,
}

/// All that is wrong.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// A single fault.
    pub fn one(place: &str, text: String) -> Self {
        Self(vec![Fault { place: place.to_owned(), text, at: None }])
    }

    /// Adds one.
    pub fn add(&mut self, place: &str, text: &str) {
        self.0.push(Fault { place: place.to_owned(), text: text.to_owned(), at: None });
    }

    /// Whether nothing is wrong.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Self(faults.into_iter().collect())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.at.as_deref().unwrap_or_default(), &self.place, &self.text];
        let said: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        f.write_str(&said.join(": "))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}
