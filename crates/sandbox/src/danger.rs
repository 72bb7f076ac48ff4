//! Which changes other programs would act on without being asked.

use crate::changes::What;
use std::path::{Component, Path};

/// Patterns of paths, with a reason each.
#[derive(Clone, Debug, Default)]
pub struct Dangers(Vec<(Vec<String>, String)>);

impl Dangers {
    /// Patterns as `profiles/run.toml` has them.
    pub(crate) fn new(patterns: impl IntoIterator<Item = (String, String)>) -> Self {
        let parts = |path: String| path.to_lowercase().split('/').map(str::to_owned).collect();
        Self(patterns.into_iter().map(|(path, reason)| (parts(path), reason)).collect())
    }

    /// Why a change at this path must be looked at first.
    pub(crate) fn of(&self, path: &Path, what: &What) -> Option<String> {
        let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().to_lowercase()).collect();
        let matched =
            self.0.iter().find(|(pattern, _)| contains(&parts, pattern) || (*what != What::Folder && leads_to(&parts, pattern)));
        let by_name = matched.map(|(_, reason)| reason.clone());
        by_name.or_else(|| match what {
            What::Link(to) if leads_out(path, to) => Some("a link that leads out of the project".to_owned()),
            What::Link(_) | What::File { .. } | What::Folder | What::Other => None,
        })
    }
}

fn fits(part: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => part.starts_with(beginning),
        None => part == pattern,
    }
}

fn all_fit(parts: &[String], pattern: &[String]) -> bool {
    parts.len() == pattern.len() && parts.iter().zip(pattern).all(|(part, pattern)| fits(part, pattern))
}

fn contains(parts: &[String], pattern: &[String]) -> bool {
    parts.windows(pattern.len()).any(|window| all_fit(window, pattern))
}

/// A file or link in the place of a folder on the way to what a pattern names, as `.git` or `.github` are: it may lead
/// whoever looks there elsewhere.
fn leads_to(parts: &[String], pattern: &[String]) -> bool {
    (1..pattern.len()).any(|length| {
        let tail = parts.len().checked_sub(length).and_then(|from| parts.get(from..));
        tail.zip(pattern.get(..length)).is_some_and(|(tail, head)| all_fit(tail, head))
    })
}

/// Whether a link's text names a place above the project, however it gets there.
fn leads_out(path: &Path, to: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for part in to.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn danger(path: &str, what: &What) -> bool {
        let patterns = [(".git/hooks", "hooks"), (".env*", "settings"), ("Jenkinsfile", "build")];
        let dangers = Dangers::new(patterns.map(|(path, reason)| (path.to_owned(), reason.to_owned())));
        dangers.of(Path::new(path), what).is_some()
    }

    #[test]
    fn names_are_found_at_any_depth_and_in_any_case() {
        let file = What::File { bytes: 1 };
        for path in [".git/hooks/pre-commit", "vendor/x/.git/hooks/a", ".GIT/Hooks/a", ".env", "a/.env.local", "jenkinsfile"] {
            assert!(danger(path, &file), "{path}");
        }
        for path in ["src/main.rs", ".git/HEAD", "git/hooks/a", "hooks/.github", "my.env", "Jenkinsfile.md"] {
            assert!(!danger(path, &file), "{path}");
        }
        assert!(danger(".git", &file), "a file that leads git elsewhere");
        assert!(!danger(".git", &What::Folder));
    }

    #[test]
    fn links_that_leave_the_project_are_found() {
        let link = |to: &str| What::Link(to.into());
        for (path, to) in [("a", "/etc/passwd"), ("a", ".."), ("d/a", "../../x"), ("d/a", "x/../../../y"), (".git", "elsewhere")]
        {
            assert!(danger(path, &link(to)), "{path} -> {to}");
        }
        for (path, to) in [("a", "b"), ("d/a", "../b"), ("d/e/a", "../../f/./g")] {
            assert!(!danger(path, &link(to)), "{path} -> {to}");
        }
    }
}
