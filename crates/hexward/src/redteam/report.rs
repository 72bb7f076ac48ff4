//! The table: what was expected, what was observed.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A row of the probe program's own list.
#[derive(Clone, Deserialize)]
struct Listed {
    group: String,
    id: String,
    title: String,
    expected: String,
}

/// What a probe said.
#[derive(Deserialize)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) observed: String,
    pub(crate) pass: bool,
}

/// A row of the report.
#[derive(Serialize)]
pub(crate) struct Row {
    #[serde(skip)]
    group: String,
    id: String,
    title: String,
    expected: String,
    observed: String,
    pass: bool,
}

/// All rows, and what could not be tried.
pub(crate) struct Report {
    listed: Vec<Listed>,
    rows: Vec<Row>,
    skipped: Vec<String>,
}

impl Report {
    /// An empty one, with the list of the probe program.
    pub(crate) fn of(probe: &Path) -> Result<Self> {
        let output = Command::new(probe).arg("--list").output();
        let output = output.with_context(|| format!("{} can't be started; build it with the jail", probe.display()))?;
        let listed = serde_json::from_slice(&output.stdout).context("the probe program's list can't be read; rebuild it")?;
        Ok(Self { listed, rows: Vec::new(), skipped: Vec::new() })
    }

    /// The groups in order, each once.
    pub(crate) fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = self.listed.iter().map(|row| row.group.clone()).collect();
        groups.dedup();
        groups
    }

    /// The probes of a group in order.
    pub(crate) fn ids(&self, group: &str) -> Vec<String> {
        self.listed.iter().filter(|row| row.group == group).map(|row| row.id.clone()).collect()
    }

    /// Takes a group's answers. A probe that did not answer failed, unless its group may be ended for what it does.
    pub(crate) fn merge(&mut self, group: &str, said: Vec<Said>, ended: Option<&str>, may_end: bool) {
        let silence = ended.map_or_else(|| "no answer".to_owned(), |reason| format!("the sandbox ended: {reason}"));
        let rows = self.listed.iter().filter(|row| row.group == group).cloned().map(|Listed { group, id, title, expected }| {
            let answer = said.iter().find(|said| said.id == id);
            let (observed, pass) =
                answer.map_or_else(|| (silence.clone(), may_end && ended.is_some()), |said| (said.observed.clone(), said.pass));
            Row { group, id, title, expected, observed, pass }
        });
        let rows: Vec<Row> = rows.collect();
        self.rows.extend(rows);
    }

    /// A row that the outside saw.
    pub(crate) fn add(&mut self, id: &str, title: &str, expected: &str, pass: bool, observed: impl Into<String>) {
        let group = id.split('.').next().unwrap_or(id).to_owned();
        let (id, title, expected) = (id.to_owned(), title.to_owned(), expected.to_owned());
        self.rows.push(Row { group, id, title, expected, observed: observed.into(), pass });
    }

    /// A group that this host can't be attacked with, because it does not claim to hold it. Said aloud, and not counted.
    pub(crate) fn skip(&mut self, group: &str, reason: &str) {
        self.skipped.push(format!("{group} was not tried: {reason}"));
    }

    pub(crate) fn passed(&self) -> usize {
        self.rows.iter().filter(|row| row.pass).count()
    }

    pub(crate) fn failed(&self) -> usize {
        self.rows.len() - self.passed()
    }

    /// One JSON object, or a table with what failed at its end.
    pub(crate) fn print(&self, as_json: bool) -> Result<()> {
        for skipped in &self.skipped {
            tracing::warn!("{skipped}");
        }
        let mut out = std::io::stdout().lock();
        let (passed, failed) = (self.passed(), self.failed());
        if as_json {
            let object = json!({"suite": "sandbox", "probes": self.rows, "passed": passed, "failed": failed});
            return writeln!(out, "{object}").context("standard output");
        }
        let (good, bad): (Vec<&Row>, Vec<&Row>) = self.rows.iter().partition(|row| row.pass);
        for row in good.into_iter().chain(bad) {
            let verdict = if row.pass { "held  " } else { "FAILED" };
            writeln!(out, "{verdict}  {:<34} {}", row.id, row.title)?;
            writeln!(out, "{:44}expected: {}", "", row.expected)?;
            writeln!(out, "{:44}observed: {}", "", row.observed)?;
        }
        for (group, passed, all) in self.by_group() {
            writeln!(out, "{group:<12} {passed:>3} of {all:>3}")?;
        }
        writeln!(out, "{passed} passed, {failed} failed").context("standard output")
    }

    fn by_group(&self) -> Vec<(&str, usize, usize)> {
        let mut groups: Vec<(&str, usize, usize)> = Vec::new();
        for row in &self.rows {
            match groups.iter_mut().find(|(name, ..)| *name == row.group) {
                Some((_, passed, all)) => (*passed, *all) = (*passed + usize::from(row.pass), *all + 1),
                None => groups.push((&row.group, usize::from(row.pass), 1)),
            }
        }
        groups
    }
}
