//! The table from the sources' rows to settings: every row once, as far as the ledger of requirements says, and nothing in it that
//! does not exist.

use super::requirements::{self, SERIES};
use crate::tree::Tree;
use anyhow::Result;

const DOCUMENT: &str = "docs/from-the-seven-layers.md";
const REFERENCE: &str = "docs/configuration-reference.md";
const COMMANDS: &str = "crates/hexward/src/arguments.rs";

pub fn run(tree: &Tree) -> Result<Vec<String>> {
    let Some(text) = tree.text_of(DOCUMENT) else { return Ok(vec![format!("{DOCUMENT} is missing")]) };
    let rows: Vec<requirements::Row<'_>> = text.lines().filter_map(requirements::parse).collect();
    let ledger: Vec<_> =
        tree.text_of(requirements::DOCUMENT).unwrap_or_default().lines().filter_map(requirements::parse).collect();
    let mut faults = Vec::new();
    for (series, last) in SERIES.iter().filter(|(series, _)| *series != "P") {
        for id in (1..=*last).map(|number| format!("{series}{number}")) {
            let here: Vec<_> = rows.iter().filter(|row| row.id == id).collect();
            let [row] = here.as_slice() else {
                faults.push(format!("{DOCUMENT}: row {id} stands {} times, not once", here.len()));
                continue;
            };
            // The third column is by what, the fourth how far.
            let status = ledger.iter().find(|row| row.id == id).map_or("", |row| row.status);
            if row.proof != status {
                faults.push(format!("{DOCUMENT}: {id} is `{}` here and `{status}` in {}", row.proof, requirements::DOCUMENT));
            }
            let named = row.status.split('`').skip(1).step_by(2);
            let unknown = named.filter(|name| !exists(name, tree));
            faults.extend(
                unknown.map(|name| format!("{DOCUMENT}: {id} names `{name}`, which is no setting, command, file or test")),
            );
        }
    }
    Ok(faults)
}

fn exists(name: &str, tree: &Tree) -> bool {
    let reference = tree.text_of(REFERENCE).unwrap_or_default();
    if let Some(command) = name.strip_prefix("hexward ") {
        let (first, rest) = command.split_at_checked(1).unwrap_or_default();
        let variant = format!("    {}{rest}(", first.to_ascii_uppercase());
        return tree.text_of(COMMANDS).unwrap_or_default().contains(&variant);
    }
    if let Some(table) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return reference.contains(&format!("\n## {table}\n"));
    }
    let setting = name.split('=').next().unwrap_or_default();
    let is_setting = reference.contains(&format!("\n| `{setting}` |"));
    // An app's own files and ids, which are told of elsewhere.
    is_setting || ["prompt.md", "hexmap"].contains(&name) || requirements::exists(name, tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(change: impl Fn(String) -> String) -> Vec<String> {
        let ids: Vec<_> =
            SERIES.iter().flat_map(|(series, last)| (1..=*last).map(move |number| format!("{series}{number}"))).collect();
        let table: String =
            ids.iter().map(|id| format!("| {id} | x | `runs.a`, `[runs]`, `hexward key`, `A=1`, `a_test` | open |\n")).collect();
        let ledger: String = ids.iter().map(|id| format!("| {id} | x | open | |\n")).collect();
        let files = [
            (DOCUMENT, change(table)),
            (requirements::DOCUMENT, ledger),
            (REFERENCE, "\n## runs\n\n| `runs.a` | x |\n| `A` | x |\n".to_owned()),
            (COMMANDS, "enum Command {\n    Key(Args),\n}\n".to_owned()),
            ("crates/web/src/a.rs", "#[test]\nfn a_test() {}\n".to_owned()),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        run(&Tree::of(&files)).expect("it only looks")
    }

    #[test]
    fn rows_and_what_they_name_exist() {
        assert_eq!(faults(|text| text), Vec::<String>::new());
        assert_eq!(faults(|text| text.replace("| H7 |", "| H6 |")).len(), 2);
        for (from, to) in [
            ("`runs.a`", "`runs.b`"),
            ("`[runs]`", "`[rum]`"),
            ("hexward key", "hexward keys"),
            ("`A=1`", "`B`"),
            ("a_test", "b_test"),
            ("| open |", "| done |"),
        ] {
            assert_eq!(faults(|text| text.replacen(from, to, 1)).len(), 1, "{to}");
        }
    }
}
