//! A file is one room: when it grows past 400 lines it is asked whether it still is.

use crate::source::lines_without_tests;
use crate::tree::{File, Tree};
use anyhow::Result;

const LINES_MAX: usize = 400;
const BYTES_MAX: usize = 700 * 1024;

/// Files that may be longer, each with the reason why a cut would make them worse.
const LONGER: &[(&str, &str)] = &[];

pub fn run(tree: &Tree) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for file in tree.files() {
        if file.bytes.len() > BYTES_MAX {
            faults.push(format!("{} has {} KiB: nothing over 700 KiB is tracked", file.path, file.bytes.len() / 1024));
        }
        let lines = lines_of(file);
        if lines > LINES_MAX && !LONGER.iter().any(|(path, _)| *path == file.path) {
            faults.push(format!(
                "{} has {lines} lines without tests, over {LINES_MAX}: split it by phase, or give the reason in xtask's table",
                file.path
            ));
        }
    }
    for (path, _) in LONGER {
        if tree.files().iter().find(|file| file.path == *path).is_none_or(|file| lines_of(file) <= LINES_MAX) {
            faults.push(format!("{path} is excused for its length but does not need it: remove it from xtask's table"));
        }
    }
    Ok(faults)
}

/// The lines that count; none for a file that is not code of ours.
fn lines_of(file: &File) -> usize {
    let Some(text) = file.text() else { return 0 };
    if file.path.contains("/tests/") || file.name() == "tests.rs" {
        return 0;
    }
    let starts = |folders: &[&str]| folders.iter().any(|folder| file.path.starts_with(folder));
    if file.path.ends_with(".rs") && starts(&["crates/", "apps/", "fake/", "xtask/", "tests/src/", "tests/kit/src/", "bench/"]) {
        return lines_without_tests(text);
    }
    if (file.path.ends_with(".ts") || file.path.ends_with(".svelte")) && starts(&["ui/src/"]) {
        return text.lines().count();
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        run(&Tree::of(&[(path, text)])).expect("it only looks").len()
    }

    #[test]
    fn a_long_file_is_found() {
        let long = "x\n".repeat(LINES_MAX + 1);
        assert_eq!(faults("crates/web/src/a.rs", &long), 1);
        assert_eq!(faults("ui/src/a.svelte", &long), 1);
        assert_eq!(faults("ui/src/a.ts", &long), 1);
        for path in ["docs/a.md", "crates/web/tests/a.rs", "crates/web/src/tests.rs"] {
            assert_eq!(faults(path, &long), 0, "{path}");
        }
        assert_eq!(faults("crates/web/src/a.rs", &"x\n".repeat(LINES_MAX)), 0);
        let tests = format!("x\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(faults("crates/web/src/a.rs", &tests), 0);
    }

    #[test]
    fn a_large_file_is_found() {
        assert_eq!(faults("docs/picture.svg", &"x".repeat(BYTES_MAX + 1)), 1);
        assert_eq!(faults("docs/picture.svg", &"x".repeat(BYTES_MAX)), 0);
    }
}
