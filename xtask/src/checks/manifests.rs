//! Every crate stands under the workspace's licence and lints.

use crate::tree::{File, Tree};
use anyhow::{Context, Result};
use toml::{Table, Value};

/// The one crate that may hold unsafe code states its lints itself.
const OWN_LINTS: &str = "crates/jail/Cargo.toml";

pub fn run(tree: &Tree) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    if !tree.text_of("LICENSE").is_some_and(|text| text.contains("Apache License")) {
        faults.push("LICENSE with the Apache License, Version 2.0 is missing".to_owned());
    }
    for file in tree.files().iter().filter(|file| file.name() == "Cargo.toml") {
        let manifest: Table = file.text().unwrap_or_default().parse().with_context(|| file.path.clone())?;
        if manifest.contains_key("package") {
            faults.extend(faults_of(file, &manifest));
        }
    }
    Ok(faults)
}

fn faults_of(file: &File, manifest: &Table) -> Vec<String> {
    let inherits = |value: Option<&Value>| value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true);
    let mut faults = Vec::new();
    if !inherits(manifest.get("package").and_then(|package| package.get("license"))) {
        faults.push(format!("{} needs `license.workspace = true`", file.path));
    }
    if file.path != OWN_LINTS && !inherits(manifest.get("lints")) {
        faults.push(format!("{} needs `[lints] workspace = true`", file.path));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"a\"\nlicense.workspace = true\n[lints]\nworkspace = true\n";

    fn faults(path: &str, manifest: &str) -> usize {
        run(&Tree::of(&[("LICENSE", "Apache License"), (path, manifest)])).expect("it parses").len()
    }

    #[test]
    fn licence_and_lints_are_the_workspaces() {
        assert_eq!(faults("crates/a/Cargo.toml", GOOD), 0);
        assert_eq!(faults("crates/a/Cargo.toml", &GOOD.replace("license.workspace = true", "license = \"MIT\"")), 1);
        assert_eq!(faults("crates/a/Cargo.toml", "[package]\nname = \"a\"\nlicense.workspace = true\n"), 1);
        assert_eq!(faults(OWN_LINTS, "[package]\nname = \"jail\"\nlicense.workspace = true\n"), 0);
        assert_eq!(faults("Cargo.toml", "[workspace]\nmembers = []\n"), 0, "the root is no crate");
        assert_eq!(run(&Tree::of(&[])).expect("nothing to parse").len(), 1, "no licence");
    }
}
