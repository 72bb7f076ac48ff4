//! What each key and each variable means: the reference that `hexward config reference` prints, and what a start says of the
//! environment. Which keys there are, and their types, is asked of the code ([`trace`]); that bounds and defaults are those that
//! hold is tried by the tests beside this.

use super::File;
use super::keys::KEYS;
use super::trace::{self, Part};
use std::fmt::Write as _;

pub(super) use super::keys::VARIABLES;

/// What is said of one key.
pub(super) struct Key {
    /// `egress[].host`, `map.tiers.NAME.maps_max`.
    pub(super) name: &'static str,
    /// As it would be written; empty where leaving it out is something of its own.
    pub(super) default: &'static str,
    pub(super) bounds: Bounds,
    /// One sentence.
    pub(super) text: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Its type says it.
    Type,
    /// From, to.
    Within(i64, i64),
    /// More than 0, at most 1,000,000.
    Dollars,
    /// In words.
    Said(&'static str),
}

/// What may be shown of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Plain,
    /// The beginning of its digest.
    Secret,
    /// But for its password.
    Address,
}

/// A name of the environment.
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) shown: Shown,
    /// What it does where it is set.
    pub(super) effect: &'static str,
}

/// What is said of a key.
pub(super) fn key_of(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The reference, as Markdown.
pub(crate) fn text() -> String {
    let mut text = HEAD.to_owned();
    let mut table = None;
    for known in trace::keys_of::<File>() {
        let name = trace::written(&known.path);
        let first = name.split(['.', '[']).next().unwrap_or_default().to_owned();
        if table.as_ref() != Some(&first) {
            let _ = writeln!(text, "\n## {first}\n\n| key | type | default | bounds | what it is |\n|---|---|---|---|---|");
            table = Some(first);
        }
        let Some(Key { default, bounds, text: what, .. }) = key_of(&name) else {
            let _ = writeln!(text, "| `{name}` | {} | | | |", known.kind);
            continue;
        };
        let is_needed = !known.optional && matches!(known.path.last(), Some(Part::Name(_)));
        let default = match (default.is_empty(), is_needed) {
            (true, true) => "needed".to_owned(),
            (true, false) => String::new(),
            (false, _) => format!("`{default}`"),
        };
        let _ = writeln!(text, "| `{name}` | {} | {default} | {} | {what} |", known.kind, bounds.said());
    }
    text.push_str("\n## Environment\n\n| variable | shown | what it does |\n|---|---|---|\n");
    for Variable { name, shown, effect } in VARIABLES {
        let shown = match shown {
            Shown::Plain => "as it is",
            Shown::Secret => "whether it is set",
            Shown::Address => "without its password",
        };
        let _ = writeln!(text, "| `{name}` | {shown} | {effect} |");
    }
    text
}

const HEAD: &str = "# Reference of the configuration

Written by `hexward config reference` from the types that read the file; a test compares this page with it. `[]` stands for the
entries of a list (`[[egress]]`), `NAME` for a name of your own. What belongs together is told in [configure.md](configure.md).
";

impl Bounds {
    fn said(self) -> String {
        match self {
            Self::Type => String::new(),
            Self::Within(from, to) => format!("{from} to {to}"),
            Self::Dollars => "more than 0, at most 1000000".to_owned(),
            Self::Said(text) => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;
    use crate::config::tests::loaded;

    /// `map.tiers.NAME.x` with a name that can stand there.
    fn concrete(name: &str) -> String {
        name.replace("budget.apps.NAME", "budget.apps.hexmap").replace("NAME", "free")
    }

    #[test]
    fn every_key_that_is_read_is_in_the_reference_and_no_other() {
        let read: Vec<_> = trace::keys_of::<File>().iter().map(|known| trace::written(&known.path)).collect();
        let missing: Vec<_> = read.iter().filter(|name| key_of(name).is_none()).collect();
        assert!(missing.is_empty(), "say in config/reference.rs what these are: {missing:?}");
        let gone: Vec<_> = KEYS.iter().filter(|key| !read.iter().any(|name| name == key.name)).map(|key| key.name).collect();
        assert!(gone.is_empty(), "nothing reads these any more: {gone:?}");
        assert!(KEYS.iter().all(|key| !key.text.is_empty()));
    }

    #[test]
    fn each_default_is_the_one_that_holds() {
        let usual = format!("{:?}", File::default());
        let mut tried = 0;
        for known in trace::keys_of::<File>() {
            let name = trace::written(&known.path);
            let Some(key) = key_of(&name).filter(|key| !key.default.is_empty() && !name.contains("[]")) else { continue };
            let source = Source::parse(&format!("{name} = {}", key.default), "t").unwrap_or_else(|faults| panic!("{faults}"));
            assert!(source.faults.is_empty(), "{name}: {}", source.faults);
            if !known.optional {
                assert_eq!(format!("{:?}", source.file), usual, "{name}");
                tried += 1;
            }
        }
        assert!(tried > 30, "{tried}");
        // Where leaving out is decided later, the number is looked up there.
        let (rules, map) = (policy::RateRules::default(), hexmap::map::Limits::default());
        for (name, value) in [
            ("model.calls_max", proxy::CALLS_MAX.to_string()),
            ("rates.tiers.anonymous.user_per_hour", rules.anonymous.user_per_hour.to_string()),
            ("rates.tiers.anonymous.together_per_minute", rules.anonymous.together_per_minute.to_string()),
            ("rates.tiers.anonymous.weight", rules.anonymous.weight.to_string()),
            ("rates.tiers.signed-in.user_per_hour", rules.signed_in.user_per_hour.to_string()),
            ("rates.tiers.signed-in.together_per_minute", rules.signed_in.together_per_minute.to_string()),
            ("rates.tiers.signed-in.weight", rules.signed_in.weight.to_string()),
            ("rates.behaviour.hasty", rules.behaviour.hasty.to_string()),
            ("rates.behaviour.suspicious", rules.behaviour.suspicious.to_string()),
            ("rates.behaviour.hostile", rules.behaviour.hostile.to_string()),
            ("map.tiles_max", map.tiles_max.to_string()),
            ("map.maps_max", map.maps_max.to_string()),
            ("map.text_mb_max", (map.bytes_max >> 20).to_string()),
            ("map.versions_mb_max", (map.version_bytes_max >> 20).to_string()),
        ] {
            assert_eq!(key_of(name).map(|key| key.default), Some(value.as_str()), "{name}");
        }
    }

    #[test]
    fn each_bound_is_the_one_that_holds() {
        let faulty = |name: &str, value: &str| {
            let text = loaded(&format!("{} = {value}", concrete(name)), &[]).err();
            text.is_some_and(|text| text.contains(&concrete(name)))
        };
        let mut tried = 0;
        for key in KEYS.iter().filter(|key| !key.name.contains("[]")) {
            let (good, bad) = match key.bounds {
                Bounds::Within(from, to) => ([from.to_string(), to.to_string()], [(from - 1).to_string(), (to + 1).to_string()]),
                Bounds::Dollars => (["0.000001".to_owned(), "1000000".to_owned()], ["0".to_owned(), "1000000.1".to_owned()]),
                Bounds::Type | Bounds::Said(_) => continue,
            };
            tried += 1;
            good.iter().for_each(|value| assert!(!faulty(key.name, value), "{} = {value}", key.name));
            bad.iter().for_each(|value| assert!(faulty(key.name, value), "{} = {value}", key.name));
        }
        assert!(tried > 35, "{tried}");
    }

    #[test]
    fn the_page_is_as_the_code_says() {
        let page = include_str!("../../../../docs/configuration-reference.md");
        assert!(page == text(), "docs/configuration-reference.md: write it anew with `hexward config reference`");
    }
}
