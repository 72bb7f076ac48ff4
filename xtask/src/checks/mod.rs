//! The checks, one file each. A check returns faults as sentences that name the file and say what to do.

pub mod denials;
mod edges;
mod hygiene;
mod layers;
mod manifests;
mod migrations;
mod requirements;
mod sizes;
mod words;

use crate::tree::Tree;
use anyhow::Result;

/// One check.
pub struct Check {
    /// Its name in messages and in CONTRIBUTING.md.
    pub name: &'static str,
    /// The faults it finds; an error means that it could not look.
    pub run: fn(&Tree) -> Result<Vec<String>>,
}

/// Every check, in the order they are run.
pub const ALL: &[Check] = &[
    Check { name: "edges", run: edges::run },
    Check { name: "words", run: words::run },
    Check { name: "migrations", run: migrations::run },
    Check { name: "sizes", run: sizes::run },
    Check { name: "hygiene", run: hygiene::run },
    Check { name: "denials", run: denials::run },
    Check { name: "requirements", run: requirements::run },
    Check { name: "layers", run: layers::run },
    Check { name: "manifests", run: manifests::run },
];
