//! What must never be committed: somebody's machine, somebody's registry, somebody's program, and work left undone.

use crate::tree::{File, Tree};
use anyhow::Result;

/// Patterns are kept in two halves, so that this file does not match itself.
struct Pattern(&'static str, &'static str, &'static str);

const MACHINE: &str = "a path of one machine; say it relative to the repository or by a variable";
const REGISTRY: &str = "a registry's host; name the package, not where it comes from";
const UNDONE: &str = "work left undone or a test that is not run; finish it or leave it out";

const PATTERNS: &[Pattern] = &[
    Pattern("/wo", "rk/", MACHINE),
    Pattern("/ro", "ot/", MACHINE),
    Pattern("registry.npm", "js.org", REGISTRY),
    Pattern("registry.yarn", "pkg.com", REGISTRY),
    Pattern("static.crat", "es.io", REGISTRY),
    Pattern("index.crat", "es.io", REGISTRY),
    Pattern("deb.deb", "ian.org", REGISTRY),
    Pattern("security.deb", "ian.org", REGISTRY),
    Pattern("files.python", "hosted.org", REGISTRY),
    Pattern("pypi", ".org", REGISTRY),
    Pattern("proxy.gol", "ang.org", REGISTRY),
    Pattern("todo", "!(", UNDONE),
    Pattern("unimplemented", "!(", UNDONE),
    Pattern("#[ign", "ore", UNDONE),
    Pattern("dbg", "!(", UNDONE),
];

pub fn run(tree: &Tree) -> Result<Vec<String>> {
    Ok(tree.files().iter().flat_map(faults_of).collect())
}

fn faults_of(file: &File) -> Vec<String> {
    let mut faults = Vec::new();
    if file.bytes.starts_with(b"\x7fELF") {
        faults.push(format!("{} is an executable: programs are built or installed, never committed", file.path));
    }
    if file.name() == "claude" {
        faults.push(format!("{}: the agent is proprietary and installed from its package, never committed", file.path));
    }
    let Some(text) = file.text() else { return faults };
    for (line, number) in text.lines().zip(1_u32..) {
        for Pattern(head, tail, why) in PATTERNS {
            if line.contains(&format!("{head}{tail}")) {
                faults.push(format!("{}:{number} holds `{head}{tail}`: {why}", file.path));
            }
        }
        if names_a_home(line) {
            faults.push(format!("{}:{number} holds somebody's home folder: {MACHINE}", file.path));
        }
    }
    faults
}

/// Whether a home folder with its owner's name (and something below it) stands in the line.
fn names_a_home(line: &str) -> bool {
    line.split(concat!("/ho", "me/")).skip(1).any(|rest| {
        rest.split_once('/').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        run(&Tree::of(&[(path, text)])).expect("it only looks").len()
    }

    #[test]
    fn every_pattern_is_found_in_every_kind_of_file() {
        for Pattern(head, tail, _) in PATTERNS {
            for path in ["crates/web/src/a.rs", "README.md", "ui/package-lock.json"] {
                assert_eq!(faults(path, &format!("fine\nx = \"{head}{tail}x\"\n")), 1, "{head}{tail} in {path}");
            }
        }
        assert_eq!(faults("a.md", concat!("see /ho", "me/someone/notes")), 1);
        assert_eq!(faults("a.md", "$HOME/notes, /home, network/working"), 0);
    }

    #[test]
    fn programs_are_found() {
        assert_eq!(faults("tools/helper", "\x7fELF\x02"), 1);
        assert_eq!(faults("tools/claude", "#!/bin/sh"), 1);
        assert_eq!(faults("docs/claude.md", "about"), 0);
    }
}
