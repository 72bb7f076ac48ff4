//! What was measured: a table for people, one flat object for programs.

use crate::statistics::percentile;
use anyhow::{Context, Result};
use serde_json::{Map, Number, Value};
use std::fmt;

/// The numbers so far, in the order of the table.
#[derive(Default)]
pub struct Report {
    machine: Vec<(&'static str, String)>,
    rows: Vec<Row>,
    skipped: Vec<(&'static str, String)>,
}

struct Row {
    key: String,
    value: f64,
    note: String,
}

impl Report {
    /// A fact about the machine or a peer, for the head of the table.
    pub fn about(&mut self, name: &'static str, text: impl Into<String>) {
        self.machine.push((name, text.into()));
    }

    /// One number. `key` ends with its unit, or is a ratio (`_vs_`), and is the name in the summary.
    pub fn add(&mut self, key: impl Into<String>, value: f64, note: impl Into<String>) {
        self.rows.push(Row { key: key.into(), value, note: note.into() });
    }

    /// The percentile of many measurements, in milliseconds.
    ///
    /// # Errors
    /// If there are none.
    pub fn add_percentile(&mut self, name: &str, values: &[f64], percent: usize, note: &str) -> Result<f64> {
        let value = percentile(values, percent).with_context(|| format!("{name} has no measurements"))?;
        self.add(format!("{name}.p{percent}_ms"), value, format!("{note} (n = {})", values.len()));
        Ok(value)
    }

    /// A peer that is not here: its keys are absent from the summary, and the table says why.
    pub fn skip(&mut self, what: &'static str, reason: impl Into<String>) {
        self.skipped.push((what, reason.into()));
    }

    /// One flat object, dotted name to number.
    ///
    /// # Errors
    /// If a measurement is no number.
    pub fn summary(&self) -> Result<String> {
        let mut flat = Map::new();
        for row in &self.rows {
            let number = Number::from_f64(rounded(row.value)).with_context(|| format!("{} is no number", row.key))?;
            flat.insert(row.key.clone(), Value::Number(number));
        }
        Ok(format!("{}\n", serde_json::to_string_pretty(&flat)?))
    }
}

/// More digits would only look exact.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, text) in &self.machine {
            writeln!(f, "{name:<10} {text}")?;
        }
        let width = self.rows.iter().map(|row| row.key.len()).max().unwrap_or(0);
        writeln!(f, "\n{:<width$}  {:>10}  what it is", "", "")?;
        for row in &self.rows {
            writeln!(f, "{:<width$}  {:>10}  {}", row.key, rounded(row.value), row.note)?;
        }
        self.skipped.iter().try_for_each(|(what, reason)| writeln!(f, "skipped: {what}: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_flat_and_holds_numbers_only() {
        let mut report = Report::default();
        report.about("kernel", "6.1");
        report.add("binary.mb", 12.345_678, "size");
        assert!(report.add_percentile("proxy.added", &[1.0, 3.0, 2.0], 50, "more").is_ok());
        report.skip("nginx", "not installed");
        let summary: Value = serde_json::from_str(&report.summary().expect("numbers")).expect("JSON");
        assert_eq!(summary, serde_json::json!({"binary.mb": 12.346, "proxy.added.p50_ms": 2.0}));
        let table = report.to_string();
        assert!(table.contains("more (n = 3)") && table.contains("skipped: nginx: not installed"), "{table}");
    }

    #[test]
    fn nothing_measured_is_no_number() {
        let mut report = Report::default();
        assert!(report.add_percentile("proxy.added", &[], 50, "").is_err());
        report.add("broken", f64::NAN, "");
        assert!(report.summary().is_err());
    }
}
