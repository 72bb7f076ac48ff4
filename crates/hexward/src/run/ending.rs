//! The end of a command: what it changed, and what of that the real folder gets.

use super::words;
use crate::RunArgs;
use crate::say::say;
use anyhow::{Context, Result};
use policy::Timestamp;
use sandbox::{Applied, Change, Changes, Dangers, apply, collect};
use std::ffi::OsStr;
use std::io::{IsTerminal, Write, stderr, stdin};
use std::os::fd::OwnedFd;

/// What shall become of the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Ask on the terminal.
    Ask,
    /// Say what they are and let them go.
    List {
        /// Whether that was asked for.
        asked: bool,
    },
    Discard,
    Apply {
        dangerous: bool,
    },
}

impl Choice {
    pub fn of(args: &RunArgs) -> Self {
        match (args.apply || args.apply_dangerous, args.discard, args.list) {
            (true, ..) => Self::Apply { dangerous: args.apply_dangerous },
            (_, true, _) => Self::Discard,
            (.., true) => Self::List { asked: true },
            _ if stdin().is_terminal() && stderr().is_terminal() => Self::Ask,
            _ => Self::List { asked: false },
        }
    }
}

/// Lists and applies. False when something that should have been applied was not.
pub fn settle(upper: &OwnedFd, project: &OwnedFd, dangers: &Dangers, since: Timestamp, choice: Choice) -> Result<bool> {
    if choice == Choice::Discard {
        return Ok(true);
    }
    let Changes { list, left_out } = collect(upper, project, dangers).context("the changes can't be read")?;
    if list.is_empty() && left_out.is_empty() {
        return Ok(true);
    }
    say!("hexward run: {} changes (+ added, ~ changed, - deleted):", list.len());
    words::print(list.iter().map(words::line));
    words::print(left_out.iter().map(|(path, why)| format!("  ! {}  {why}", words::visible(path.as_os_str()))));
    let (dangerous, plain): (Vec<Change>, Vec<Change>) = list.into_iter().partition(|change| change.danger.is_some());
    let (with_plain, with_dangerous) = match choice {
        Choice::Ask => {
            let plain = !plain.is_empty() && confirmed(&format!("Apply these {} changes? [y/N] ", plain.len()), "y")?;
            let ask = || format!("Apply the {} DANGEROUS ones too? Type yes: ", dangerous.len());
            (plain, !dangerous.is_empty() && confirmed(&ask(), "yes")?)
        }
        Choice::Apply { dangerous } => (true, dangerous),
        Choice::List { asked } => {
            let how = if asked { "as asked" } else { "without a terminal to ask on; use --apply" };
            say!("hexward run: nothing was applied and nothing is kept ({how})");
            return Ok(true);
        }
        Choice::Discard => (false, false),
    };
    let mut wanted = Vec::new();
    if with_plain {
        wanted.extend(plain);
    }
    if with_dangerous {
        wanted.extend(dangerous);
    } else if !dangerous.is_empty() {
        say!("hexward run: {} dangerous changes were not applied (--apply-dangerous does)", dangerous.len());
    }
    Ok(apply_all(upper, project, since, wanted))
}

/// In the order in which they were found: what takes a name comes after what had it.
fn apply_all(upper: &OwnedFd, project: &OwnedFd, since: Timestamp, wanted: Vec<Change>) -> bool {
    let (total, mut done) = (wanted.len(), 0_usize);
    for change in wanted {
        let name = words::visible(change.path.as_os_str());
        match apply(upper, project, &change, since) {
            Applied::Done => done += 1,
            Applied::Conflict => {
                say!("hexward run: conflict: {name} was changed meanwhile (or holds something that stays) and was left alone")
            }
            Applied::Failed(error) => say!("hexward run: {name} could not be applied: {error}"),
        }
    }
    say!("hexward run: {done} of {total} changes applied");
    done == total
}

fn confirmed(question: &str, answer: &str) -> Result<bool> {
    // What could not be asked was not answered.
    write!(stderr(), "hexward run: {question}").context("the question can't be asked")?;
    let mut line = String::new();
    stdin().read_line(&mut line).context("no answer can be read")?;
    Ok(OsStr::new(line.trim()).eq_ignore_ascii_case(answer))
}
