//! Every migration exists for both engines, under the same number and name, without a gap.

use crate::tree::Tree;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// The names of one set of migrations, by engine.
type Set<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

const ENGINES: [&str; 2] = ["sqlite", "postgres"];

pub fn run(tree: &Tree) -> Result<Vec<String>> {
    let mut sets: BTreeMap<&str, Set<'_>> = BTreeMap::new();
    let mut faults = Vec::new();
    for file in tree.files() {
        let Some((set, inside)) = file.path.split_once("migrations/") else { continue };
        match inside.split_once('/') {
            Some((engine, name)) if ENGINES.contains(&engine) => {
                sets.entry(set).or_default().entry(engine).or_default().insert(name);
            }
            _ => faults.push(format!("{}: a migration stands in migrations/sqlite/ or migrations/postgres/", file.path)),
        }
    }
    for (set, engines) in &sets {
        check_set(set, engines, &mut faults);
    }
    Ok(faults)
}

fn check_set(set: &str, engines: &Set<'_>, faults: &mut Vec<String>) {
    let none = BTreeSet::new();
    let all: BTreeSet<&str> = engines.values().flatten().copied().collect();
    for engine in ENGINES {
        let have = engines.get(engine).unwrap_or(&none);
        let missing = all.difference(have);
        faults.extend(
            missing.map(|name| format!("{set}migrations/{engine}/{name} is missing: every migration exists for both engines")),
        );
    }
    for (at, name) in all.iter().enumerate() {
        let expected = format!("{:04}_", at + 1);
        let plain = name.strip_suffix(".sql").and_then(|stem| stem.strip_prefix(&expected));
        if !plain.is_some_and(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')) {
            faults
                .push(format!("{set}migrations: `{name}` should be {expected}some_name.sql: numbers have no gap and no double"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(paths: &[&str]) -> Vec<String> {
        let files: Vec<(&str, &str)> = paths.iter().map(|path| (*path, "SELECT 1")).collect();
        run(&Tree::of(&files)).expect("it only looks")
    }

    #[test]
    fn both_engines_have_the_same_migrations() {
        assert_eq!(faults(&["migrations/sqlite/0001_core.sql", "migrations/postgres/0001_core.sql"]), Vec::<String>::new());
        assert_eq!(faults(&["migrations/sqlite/0001_core.sql"]).len(), 1);
        assert_eq!(faults(&["apps/a/migrations/postgres/0001_core.sql"]).len(), 1, "an app's too");
        let renamed = faults(&["migrations/sqlite/0001_core.sql", "migrations/postgres/0001_kern.sql"]);
        assert!(renamed.len() >= 2, "{renamed:?}");
        assert_eq!(faults(&["migrations/mysql/0001_core.sql"]).len(), 1);
    }

    #[test]
    fn numbers_have_no_gap() {
        let gap = [
            "migrations/sqlite/0001_a.sql",
            "migrations/postgres/0001_a.sql",
            "migrations/sqlite/0003_b.sql",
            "migrations/postgres/0003_b.sql",
        ];
        assert_eq!(faults(&gap).len(), 1);
        assert_eq!(faults(&["migrations/sqlite/1_a.sql", "migrations/postgres/1_a.sql"]).len(), 1);
    }
}
