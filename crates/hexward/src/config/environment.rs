//! The environment: `.env` (shared defaults), then `.env.local` (own overrides), then the process's own, which wins.

use super::Faults;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

const FILES: [&str; 2] = [".env", ".env.local"];

/// Variables by name. Values are secrets until proven otherwise, so this has no Debug.
pub struct Environment(BTreeMap<String, Variable>);

struct Variable {
    value: String,
    origin: Origin,
}

/// From where a variable is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// One of the two files, and its line.
    File(&'static str, usize),
    /// The process's own environment.
    Process,
    /// The program made it itself.
    Made,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, line) => write!(f, "{name}, line {line}"),
            Self::Process => f.write_str("environment"),
            Self::Made => f.write_str("made by this program"),
        }
    }
}

/// Loads the three layers.
///
/// # Errors
/// A `.env` file that can't be read or understood, with its line. A missing one is none.
pub fn load(folder: &Path, process: impl Iterator<Item = (String, String)>) -> Result<Environment, Faults> {
    let mut all = BTreeMap::new();
    for name in FILES {
        let path = folder.join(name);
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| Faults::one(name, error.to_string()))?;
        // The library's own text quotes the line, which may hold a secret.
        let fault = |error: dotenvy::Error| {
            let reason = match error {
                dotenvy::Error::LineParse(line, at) => format!(
                    "line {} can't be understood (at its character {at}); each must be NAME=value",
                    text.lines().position(|each| each == line).map_or_else(|| "?".to_owned(), |number| (number + 1).to_string())
                ),
                dotenvy::Error::Io(error) => error.to_string(),
                dotenvy::Error::EnvVar(_) | _ => "can't be read".to_owned(),
            };
            Faults::one(name, reason)
        };
        for pair in dotenvy::from_read_iter(text.as_bytes()) {
            let (key, value) = pair.map_err(fault)?;
            let origin = Origin::File(name, line_of(&text, &key));
            all.insert(key, Variable { value, origin });
        }
    }
    all.extend(process.map(|(key, value)| (key, Variable { value, origin: Origin::Process })));
    Ok(Environment(all))
}

/// The last one that sets it: it wins.
fn line_of(text: &str, name: &str) -> usize {
    let sets = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().enumerate().filter(|(_, line)| sets(line)).last().map_or(1, |(at, _)| at + 1)
}

impl Environment {
    #[cfg(test)]
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name, Variable { value, origin: Origin::Process })).collect())
    }

    /// Adds what is not set.
    pub fn or(mut self, name: &str, value: String) -> Self {
        self.0.entry(name.to_owned()).or_insert(Variable { value, origin: Origin::Made });
        self
    }

    /// Replaces or removes a variable.
    pub fn with(mut self, name: &str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.0.insert(name.to_owned(), Variable { value, origin: Origin::Made }),
            None => self.0.remove(name),
        };
        self
    }

    /// From where a variable that is set has its value.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.text(name)?;
        self.0.get(name).map(|variable| &variable.origin)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|variable| variable.value.as_str()).filter(|value| !value.is_empty())
    }

    /// A secret, if it is set.
    pub fn secret(&self, name: &str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }

    /// The provider's key. Where a host already set `ANTHROPIC_API_KEY_ORIGINAL`, that is the real one.
    pub fn api_key(&self, faults: &mut Faults) -> Option<SecretString> {
        let key = self.secret("ANTHROPIC_API_KEY_ORIGINAL").or_else(|| self.secret("ANTHROPIC_API_KEY"));
        if key.is_none() {
            faults.add("ANTHROPIC_API_KEY", "is not set; it is needed to reach the model (`hexward demo` works without one)");
        }
        let admin = |name: &str| self.text(name).is_some_and(|key| key.starts_with("sk-ant-admin"));
        if admin("ANTHROPIC_API_KEY") || admin("ANTHROPIC_API_KEY_ORIGINAL") {
            faults.add("ANTHROPIC_API_KEY", "is an admin key, which can do far more than call a model; use an ordinary API key");
        }
        key
    }

    /// `true` or `false`.
    pub fn flag(&self, name: &str, default: bool, faults: &mut Faults) -> Option<bool> {
        match self.text(name) {
            None => Some(default),
            Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(_) => {
                faults.add(name, "must be true or false");
                None
            }
        }
    }

    /// Whether the host's own variables mark a production deployment.
    pub fn says_production(&self) -> bool {
        ["NODE_ENV", "VERCEL_ENV", "HEXWARD_ENV"].iter().any(|name| self.text(name) == Some("production"))
    }

    /// What is set and would have to be obeyed, but can't be yet.
    pub fn refuse_unsupported(&self, faults: &mut Faults) {
        if self.text("VERCEL_OIDC_TOKEN").is_some() {
            faults.add(
                "VERCEL_OIDC_TOKEN",
                "is set, but there is no Vercel Sandbox backend in this version. Remove it to run agents on this host",
            );
        }
    }

    /// The address people use, for the origin check behind a proxy.
    pub fn public_url(&self, faults: &mut Faults) -> Option<String> {
        let text = self.text("HEXFRAME_API_BASE_URL")?;
        match url::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url.origin().ascii_serialization()),
            Ok(_) | Err(_) => {
                faults.add("HEXFRAME_API_BASE_URL", "must be an http or https address, like https://map.example.org");
                None
            }
        }
    }
}

/// Whether an origin can be of this machine only.
pub fn is_loopback(origin: &str) -> bool {
    url::Url::parse(origin).is_ok_and(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
}
