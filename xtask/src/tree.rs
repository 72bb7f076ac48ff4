//! The tracked files with their contents, read once. Checks are functions of it, so tests can give them a made-up one.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// One tracked file.
#[derive(Debug)]
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    /// What stands in it.
    pub bytes: Vec<u8>,
}

impl File {
    /// The text, or nothing for a file that is not text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// The workspace as the checks see it.
#[derive(Debug)]
pub struct Tree {
    files: Vec<File>,
    metadata: serde_json::Value,
}

impl Tree {
    /// What git tracks under `root`, as it stands in the working tree, and what cargo knows of it.
    pub fn tracked(root: &Path) -> Result<Self> {
        let listed = output(Command::new("git").args(["ls-files", "-z"]).current_dir(root))?;
        let mut files = Vec::new();
        for path in String::from_utf8(listed).context("a tracked path is not UTF-8")?.split_terminator('\0') {
            // A file that was deleted but not yet committed is still listed; a link or submodule is not a file.
            let full = root.join(path);
            if full.is_file() {
                files.push(File { path: path.to_owned(), bytes: std::fs::read(&full).with_context(|| path.to_owned())? });
            }
        }
        let metadata = output(
            Command::new(env!("CARGO")).args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root),
        )?;
        Ok(Self { files, metadata: serde_json::from_slice(&metadata).context("cargo metadata is not JSON")? })
    }

    /// A made-up tree.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), bytes: text.as_bytes().to_vec() };
        Self { files: files.iter().map(file).collect(), metadata: serde_json::json!({"packages": []}) }
    }

    /// A made-up tree with what cargo would say of it.
    #[cfg(test)]
    pub fn with_metadata(metadata: serde_json::Value) -> Self {
        Self { files: Vec::new(), metadata }
    }

    /// Every file, in the order of their paths.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// `cargo metadata --no-deps`.
    pub const fn metadata(&self) -> &serde_json::Value {
        &self.metadata
    }

    /// The text of one file, if it is tracked.
    pub fn text_of(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).and_then(File::text)
    }

    /// The Rust files under one of the folders, with their text.
    pub fn rust_under<'a>(&'a self, folders: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let inside = move |path: &str| folders.iter().any(|folder| path.starts_with(folder));
        self.files
            .iter()
            .filter(move |file| file.path.ends_with(".rs") && inside(&file.path))
            .filter_map(|file| Some((file.path.as_str(), file.text()?)))
    }
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let done = command.output().with_context(|| format!("starting {command:?}"))?;
    ensure!(done.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&done.stderr));
    Ok(done.stdout)
}
