//! The list of denial codes is made from the code, so it can't drift from it.

use crate::tree::Tree;
use anyhow::Result;
use policy::{DenialCode, Fault};
use std::fmt::Write as _;

/// Where the list stands.
pub const DOCUMENT: &str = "docs/denials.md";

const HEAD: &str = "\
# Denials

A denial is not an error: it is an answer, with a stable code and one sentence that says what to do. Clients and alerts may
match on the codes; a code never changes its meaning. Written by `cargo xtask docs`; do not edit.

| code | whose move | what the person or program is told |
|---|---|---|
";

/// The document as it should be.
pub fn document() -> String {
    let mut out = HEAD.to_owned();
    for code in DenialCode::ALL {
        let whose = match code.fault() {
            Fault::Caller => "the caller's",
            Fault::Limit => "a limit of the operator's",
        };
        // Writing to a String can't fail.
        let _ = writeln!(out, "| `{code}` | {whose} | {} |", code.sentence());
    }
    out
}

pub fn run(tree: &Tree) -> Result<Vec<String>> {
    Ok(match tree.text_of(DOCUMENT) {
        Some(text) if text == document() => Vec::new(),
        Some(_) => vec![format!("{DOCUMENT} does not match the codes in policy: run `cargo xtask docs`")],
        None => vec![format!("{DOCUMENT} is missing: run `cargo xtask docs`")],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_too_many_or_too_few_is_found() {
        let faults = |text: &str| run(&Tree::of(&[(DOCUMENT, text)])).expect("it only looks").len();
        assert_eq!(faults(&document()), 0);
        assert_eq!(faults(&format!("{}| `new.code` | nobody's | Nothing. |\n", document())), 1);
        let short: String =
            document().lines().filter(|line| !line.contains("`run.turns`")).map(|line| format!("{line}\n")).collect();
        assert_eq!(faults(&short), 1);
        assert_eq!(run(&Tree::of(&[])).expect("it only looks").len(), 1);
    }

    #[test]
    fn every_code_stands_in_it() {
        let document = document();
        for code in DenialCode::ALL {
            assert!(document.contains(&format!("| `{code}` |")) && document.contains(code.sentence()), "{code}");
        }
    }
}
