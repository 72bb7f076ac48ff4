//! An image whose content a lock pins: which files there are, who may write them, and the SHA-256 of each.

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use sandbox::Seal;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 20;

/// A folder that sandboxes see.
pub struct Image<'a> {
    /// It.
    pub folder: &'a Path,
    /// What it is to people: `the agent's image`.
    pub name: &'static str,
    /// The command that makes it anew.
    pub command: &'static str,
    /// Entries at most.
    pub entries_max: usize,
}

/// By path inside: the SHA-256 of each file, where each symbolic link points to.
#[derive(Clone, Copy)]
pub struct Pins<'a> {
    /// Files.
    pub files: &'a BTreeMap<String, String>,
    /// Links.
    pub links: &'a BTreeMap<String, String>,
}

/// One entry of an image.
struct Entry {
    path: String,
    kind: Kind,
}

#[derive(PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    Link(String),
}

impl Image<'_> {
    /// What a new image holds: files and links.
    pub fn pins(&self) -> Result<(BTreeMap<String, String>, BTreeMap<String, String>)> {
        let (mut files, mut links) = (BTreeMap::new(), BTreeMap::new());
        for Entry { path, kind } in self.entries()? {
            match kind {
                Kind::Folder => {}
                Kind::File => drop(files.insert(path.clone(), sha256(&self.folder.join(path))?)),
                Kind::Link(to) => drop(links.insert(path, to)),
            }
        }
        Ok((files, links))
    }

    /// Compares everything with what is pinned, and seals it.
    pub fn verify(&self, pins: Pins<'_>) -> Result<Seal> {
        let folders = self.check_entries(pins)?;
        let seal = self.seal(pins, folders)?;
        pins.files.iter().try_for_each(|(path, digest)| self.pinned(path, digest)?.verify())?;
        Ok(seal)
    }

    /// Compares everything but the content, seals it, and opens the files: to compare them takes no rights any more, and
    /// reads what was there at this moment. For an image of few files.
    pub fn open(&self, pins: Pins<'_>) -> Result<(Seal, Vec<Pinned>)> {
        let folders = self.check_entries(pins)?;
        // Before the files are opened: what is put in their place from now on breaks the seal.
        let seal = self.seal(pins, folders)?;
        let files = pins.files.iter().map(|(path, digest)| self.pinned(path, digest));
        Ok((seal, files.collect::<Result<_>>()?))
    }

    fn seal(&self, pins: Pins<'_>, folders: Vec<PathBuf>) -> Result<Seal> {
        let files = pins.files.keys().map(|path| self.folder.join(path));
        Seal::of(files.chain(folders)).with_context(|| self.name)
    }

    fn pinned(&self, path: &str, digest: &str) -> Result<Pinned> {
        let path = self.folder.join(path);
        Ok(Pinned { file: open(&path)?, path, digest: digest.to_owned(), command: self.command })
    }

    /// Invariant: nothing in an image can be written by anybody but who installed it, and nothing is there that the lock does not
    /// name. Returns the folders in it.
    pub fn check_entries(&self, pins: Pins<'_>) -> Result<Vec<PathBuf>> {
        let found = self.entries()?;
        let is_named = |entry: &Entry| match &entry.kind {
            Kind::Folder => true,
            Kind::File => pins.files.contains_key(&entry.path),
            Kind::Link(to) => pins.links.get(&entry.path) == Some(to),
        };
        if let Some(entry) = found.iter().find(|entry| !is_named(entry)) {
            let path = self.folder.join(&entry.path);
            if matches!(entry.kind, Kind::Link(_)) {
                bail!("{} is neither a file nor a folder of {}: run `{}`", path.display(), self.name, self.command);
            }
            bail!("{} is in {}, but not in its lock: run `{}`", path.display(), self.name, self.command);
        }
        let is_there = |path: &&String| found.iter().any(|entry| entry.kind != Kind::Folder && entry.path == **path);
        if let Some(path) = pins.files.keys().chain(pins.links.keys()).find(|path| !is_there(path)) {
            bail!("{} is missing: run `{}`", self.folder.join(path).display(), self.command);
        }
        let folders = found.into_iter().filter(|entry| entry.kind == Kind::Folder);
        Ok(folders.map(|entry| self.folder.join(entry.path)).collect())
    }

    /// What is in the folder, without following a link.
    fn entries(&self) -> Result<Vec<Entry>> {
        let own = rustix::process::geteuid().as_raw();
        let (mut left, mut found) = (vec![self.folder.to_owned()], Vec::new());
        while let Some(path) = left.pop() {
            let meta = std::fs::symlink_metadata(&path)
                .with_context(|| format!("{} can't be read: run `{}`", path.display(), self.command))?;
            if meta.uid() != 0 && meta.uid() != own || meta.mode() & 0o022 != 0 && !meta.is_symlink() {
                bail!(
                    "{} could be changed by others than root and this user (owner {}, mode {:o}): run `{}` as this user",
                    path.display(),
                    meta.uid(),
                    meta.mode() & 0o7777,
                    self.command
                );
            }
            let kind = if meta.is_dir() {
                for entry in std::fs::read_dir(&path).with_context(|| format!("{} can't be read", path.display()))? {
                    left.push(entry?.path());
                }
                Kind::Folder
            } else if meta.is_symlink() {
                Kind::Link(std::fs::read_link(&path)?.to_string_lossy().into_owned())
            } else if meta.is_file() {
                Kind::File
            } else {
                bail!("{} is neither a file nor a folder: run `{}`", path.display(), self.command);
            };
            let inside = path.strip_prefix(self.folder).unwrap_or(&path).to_string_lossy().into_owned();
            found.push(Entry { path: inside, kind });
            if found.len() > self.entries_max {
                bail!("{} holds more than {} entries: run `{}`", self.folder.display(), self.entries_max, self.command);
            }
        }
        Ok(found)
    }
}

/// An open file with the digest that it must have.
pub struct Pinned {
    path: PathBuf,
    file: File,
    digest: String,
    command: &'static str,
}

impl Pinned {
    /// Compares the content.
    pub fn verify(self) -> Result<()> {
        let Self { path, file, digest, command } = self;
        let found = digest_of(file, &path)?;
        if found == digest {
            return Ok(());
        }
        bail!(
            "{} was changed after it was installed: its SHA-256 is {found}, the lock says {digest}. \
             Find out who wrote it, then run `{command}`",
            path.display()
        );
    }
}

/// Writes a lock where whoever runs a gateway can read it, whoever installed.
pub fn write_lock(path: &Path, lock: &impl Serialize) -> Result<()> {
    let text = toml::to_string(lock).context("the lock can't be written")?;
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.sync_all()
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}

/// SHA-256 of a file, in hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    digest_of(open(path)?, path)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("{} can't be read", path.display()))
}

fn digest_of(mut file: File, path: &Path) -> Result<String> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer).with_context(|| format!("{} can't be read", path.display()))? {
            0 => return Ok(HEXLOWER.encode(context.finish().as_ref())),
            count => context.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}
