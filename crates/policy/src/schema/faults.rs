//! What a check finds: what does not fit, and what was looked at.

use super::place::Place;
use std::collections::BTreeSet;

/// Faults that are told.
pub(super) const FAULTS_MAX: usize = 6;
/// Characters of one fault.
const FAULT_CHARS_MAX: usize = 600;

#[derive(Default)]
pub(super) struct Faults {
    pub(super) texts: Vec<String>,
    pub(super) count: usize,
}

impl Faults {
    pub(super) fn add(&mut self, place: Place<'_>, what: &str) {
        self.count += 1;
        if self.texts.len() < FAULTS_MAX {
            self.texts.push(format!("{place}: {what}").chars().take(FAULT_CHARS_MAX).collect());
        }
    }
}

/// What of an object or a list was looked at: `unevaluated…` is about the rest.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) names: BTreeSet<String>,
    pub(super) items: BTreeSet<usize>,
    pub(super) all: bool,
}

impl Marks {
    pub(super) fn merge(&mut self, other: Self) {
        self.names.extend(other.names);
        self.items.extend(other.items);
        self.all |= other.all;
    }
}
