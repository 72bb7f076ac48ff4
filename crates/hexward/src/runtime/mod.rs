//! `hexward runtime-build`: assembles the fuller runtime's image from copies of the host's programs and what they need.

mod lock;

pub(crate) use lock::verify;

use crate::arguments::RuntimeArgs;
use anyhow::{Context, Result, bail};
use sandbox::{CodeRuntime, Profile, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where Debian's programs are; a developer's own versions elsewhere are not meant.
const BINS: [&str; 2] = ["/usr/bin", "/bin"];
/// Read and executed by a sandbox's own user, written by nobody but who built it.
const FOLDER_MODE: u32 = 0o755;
const FILES_MAX: usize = 20_000;

/// What goes where: the path inside, and the host's file.
type Files = BTreeMap<PathBuf, PathBuf>;

/// Builds the image beside the one in use and puts it in its place as a whole.
pub fn build(args: &RuntimeArgs) -> Result<ExitCode> {
    let runtime = CodeRuntime::shipped()?;
    let files = collect(&runtime)?;
    let size_mb = size_of(&files)? >> 20;
    if size_mb > runtime.size_mb {
        bail!("the runtime would have {size_mb} MiB; profiles/code.toml allows {}", runtime.size_mb);
    }
    let (new, old) = (args.folder.with_extension("new"), args.folder.with_extension("old"));
    remove(&new)?;
    make_open(args.folder.parent().unwrap_or(Path::new(".")))?;
    let made = fill(&new, &files, &runtime).and_then(|()| lock::write(&new));
    if let Err(error) = made {
        remove(&new)?;
        return Err(error);
    }
    remove(&old)?;
    if args.folder.exists() {
        std::fs::rename(&args.folder, &old).with_context(|| format!("{} can't be moved away", args.folder.display()))?;
    }
    std::fs::rename(&new, &args.folder).with_context(|| format!("{} can't be put in place", args.folder.display()))?;
    remove(&old)?;
    writeln!(
        std::io::stdout(),
        "the runtime is in {}: {} files, {size_mb} MiB; a gateway that runs must be restarted",
        args.folder.display(),
        files.len()
    )?;
    Ok(ExitCode::SUCCESS)
}

fn collect(runtime: &CodeRuntime) -> Result<Files> {
    let mut files = Files::new();
    for programs in &runtime.programs {
        for name in &programs.names {
            let found = BINS.iter().map(|bin| Path::new(bin).join(name)).find(|path| path.exists());
            let found = found.with_context(|| format!("{name} is missing: install the Debian package {}", programs.package))?;
            files.insert(Path::new("usr/bin").join(name), real(&found)?);
        }
    }
    for tree in &runtime.tree {
        let roots = matching(&tree.path)?;
        if roots.is_empty() {
            bail!("{} is missing: install the packages that profiles/code.toml names", tree.path);
        }
        for root in roots {
            walk(&root, tree, &mut files)?;
        }
    }
    // The agent itself runs in this image, too.
    for (source, target) in Profile::agent()?.files() {
        files.insert(inside(target), source.to_owned());
    }
    let needed = libraries(files.values())?;
    for library in needed {
        files.insert(inside(&library), real(&library)?);
    }
    Ok(files)
}

/// The path inside: everything stands below `usr`, as on a Debian of today.
fn inside(host: &Path) -> PathBuf {
    let path = host.strip_prefix("/").unwrap_or(host);
    if path.starts_with("usr") { path.to_owned() } else { Path::new("usr").join(path) }
}

fn real(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("{} leads nowhere", path.display()))
}

/// Folders whose name begins as the pattern does.
fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let Some(start) = pattern.strip_suffix('*') else { return Ok(vec![PathBuf::from(pattern)]) };
    let folder = Path::new(start).parent().unwrap_or(Path::new("/"));
    let entries = std::fs::read_dir(folder).with_context(|| format!("{} can't be listed", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.to_string_lossy().starts_with(start) && path.is_dir() && !path.is_symlink()).collect())
}

/// Plain files only: a link could lead out of what is copied.
fn walk(root: &Path, tree: &Tree, files: &mut Files) -> Result<()> {
    let mut left = vec![root.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("{} can't be listed", folder.display()))? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if tree.without.iter().any(|name| entry.file_name() == name.as_str()) || kind.is_symlink() {
                continue;
            }
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() {
                files.insert(inside(&path), path);
            }
            if files.len() > FILES_MAX {
                bail!("{} has more than {FILES_MAX} files", root.display());
            }
        }
    }
    Ok(())
}

/// What the loader would load for these programs and libraries, and the loader itself.
fn libraries<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Result<BTreeSet<PathBuf>> {
    let is_binary = |path: &&PathBuf| {
        let mut head = [0_u8; 4];
        std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head)).is_ok()
            && head == *b"\x7fELF"
    };
    let binaries: BTreeSet<&PathBuf> = files.filter(is_binary).collect();
    let output =
        Command::new("ldd").args(binaries).output().context("ldd can't be started: install the Debian package libc-bin")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        bail!("a library is missing on this host: {}", line.trim());
    }
    // `name => /path (address)`, or `/loader (address)`.
    let path = |line: &str| line.rsplit("=> ").next().and_then(|rest| rest.trim().split(" (0x").next()).map(str::to_owned);
    let lines = text.lines().filter(|line| line.starts_with('\t'));
    Ok(lines.filter_map(path).filter(|path| path.starts_with('/')).map(PathBuf::from).collect())
}

fn size_of(files: &Files) -> Result<u64> {
    let sizes = files.values().map(|path| std::fs::metadata(path).with_context(|| format!("{} can't be read", path.display())));
    sizes.map(|meta| meta.map(|meta| meta.len())).sum()
}

fn fill(image: &Path, files: &Files, runtime: &CodeRuntime) -> Result<()> {
    let mut folders = BTreeSet::from([image.to_owned()]);
    for (inside, source) in files {
        let at = image.join(inside);
        let parent = at.parent().unwrap_or(image);
        std::fs::create_dir_all(parent).with_context(|| format!("{} can't be made", parent.display()))?;
        folders.extend(parent.ancestors().take_while(|folder| folder.starts_with(image)).map(Path::to_owned));
        std::fs::copy(source, &at).with_context(|| format!("{} can't be copied to {}", source.display(), at.display()))?;
        // Never more than reading and executing, whatever the host's file had: no set-user-id, no writing for others.
        let executable = std::fs::metadata(source)?.permissions().mode() & 0o111 != 0;
        std::fs::set_permissions(&at, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    }
    for link in &runtime.link {
        let at = image.join(inside(&link.path));
        std::os::unix::fs::symlink(&link.points_to, &at).with_context(|| format!("{} can't be made", at.display()))?;
    }
    for folder in folders {
        std::fs::set_permissions(&folder, Permissions::from_mode(FOLDER_MODE))
            .with_context(|| format!("{}", folder.display()))?;
    }
    Ok(())
}

/// Makes a folder and those above it that are missing, so that a gateway of another user finds what is in it.
fn make_open(folder: &Path) -> Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists() && *folder != Path::new("")).collect();
    for folder in missing.into_iter().rev() {
        let open = || {
            std::fs::create_dir(folder)?;
            std::fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))
        };
        open().with_context(|| format!("{} can't be made", folder.display()))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} can't be removed", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
