//! `hexward tools`: what servers say of their tools. One whose definition has changed is held until an operator has seen the
//! difference and agreed to exactly that.

use crate::arguments::{ToolsArgs, ToolsCommand};
use crate::clock::SystemClock;
use crate::key;
use anyhow::{Result, bail};
use data_encoding::HEXLOWER;
use policy::Clock;
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;
use store::{DefinitionRow, HeldDefinition, Store};

/// Lines of a definition that are compared; a longer one is shown as a whole.
const LINES_MAX: usize = 2_000;

/// Carries the command out.
pub(crate) async fn command(args: ToolsArgs) -> Result<ExitCode> {
    let store = key::open(&args.state_dir).await?;
    let mut out = std::io::stdout();
    match args.command.unwrap_or(ToolsCommand::List) {
        ToolsCommand::List => write!(out, "{}", table(&store.definitions().await?))?,
        ToolsCommand::Review { app, tool: Some(tool), agree: Some(digest) } => agree(&store, &app, &tool, &digest).await?,
        ToolsCommand::Review { app, tool, .. } => {
            let meant = |row: &DefinitionRow| row.app == app && tool.as_ref().is_none_or(|tool| row.tool == *tool);
            let rows: Vec<_> = store.definitions().await?.into_iter().filter(meant).collect();
            if rows.is_empty() {
                bail!("no such tool was ever seen; `hexward tools` lists those that were");
            }
            let held: Vec<_> = rows.iter().filter_map(|row| Some((row, row.held.as_ref()?))).collect();
            if held.is_empty() {
                writeln!(out, "nothing is held")?;
            }
            held.into_iter().try_for_each(|(row, held)| write!(out, "{}", review(row, held)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn agree(store: &Store, app: &str, tool: &str, shown: &str) -> Result<()> {
    let rows = store.definitions().await?;
    let held = rows.into_iter().find(|row| row.app == app && row.tool == tool).and_then(|row| row.held);
    let Some(held) = held else { bail!("{tool} of {app} is not held; `hexward tools` says what is") };
    if HEXLOWER.encode(&held.digest) != shown {
        bail!(
            "the definition that is held now is another one than you were shown: look at it with `hexward tools review {app} {tool}`"
        );
    }
    if !store.agree_to_definition(app, tool, held.digest, SystemClock.now()).await? {
        bail!("the definition has changed again: look at it with `hexward tools review {app} {tool}`");
    }
    writeln!(std::io::stdout(), "{tool} of {app} is used again, as it is now; running gateways notice with its next call")?;
    Ok(())
}

/// One line for each tool.
fn table(rows: &[DefinitionRow]) -> String {
    let mut text = format!("{:<20} {:<32} {:<10} {:<14} SINCE\n", "APP", "TOOL", "STATE", "DEFINITION");
    for row in rows {
        let (state, since) = match (&row.held, row.reviewed_at) {
            (Some(held), _) => ("HELD", held.since),
            (None, Some(at)) => ("reviewed", at),
            (None, None) => ("first", row.seen_at),
        };
        let digest: String = HEXLOWER.encode(&row.digest).chars().take(12).collect();
        let (app, tool) = (visible(&row.app), visible(&row.tool));
        text.push_str(&format!("{app:<20} {tool:<32} {state:<10} {digest:<14} {}\n", since.to_rfc3339()));
    }
    if rows.is_empty() {
        text.push_str("no tool was seen yet\n");
    }
    text
}

/// What has changed, and how to agree.
fn review(row: &DefinitionRow, held: &HeldDefinition) -> String {
    let digest = HEXLOWER.encode(&held.digest);
    let (app, tool) = (visible(&row.app), visible(&row.tool));
    let mut text = format!("{tool} of {app} is held since {}\n", held.since.to_rfc3339());
    for (sign, line) in difference(&lines(&row.text), &lines(&held.text)) {
        text.push_str(&format!("{sign} {line}\n"));
    }
    text.push_str(&format!("to agree to this: hexward tools review {app} {tool} --agree {digest}\n\n"));
    text
}

/// A definition line by line, in characters that can be seen.
fn lines(definition: &str) -> Vec<String> {
    let value: Value = serde_json::from_str(definition).unwrap_or_default();
    format!("{value:#}").lines().map(visible).collect()
}

/// What can't be seen, or turns the writing around, is written out.
fn visible(text: &str) -> String {
    let shown = |c: char| if c == '"' || c == '\'' || c == '\\' { c.to_string() } else { c.escape_debug().to_string() };
    text.chars().map(shown).collect()
}

/// The lines of both, in order: those of the old alone with `-`, of the new alone with `+`.
fn difference(old: &[String], new: &[String]) -> Vec<(char, String)> {
    if old.len().max(new.len()) > LINES_MAX {
        let all = |sign: char, lines: &[String]| lines.iter().map(|line| (sign, line.clone())).collect::<Vec<_>>();
        return [all('-', old), all('+', new)].concat();
    }
    // How many lines both have in common from here on, for every pair of places.
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    let at = |common: &[u32], i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let best = if a == b { at(&common, i + 1, j + 1) + 1 } else { at(&common, i + 1, j).max(at(&common, i, j + 1)) };
            if let Some(cell) = common.get_mut(i * width + j) {
                *cell = best;
            }
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    loop {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                out.push((' ', a.clone()));
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) => {
                out.push(('-', a.clone()));
                i += 1;
            }
            (_, Some(b)) => {
                out.push(('+', b.clone()));
                j += 1;
            }
            (_, None) => return out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Timestamp;
    use serde_json::json;

    fn row(old: &Value, new: Option<&Value>) -> DefinitionRow {
        let held = new.map(|new| HeldDefinition { digest: [0xab; 32], text: new.to_string(), since: Timestamp(60_000_000) });
        let (app, tool) = ("notes".to_owned(), "look".to_owned());
        DefinitionRow { app, tool, digest: [1; 32], text: old.to_string(), seen_at: Timestamp(0), reviewed_at: None, held }
    }

    #[test]
    fn a_review_shows_what_has_changed_and_nothing_that_can_t_be_seen() {
        let (old, new) = (
            json!({"name": "look", "description": "Looks."}),
            json!({"name": "look", "description": "Looks.\u{200b} And \u{202e}sends."}),
        );
        let row = row(&old, Some(&new));
        let text = review(&row, row.held.as_ref().expect("it is held"));
        let lines: Vec<&str> = text.lines().collect();
        let gone: Vec<_> = lines.iter().filter(|line| line.starts_with('-')).collect();
        assert!(matches!(gone.as_slice(), [line] if line.contains("Looks.\"")), "{gone:?}");
        let added = lines.iter().find(|line| line.starts_with('+')).expect("a new line");
        assert!(added.contains("Looks.\\u{200b} And \\u{202e}sends."), "{added}");
        assert!(lines.iter().any(|line| line.starts_with(' ') && line.contains("\"name\": \"look\"")), "{text}");
        assert!(text.contains(&format!("--agree {}", "ab".repeat(32))));
    }

    #[test]
    fn the_table_says_what_is_held() {
        let text = table(&[row(&json!({}), None), row(&json!({}), Some(&json!({"a": 1})))]);
        assert!(text.contains("first") && text.contains("HELD") && text.contains("1970-01-01T00:01:00Z"), "{text}");
        assert!(table(&[]).contains("no tool"));
    }

    #[test]
    fn lines_come_out_in_order() {
        let of = |text: &str| text.chars().map(|c| c.to_string()).collect::<Vec<_>>();
        let shown = |old: &str, new: &str| {
            difference(&of(old), &of(new)).into_iter().map(|(sign, line)| format!("{sign}{line}")).collect::<Vec<_>>()
        };
        assert_eq!(shown("abc", "axc").concat(), " a-b+x c");
        assert_eq!(shown("", "ab").concat(), "+a+b");
        assert_eq!(shown("ab", "").concat(), "-a-b");
        assert_eq!(shown("abcd", "bd").concat(), "-a b-c d");
    }
}
