//! The ledger of requirements: every row once, and a row that claims to be done names what proves it.

use crate::tree::Tree;
use anyhow::Result;

pub const DOCUMENT: &str = "docs/requirements.md";
pub const SERIES: [(&str, u32); 3] = [("H", 25), ("M", 29), ("P", 8)];
const STATUSES: [&str; 3] = ["open", "first part", "done"];

pub struct Row<'a> {
    pub id: &'a str,
    pub status: &'a str,
    pub proof: &'a str,
}

pub fn run(tree: &Tree) -> Result<Vec<String>> {
    let Some(text) = tree.text_of(DOCUMENT) else { return Ok(vec![format!("{DOCUMENT} is missing")]) };
    let rows: Vec<Row<'_>> = text.lines().filter_map(parse).collect();
    let mut faults = Vec::new();
    let expected: Vec<String> =
        SERIES.iter().flat_map(|(series, last)| (1..=*last).map(move |number| format!("{series}{number}"))).collect();
    for id in &expected {
        let times = rows.iter().filter(|row| row.id == id).count();
        if times != 1 {
            faults.push(format!("{DOCUMENT}: row {id} stands {times} times, not once"));
        }
    }
    for row in &rows {
        if !expected.iter().any(|id| id == row.id) {
            faults.push(format!("{DOCUMENT}: there is no row {}", row.id));
        }
        faults.extend(faults_of(row, tree));
    }
    Ok(faults)
}

/// `| H1 | what | status | proof |`, if the line is a row of the ledger.
pub fn parse(line: &str) -> Option<Row<'_>> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let (id, _, status, proof) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
    let numbered =
        id.len() > 1 && id.starts_with(|c: char| c.is_ascii_uppercase()) && id.chars().skip(1).all(|c| c.is_ascii_digit());
    numbered.then_some(Row { id, status, proof })
}

fn faults_of(row: &Row<'_>, tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    if !STATUSES.contains(&row.status) {
        faults.push(format!("{DOCUMENT}: {} has the status `{}`, not one of {STATUSES:?}", row.id, row.status));
    }
    // Every second piece between backticks is a name.
    let proofs: Vec<&str> = row.proof.split('`').skip(1).step_by(2).collect();
    if row.status == "done" && proofs.is_empty() {
        faults.push(format!("{DOCUMENT}: {} is done but names no test", row.id));
    }
    let unknown = proofs.iter().filter(|proof| !exists(proof, tree));
    faults.extend(
        unknown.map(|proof| format!("{DOCUMENT}: {} is proved by `{proof}`, which is neither a test nor a file", row.id)),
    );
    faults
}

/// A tracked path, or the name of a test function.
pub fn exists(proof: &str, tree: &Tree) -> bool {
    if proof.contains(['/', '.']) {
        return tree.files().iter().any(|file| file.path == proof);
    }
    let definition = format!("fn {proof}(");
    tree.files().iter().filter(|file| file.path.ends_with(".rs")).filter_map(|file| file.text()).any(|text| {
        text.match_indices(&definition).any(|(at, _)| {
            let before = text.get(..at).unwrap_or_default().lines().rev().take(6);
            before
                .take_while(|line| !line.trim_end().ends_with(['}', ';']))
                .any(|line| line.trim().starts_with("#[") && line.contains("test"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(change: impl Fn(String) -> String) -> String {
        let ids = SERIES.iter().flat_map(|(series, last)| (1..=*last).map(move |number| format!("{series}{number}")));
        change(ids.map(|id| format!("| {id} | something | open | |\n")).collect())
    }

    fn faults(text: &str) -> Vec<String> {
        let code = "#[cfg(test)]\nmod tests {\n    #[test]\n    fn a_test() {}\n\n    fn no_test() {}\n}\n";
        run(&Tree::of(&[(DOCUMENT, text), ("crates/web/src/a.rs", code)])).expect("it only looks")
    }

    #[test]
    fn every_row_stands_once() {
        assert_eq!(faults(&ledger(|text| text)), Vec::<String>::new());
        assert_eq!(faults(&ledger(|text| text.replace("| H7 |", "| H6 |"))).len(), 2, "one twice, one missing");
        assert_eq!(faults(&ledger(|text| text + "| H26 | more | open | |\n")).len(), 1);
        assert_eq!(faults(&ledger(|text| text.replacen("open", "closed", 1))).len(), 1);
        assert_eq!(run(&Tree::of(&[])).expect("it only looks").len(), 1);
    }

    #[test]
    fn done_needs_a_proof_that_exists() {
        let done = |proof: &str| ledger(|text| text.replacen("| open | |", &format!("| done | {proof} |"), 1));
        assert_eq!(faults(&done("")).len(), 1);
        assert_eq!(faults(&done("believe me")).len(), 1);
        assert_eq!(faults(&done("`a_test`")), Vec::<String>::new());
        assert_eq!(faults(&done("`a_test`, `crates/web/src/a.rs`")), Vec::<String>::new());
        assert_eq!(faults(&done("`no_test`")).len(), 1, "a function that is not a test proves nothing");
        assert_eq!(faults(&done("`crates/web/src/b.rs`")).len(), 1);
    }
}
