//! The templates of a helper: read once, at its start, from files that nobody else can write.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use jail::{Failure, Step, Template};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::process::geteuid;

use crate::authority::Templates;
use crate::failure::{Because, failure};

/// A template is a few kilobytes.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
const TEMPLATES_MAX: usize = 64;

/// Reads every template of a folder, which as each of its files belongs to this program's user and can be written by
/// nobody else.
pub fn read(folder: &Path) -> Result<Templates, Failure> {
    let say = || format!("the folder of templates {} can't be read", folder.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat2(CWD, folder, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).because(Step::Plan, say)?;
    own(&opened, &folder.display().to_string(), FileType::Directory)?;
    let mut templates = Templates::new();
    for entry in Dir::read_from(&opened).because(Step::Plan, say)? {
        let entry = entry.because(Step::Plan, say)?;
        let file = entry.file_name().to_string_lossy();
        if file == "." || file == ".." {
            continue;
        }
        let name = file.strip_suffix(".json").filter(|name| is_name(name));
        let name = name.ok_or_else(|| failure(Step::Plan, format!("{file:?} is not the name of a template (NAME.json)")))?;
        templates.insert(name.to_owned(), read_template(&opened, &file)?);
        if templates.len() > TEMPLATES_MAX {
            return Err(failure(Step::Plan, format!("more than {TEMPLATES_MAX} templates")));
        }
    }
    Ok(templates)
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn read_template(folder: &OwnedFd, name: &str) -> Result<Template, Failure> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(folder, name, flags, Mode::empty()).because(Step::Plan, || format!("template {name} can't be opened"))?;
    own(&file, name, FileType::RegularFile)?;
    let mut text = String::new();
    let file = std::fs::File::from(file);
    std::io::Read::read_to_string(&mut std::io::Read::take(file, TEMPLATE_BYTES_MAX), &mut text)
        .because(Step::Plan, || format!("template {name} can't be read"))?;
    let template: Template =
        serde_json::from_str(&text).map_err(|error| failure(Step::Plan, format!("template {name}: {error}")))?;
    template.validate().map_err(|fault| failure(Step::Plan, format!("template {name}: {fault}")))?;
    Ok(template)
}

/// Whether what was opened is of a kind and nobody else's to write.
fn own(fd: impl AsFd, name: &str, kind: FileType) -> Result<(), Failure> {
    let stat = statat(fd, "", AtFlags::EMPTY_PATH).because(Step::Plan, || format!("{name} can't be looked at"))?;
    let is_own = stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o022 == 0;
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(failure(Step::Plan, format!("template {name} is not a {kind:?}")));
    }
    if !is_own {
        let message = format!("{name} could be written by others than the helper's user: chown and chmod go-w it");
        return Err(failure(Step::Plan, message));
    }
    Ok(())
}
