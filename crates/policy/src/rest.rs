//! Which agent goes first where there is no room for all that are at rest.

use serde::Deserialize;
use std::time::Duration;

/// Whose work an agent did last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Somebody with a session and no name.
    Anonymous,
    /// Somebody who signed in.
    SignedIn,
}

impl Standing {
    /// As configurations name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::SignedIn => "signed-in",
        }
    }
}

/// Of agents, each with whose it is and how long it has rested, the place of the one that goes first: those of people without
/// a name before all others, and of those the one that rested longest. None of none.
#[must_use]
pub fn first_to_go(at_rest: impl IntoIterator<Item = (Standing, Duration)>) -> Option<usize> {
    let places = at_rest.into_iter().enumerate();
    places.min_by_key(|(_, (standing, rested))| (*standing, std::cmp::Reverse(*rested))).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::Standing::{Anonymous, SignedIn};
    use super::*;

    #[test]
    fn people_without_a_name_give_way_before_those_with_one() {
        let go = |all: &[(Standing, u64)]| first_to_go(all.iter().map(|(who, secs)| (*who, Duration::from_secs(*secs))));
        assert_eq!(go(&[]), None);
        assert_eq!(go(&[(SignedIn, 5)]), Some(0));
        assert_eq!(go(&[(SignedIn, 500), (Anonymous, 1), (SignedIn, 900)]), Some(1), "however short it rested");
        assert_eq!(go(&[(Anonymous, 3), (SignedIn, 900), (Anonymous, 7), (Anonymous, 5)]), Some(2));
        assert_eq!(go(&[(SignedIn, 3), (SignedIn, 9)]), Some(1));
    }
}
