//! The runtime image: a folder with exactly the executable and the libraries that its profile names, copied, so that a sandbox
//! shares no file with the host's own programs.

use super::EXECUTABLE;
use anyhow::{Context, Result, bail};
use sandbox::Profile;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Folders and files of an image: read and executed by a sandbox's own user, written by nobody but who installed them.
const OPEN: u32 = 0o755;

/// Fills a new image. The executable is moved when it may be, since it is large.
pub fn assemble(image: &Path, executable: &Path, keep: bool) -> Result<()> {
    check_executable(executable)?;
    let at = place(image, Path::new(EXECUTABLE))?;
    if keep {
        copy(executable, &at)?;
    } else {
        std::fs::rename(executable, &at).with_context(|| format!("{} can't be moved", executable.display()))?;
    }
    open(&at)?;
    for (source, target) in Profile::agent()?.files() {
        let at = place(image, target)?;
        copy(source, &at)?;
        open(&at)?;
    }
    Ok(())
}

/// The libraries that today's profile wants, as paths inside an image.
pub fn wanted() -> Result<Vec<String>> {
    let profile = Profile::agent()?;
    Ok(profile.files().map(|(_, target)| target.to_string_lossy().trim_start_matches('/').to_owned()).collect())
}

/// A path below the image, with the folders above it made and open.
fn place(image: &Path, inside: &Path) -> Result<PathBuf> {
    let at = image.join(inside.strip_prefix("/").unwrap_or(inside));
    let folder = at.parent().unwrap_or(image);
    std::fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(image)) {
        open(folder)?;
    }
    Ok(at)
}

fn copy(source: &Path, at: &Path) -> Result<()> {
    std::fs::copy(source, at).map(drop).with_context(|| format!("{} can't be copied to {}", source.display(), at.display()))
}

/// Makes a file or folder usable for a sandbox's user.
pub fn open(path: &Path) -> Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(OPEN))
        .with_context(|| format!("{} can't be opened to sandboxes", path.display()))
}

/// An ELF executable of 64 bits, little-endian, for this machine: anything else would only fail later, and less clearly.
fn check_executable(path: &Path) -> Result<()> {
    /// `e_machine` of x86-64 and AArch64 (ELF specification).
    const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut head = [0_u8; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.with_context(|| format!("{} can't be read: it is not the agent's executable", path.display()))?;
    let [0x7f, b'E', b'L', b'F', 2, 1, .., low, high] = head else {
        bail!("{} is not a program (no 64-bit ELF file): the package is damaged or not the agent's", path.display());
    };
    let machine = u16::from_le_bytes([low, high]);
    if machine != MACHINE {
        bail!("{} is a program for another machine (ELF machine {machine}, this one is {MACHINE})", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_for_this_machine_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("claude");
        let mut own = std::fs::read(std::env::current_exe().expect("a path")).expect("readable");
        own.truncate(64);
        let judged = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            check_executable(&path).map_err(|error| error.to_string())
        };
        assert_eq!(judged(&own), Ok(()));
        assert!(judged(b"#!/bin/sh\necho no program at all\n").expect_err("a script").contains("not a program"));
        assert!(judged(b"\x7fELF").expect_err("cut off").contains("can't be read"));
        own.iter_mut().skip(18).take(1).for_each(|byte| *byte ^= 0xff);
        assert!(judged(&own).expect_err("foreign").contains("another machine"));
    }
}
