//! Where the command runs, which program it is, and what of the developer's environment it may know.

use super::{NOT_EXECUTABLE, NOT_FOUND, OWN_FAILURE};
use anyhow::{Context, Result};
use sandbox::ProgramProfile;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";
/// What is passed on without being asked for: how to draw, and in which language.
const PASSED_ON: &[&str] = &["TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];
/// Folders that are not projects, beside those that every sandbox sees.
const NOT_PROJECTS: &[&str] = &["/etc", "/proc", "/sys", "/dev", "/run", "/boot"];
const NOT_PROJECTS_THEMSELVES: &[&str] = &["/", "/tmp", "/var/tmp", "/var", "/home", "/root", "/mnt", "/media", "/srv"];

/// Why the command was not started, with the exit code that says so.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    pub code: u8,
    pub reason: String,
}

fn refuse<T>(code: u8, reason: String) -> Result<T> {
    Err(Refusal { code, reason }.into())
}

/// Whoever types the command.
pub struct Developer {
    variables: BTreeMap<String, String>,
}

impl Developer {
    /// The process's own environment. No file of the project is read for it.
    #[expect(clippy::disallowed_methods, reason = "what the developer has set is this command's configuration")]
    pub fn here() -> Self {
        let text = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { variables: text.collect() }
    }

    /// A variable that says something.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether every command gets this variable, or the sandbox's own value for it.
    pub fn passes_on(name: &str) -> bool {
        name == "PATH" || PASSED_ON.contains(&name) || ProgramProfile::sets(name)
    }

    /// The current folder, if it can be a project.
    pub fn project(&self, profile: &ProgramProfile) -> Result<PathBuf> {
        let here = std::env::current_dir().and_then(|here| here.canonicalize()).context("the current folder is not known")?;
        let home = self.variable("HOME").and_then(|home| Path::new(home).canonicalize().ok());
        let shown = here.display();
        if home.is_some_and(|home| home.starts_with(&here)) {
            return refuse(
                OWN_FAILURE,
                format!("{shown} holds your home folder: the command would see all of it. Change to a project"),
            );
        }
        let system = profile.shows(&here) || NOT_PROJECTS.iter().any(|folder| here.starts_with(folder));
        if system || NOT_PROJECTS_THEMSELVES.iter().any(|folder| here == Path::new(folder)) {
            return refuse(OWN_FAILURE, format!("{shown} is a folder of the system, not a project. Change to a project"));
        }
        Ok(here)
    }

    /// The command with its program as a path inside.
    pub fn argv(&self, command: &[String], profile: &ProgramProfile, project: &Path) -> Result<Vec<String>> {
        let (name, rest) = command.split_first().context("no command was given")?;
        let program = self.program(name, profile, project)?;
        let Some(program) = program.to_str() else { return refuse(NOT_FOUND, format!("{name}: its path is no text")) };
        Ok(std::iter::once(program.to_owned()).chain(rest.iter().cloned()).collect())
    }

    fn program(&self, name: &str, profile: &ProgramProfile, project: &Path) -> Result<PathBuf> {
        let candidates: Vec<PathBuf> = if name.contains('/') {
            vec![project.join(name)]
        } else {
            self.path(profile, project).iter().map(|folder| folder.join(name)).collect()
        };
        let found = candidates.iter().filter_map(|path| Some((path, std::fs::metadata(path).ok()?)));
        let mut unfit = None;
        for (path, meta) in found {
            if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
                unfit = Some(path);
                continue;
            }
            // Dots and links on the way are resolved, the last name is not: some programs are many by their name.
            let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
            let Some(real) = folder.zip(path.file_name()).map(|(folder, file)| folder.join(file)) else { continue };
            if let Ok(within) = real.strip_prefix(project) {
                return Ok(ProgramProfile::project_inside(project).join(within));
            }
            if profile.shows(&real) {
                return Ok(real);
            }
            return refuse(NOT_FOUND, format!("{}: neither in the project nor in a folder that a sandbox sees", real.display()));
        }
        match unfit {
            Some(path) => refuse(NOT_EXECUTABLE, format!("{}: not an executable file", path.display())),
            None => refuse(NOT_FOUND, format!("{name}: not found in the folders of PATH that a sandbox sees")),
        }
    }

    /// The folders of the developer's PATH that exist inside.
    fn path(&self, profile: &ProgramProfile, project: &Path) -> Vec<PathBuf> {
        let seen = |folder: &PathBuf| folder.is_absolute() && (profile.shows(folder) || folder.starts_with(project));
        let own: Vec<PathBuf> =
            self.variable("PATH").map(|path| std::env::split_paths(path).filter(seen).collect()).unwrap_or_default();
        if own.is_empty() { std::env::split_paths(PATH_DEFAULT).collect() } else { own }
    }

    /// Everything the command finds in its environment but for its home and certificates.
    pub fn environment(&self, wanted: &[String], profile: &ProgramProfile, project: &Path) -> BTreeMap<String, String> {
        let named = PASSED_ON.iter().copied().chain(wanted.iter().map(String::as_str));
        let mut environment: BTreeMap<String, String> =
            named.filter_map(|name| Some((name.to_owned(), self.variable(name)?.to_owned()))).collect();
        let inside = ProgramProfile::project_inside(project);
        let place = |folder: PathBuf| folder.strip_prefix(project).map(|within| inside.join(within)).unwrap_or(folder);
        if let Ok(path) = std::env::join_paths(self.path(profile, project).into_iter().map(place))
            && let Ok(path) = path.into_string()
        {
            environment.insert("PATH".to_owned(), path);
        }
        environment
    }
}
