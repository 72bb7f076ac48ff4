//! Keeps the house tidy: what the compiler can't see but the plan promises, as checks that run with the tests.
//!
//! `cargo xtask tidy` checks the tracked files; `cargo xtask docs` writes the documents that are made from code.

#![expect(clippy::disallowed_macros, reason = "it talks to the person who started it")]

mod checks;
mod source;
mod tree;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tree::Tree;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(),
        Some("docs") => docs(),
        _ => Err(anyhow::anyhow!("usage: cargo xtask tidy | docs")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).context("xtask stands in the workspace's root")
}

/// Runs every check, prints every fault, and fails if there is one.
fn tidy() -> Result<()> {
    let tree = Tree::tracked(&root()?)?;
    let mut faults = 0_usize;
    for check in checks::ALL {
        for fault in (check.run)(&tree)? {
            faults += 1;
            eprintln!("tidy: {}: {fault}", check.name);
        }
    }
    if faults > 0 {
        bail!("{faults} fault(s). What each check wants, and why, stands in CONTRIBUTING.md");
    }
    println!("tidy: {} checks over {} files, nothing to say", checks::ALL.len(), tree.files().len());
    Ok(())
}

/// Writes the generated documents.
fn docs() -> Result<()> {
    let path = root()?.join(checks::denials::DOCUMENT);
    std::fs::write(&path, checks::denials::document()).with_context(|| format!("writing {}", checks::denials::DOCUMENT))?;
    println!("wrote {}", checks::denials::DOCUMENT);
    Ok(())
}
