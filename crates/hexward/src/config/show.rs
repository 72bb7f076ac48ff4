//! What is in force, and where it comes from: each name of the environment with its effect, each key with its place. No secret is
//! ever among it.

use super::environment::{Environment, Origin};
use super::source::Source;
use super::{Config, Defaults, Faults, checked, reference, trace};
use data_encoding::HEXLOWER;
use policy::digest_bytes;
use std::fmt::Write as _;
use std::path::Path;

const SECRET_DIGITS: usize = 12;
/// Below this a digest would tell what it is of to whoever tries.
const SECRET_CHARS_MIN: usize = 16;

/// One line of what is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The key or variable.
    pub(crate) name: String,
    /// Its value, where it may be shown.
    pub(crate) value: String,
    /// Where that is from.
    pub(crate) from: String,
}

/// A configuration as it can be shown.
pub(crate) struct Shown {
    /// Everything in force.
    pub(crate) lines: Vec<Line>,
    /// What is wrong, if anything is.
    pub(crate) faults: Option<Faults>,
}

impl Shown {
    /// Reads it; faults don't keep it from being shown.
    ///
    /// # Errors
    /// What keeps it from being read at all.
    pub(crate) fn of(file: Option<&Path>, environment: &Environment, defaults: Defaults) -> Result<Self, Faults> {
        let source = Source::read(file)?;
        let mut lines: Vec<Line> = reference::VARIABLES
            .iter()
            .filter_map(|variable| {
                let origin = environment.origin(variable.name)?;
                let value = environment.shown(variable)?;
                Some(Line { name: variable.name.to_owned(), value, from: origin.to_string() })
            })
            .collect();
        // Variables that the file names hold secrets.
        for entry in source.entries.iter().filter(|entry| names_a_variable(&entry.place)) {
            let name = entry.value.trim_matches(['"', '\'']);
            let (value, from) = match (environment.secret(name), environment.origin(name)) {
                (Some(secret), Some(origin)) => (secret_shown(&secret), origin.to_string()),
                (None, _) | (_, None) => ("not set".to_owned(), source.name_of(entry.at)),
            };
            lines.push(Line { name: name.to_owned(), value, from });
        }
        let mut shown: Vec<&str> = Vec::new();
        for entry in source.entries.iter().filter(|entry| !entry.value.is_empty()) {
            if shown.iter().any(|list| entry.place.strip_prefix(list).is_some_and(|rest| rest.starts_with('['))) {
                continue;
            }
            shown.push(&entry.place);
            let value = without_password(&entry.value);
            lines.push(Line { name: entry.place.clone(), value, from: source.name_of(entry.at) });
        }
        for name in trace::keys_of::<super::File>().iter().map(|key| trace::written(&key.path)) {
            if let Some(key) = reference::key_of(&name).filter(|key| !key.default.is_empty())
                && !name.contains(['[', 'N'])
                && !shown.contains(&name.as_str())
            {
                lines.push(Line { name, value: key.default.to_owned(), from: "default".to_owned() });
            }
        }
        let faults = match checked(source, environment, defaults) {
            Ok(config) => {
                lines.extend(settled(&config, environment));
                None
            }
            Err(faults) => Some(faults),
        };
        Ok(Self { lines, faults })
    }

    /// For people: aligned, one a line.
    pub(crate) fn text(&self) -> String {
        let width = |of: fn(&Line) -> &str| self.lines.iter().map(|line| of(line).chars().count()).max().unwrap_or(0).min(44);
        let (names, values) = (width(|line| &line.name), width(|line| &line.value));
        let mut text = String::new();
        for Line { name, value, from } in &self.lines {
            let _ = writeln!(text, "{name:<names$}  {value:<values$}  {from}");
        }
        text
    }
}

/// What follows from several places.
fn settled(config: &Config, environment: &Environment) -> Vec<Line> {
    let mut lines = Vec::new();
    if config.production && environment.says_production() {
        lines.push(("deployment", "\"production\"".to_owned(), "environment marks it so".to_owned()));
    }
    for (name, path) in
        [("agent.path", &config.agent_path), ("agent.jail", &config.jail_path), ("agent.runtime", &config.runtime_path)]
    {
        lines.push((name, format!("{:?}", path.display().to_string()), "in force".to_owned()));
    }
    lines.push(("--state-dir", format!("{:?}", config.state_dir.display().to_string()), "in force".to_owned()));
    let line = |(name, value, from): (&str, String, String)| Line { name: name.to_owned(), value, from };
    lines.into_iter().map(line).collect()
}

fn names_a_variable(place: &str) -> bool {
    place.rsplit('.').next().is_some_and(|name| name == "env" || name.ends_with("_env"))
}

/// A value of the file; an address in it may hold a password.
fn without_password(value: &str) -> String {
    let inner = value.trim_matches(['"', '\'']);
    let Some(mut url) = url::Url::parse(inner).ok().filter(|url| url.password().is_some()) else { return value.to_owned() };
    // An address that has one takes another.
    if url.set_password(Some("***")).is_err() { "\"***\"".to_owned() } else { format!("{:?}", url.as_str()) }
}

fn secret_shown(secret: &secrecy::SecretString) -> String {
    use secrecy::ExposeSecret;
    let secret = secret.expose_secret();
    if secret.len() < SECRET_CHARS_MIN {
        return "set".to_owned();
    }
    let digits: String = HEXLOWER.encode(&digest_bytes(secret.as_bytes())).chars().take(SECRET_DIGITS).collect();
    format!("set (sha256 {digits}...)")
}

impl Environment {
    /// A variable's value as it may be shown: of a secret only the beginning of its digest.
    fn shown(&self, variable: &reference::Variable) -> Option<String> {
        let text = self.text(variable.name)?;
        Some(match variable.shown {
            reference::Shown::Plain => format!("{text:?}"),
            reference::Shown::Secret => self.secret(variable.name).map(|secret| secret_shown(&secret))?,
            reference::Shown::Address => without_password(&format!("{text:?}")),
        })
    }

    /// One sentence for each name that is set: from which layer, and what it does. For the log at a start.
    #[must_use]
    pub fn effects(&self) -> Vec<String> {
        let line = |variable: &reference::Variable| {
            let origin = self.origin(variable.name).filter(|origin| **origin != Origin::Made)?;
            let loses = variable.name == "ANTHROPIC_API_KEY" && self.text("ANTHROPIC_API_KEY_ORIGINAL").is_some();
            let effect = if loses { "not used: ANTHROPIC_API_KEY_ORIGINAL wins" } else { variable.effect };
            Some(format!("{} = {} ({origin}): {effect}", variable.name, self.shown(variable)?))
        };
        reference::VARIABLES.iter().filter_map(line).collect()
    }
}
