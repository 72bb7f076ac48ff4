//! The arrows of the house plan: which workspace crate may use which.

use crate::tree::Tree;
use anyhow::{Context, Result};
use serde_json::Value;

/// A room and the rooms it may use. `apps` stands for every package under `apps/`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("hexward", &["web", "apps", "runs", "store", "proxy", "sandbox", "policy", "fake"]),
    ("web", &["runs", "store", "policy"]),
    ("runs", &["sandbox", "proxy", "store", "policy"]),
    ("proxy", &["store", "policy"]),
    ("apps", &["store", "policy"]),
    ("sandbox", &["policy", "jail"]),
    ("store", &["policy"]),
    ("jail", &[]),
    ("policy", &[]),
    ("fake", &[]),
    ("testkit", &[]),
];

/// The database engines: only store may be built on them.
const ENGINES: &[&str] = &["rusqlite", "tokio-postgres", "deadpool-postgres", "tokio-postgres-rustls"];

/// What drives the whole house from outside may use any room.
const DRIVERS: &[&str] = &["gate-tests", "bench", "xtask"];

/// What a room's own tests may use beside what it uses itself: nothing that would lead back to it.
const FOR_TESTS: &[&str] = &["fake", "testkit"];

pub fn run(tree: &Tree) -> Result<Vec<String>> {
    let packages = tree.metadata()["packages"].as_array().context("cargo metadata has no packages")?;
    let mut faults = Vec::new();
    for package in packages {
        let name = text(package, "name")?;
        if DRIVERS.contains(&name) {
            continue;
        }
        let room = room_of(name, text(package, "manifest_path")?);
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == room) else {
            faults.push(format!("the crate `{name}` has no place in the plan: add it to DESIGN and to xtask's table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().context("a package without dependencies")? {
            let (target, dev) = (text(dependency, "name")?, dependency["kind"].as_str() == Some("dev"));
            // Only a workspace member has a path.
            let Some(path) = dependency["path"].as_str() else {
                if ENGINES.contains(&target) && !dev && room != "store" {
                    faults.push(format!("`{name}` depends on `{target}`: only store knows a database engine"));
                }
                continue;
            };
            let target = room_of(target, path);
            let permitted = allowed.contains(&target) || (dev && FOR_TESTS.contains(&target));
            if !permitted {
                let may = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
                faults.push(format!("`{name}` uses `{target}`, but {room} may use {may} only"));
            }
        }
    }
    Ok(faults)
}

fn room_of<'a>(name: &'a str, path: &str) -> &'a str {
    if path.contains("/apps/") { "apps" } else { name }
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("cargo metadata lacks {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(name: &str, folder: &str, target: &str, kind: Option<&str>) -> usize {
        let path = match target {
            "hexmap" => json!("/x/apps/hexmap"),
            "rusqlite" => json!(null),
            _ => json!(format!("/x/crates/{target}")),
        };
        let metadata = json!({"packages": [{
            "name": name,
            "manifest_path": format!("/x/{folder}/{name}/Cargo.toml"),
            "dependencies": [
                {"name": "serde", "kind": null, "path": null},
                {"name": target, "kind": kind, "path": path},
            ],
        }]});
        run(&Tree::with_metadata(metadata)).expect("the metadata is complete").len()
    }

    #[test]
    fn an_arrow_against_the_plan_is_found() {
        for (name, target) in [
            ("web", "proxy"),
            ("web", "sandbox"),
            ("proxy", "web"),
            ("proxy", "runs"),
            ("sandbox", "store"),
            ("store", "proxy"),
            ("policy", "store"),
            ("jail", "policy"),
            ("fake", "policy"),
            ("runs", "hexmap"),
            ("hexward", "jail"),
        ] {
            assert_eq!(faults(name, "crates", target, None), 1, "{name} -> {target}");
            assert_eq!(faults(name, "crates", target, Some("build")), 1, "{name} -> {target} at build time");
            assert_eq!(faults(name, "crates", target, Some("dev")), 1, "{name} -> {target} in its tests");
        }
        assert_eq!(faults("hexmap", "apps", "proxy", None), 1);
        assert_eq!(faults("stranger", "crates", "policy", None), 1, "a crate that is not in the plan");
    }

    #[test]
    fn an_engine_outside_store_is_found() {
        assert_eq!(faults("web", "crates", "rusqlite", None), 1);
        assert_eq!(faults("web", "crates", "rusqlite", Some("dev")), 0, "a test may look into the file");
        assert_eq!(faults("store", "crates", "rusqlite", None), 0);
    }

    #[test]
    fn the_arrows_of_the_plan_are_not() {
        for (name, target) in [("hexward", "hexmap"), ("web", "runs"), ("runs", "proxy"), ("sandbox", "jail")] {
            assert_eq!(faults(name, "crates", target, None), 0, "{name} -> {target}");
        }
        assert_eq!(faults("hexmap", "apps", "store", None), 0);
        assert_eq!(faults("gate-tests", ".", "proxy", None), 0);
        assert_eq!(faults("proxy", "crates", "fake", Some("dev")), 0);
        assert_eq!(faults("proxy", "crates", "fake", None), 1, "the stand-in is for tests only");
    }
}
