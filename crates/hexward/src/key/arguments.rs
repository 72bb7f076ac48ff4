//! What can be said after `hexward key`.

use clap::{Args, Subcommand};
use policy::{HostAction, KeyPath, KeyPurpose, KeyScope, Microusd, Network, UserId, is_key_name};
use std::path::PathBuf;

const DAYS_MAX: i64 = 3650;
const GRACE_SECS_MAX: i64 = 30 * 86_400;

#[derive(Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
    /// The gateway's state folder, where its database is unless `DATABASE_URL` names another.
    #[arg(long, value_name = "DIR", default_value = ".hexward/state", global = true)]
    pub(crate) state_dir: PathBuf,
    /// The gateway's configuration file, where it has apps of its own that a key may be for.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key and prints its token, once. Only its digest is kept.
    Create(Box<CreateArgs>),
    /// Lists all keys, also those that ended.
    List,
    /// Shows one key as JSON.
    Show {
        /// The key's id.
        id: String,
    },
    /// Ends a key. A running gateway refuses it within a second.
    Revoke {
        /// The key's id.
        id: String,
    },
    /// Makes a key with the same scope in place of another, prints its token, and ends the old one.
    Rotate {
        /// A key's id, or a principal, all of whose keys are replaced by one: `internal` for `INTERNAL_PROXY_SECRET`.
        which: String,
        /// How long the old one is still good.
        #[arg(long, value_name = "SECS", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=GRACE_SECS_MAX))]
        grace: i64,
    },
}

/// A key's scope. What is left out is what the callers' listener allows.
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// What you call it: letters, digits, `-`, `_` and `.`.
    #[arg(value_parser = name)]
    pub(crate) name: String,
    /// Whose calls it makes. Keys of one principal share budget and requests. Without it, the key's name.
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) principal: Option<String>,
    /// What it opens: `model`, the model API for a service; `mcp`, the tools of one app for a person's own client, with `--user` and
    /// `--app`; or `service`, the API of a host application for its back end, with `--host`.
    #[arg(long, value_name = "PURPOSE", default_value = "model", value_parser = purpose)]
    pub(crate) purpose: KeyPurpose,
    /// Whose tools it opens, by the user's id.
    #[arg(long, value_name = "ID", value_parser = user)]
    pub(crate) user: Option<UserId>,
    /// The host application whose back end it is for, by its id under `[[hosts]]`.
    #[arg(long, value_name = "ID", value_parser = name)]
    pub(crate) host: Option<String>,
    /// What a host's key may be used for: runs, read, confirm, undo or users; may be repeated. Without it, all of that.
    #[arg(long, value_name = "ACTION", value_parser = action)]
    action: Vec<HostAction>,
    /// A tool it may call; may be repeated. Without it, all of the app's.
    #[arg(long, value_name = "TOOL", value_parser = name)]
    tool: Vec<String>,
    /// Whether it may ask for changes. Each waits for its person's confirmation all the same.
    #[arg(long)]
    writes: bool,
    /// Whether a service may make keys with it for single requests of its agents, for users of its own (`/api/mcp-sessions`).
    #[arg(long)]
    sessions: bool,
    /// A model it may name; may be repeated.
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// A path it may ask: messages, count_tokens or models; may be repeated.
    #[arg(long, value_name = "PATH", value_parser = path)]
    path: Vec<KeyPath>,
    /// Output tokens of one call at most.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    output_tokens_max: Option<u64>,
    /// What its principal may spend in a UTC day, in dollars.
    #[arg(long, value_name = "DOLLARS", value_parser = usd)]
    day_usd: Option<Microusd>,
    /// Requests of its principal in a UTC hour, at each gateway.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_hour: Option<u32>,
    /// The app its calls are counted for: a label. With `--purpose mcp` or `--sessions` the one app whose tools it is for. With
    /// `--purpose service` an app of the host that it is for; may be repeated, and without it all of them.
    #[arg(long, value_name = "ID", value_parser = name)]
    app: Vec<String>,
    /// A network it may be used from, like 10.1.0.0/16 or 2001:db8::/32; may be repeated.
    #[arg(long, value_name = "CIDR")]
    network: Vec<Network>,
    /// Ends it by itself after so many days.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=DAYS_MAX))]
    pub(crate) expires_days: Option<i64>,
}

impl CreateArgs {
    pub(crate) fn scope(&self) -> KeyScope {
        fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
            (!list.is_empty()).then(|| list.to_vec())
        }
        KeyScope {
            models: some(&self.model),
            paths: some(&self.path),
            output_tokens_max: self.output_tokens_max,
            day_limit_microusd: self.day_usd,
            requests_per_hour: self.requests_per_hour,
            app: self.app.first().filter(|_| !self.is_service()).cloned(),
            tools: some(&self.tool),
            writes: self.writes,
            sessions: self.sessions,
            apps: some(&self.app).filter(|_| self.is_service()),
            actions: some(&self.action),
            networks: some(&self.network),
        }
    }

    fn is_service(&self) -> bool {
        self.purpose == KeyPurpose::Service
    }

    /// An app that a host's key should be for and that is none of these.
    pub(crate) fn unknown_app(&self, apps: &[String]) -> Option<&str> {
        self.app.iter().find(|app| self.is_service() && !apps.contains(app)).map(String::as_str)
    }

    /// What does not go together, and what to do.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let of_model = !self.model.is_empty()
            || !self.path.is_empty()
            || self.output_tokens_max.is_some()
            || self.day_usd.is_some()
            || self.principal.is_some()
            || self.sessions;
        if self.app.len() > 1 && !self.is_service() {
            return Some("--app may be repeated for keys of the purpose service only");
        }
        if (self.host.is_some() || !self.action.is_empty()) && !self.is_service() {
            return Some("--host and --action are for keys of the purpose service");
        }
        match self.purpose {
            KeyPurpose::McpSession => Some("keys of the purpose mcp-session are made by services, at /api/mcp-sessions"),
            KeyPurpose::Mcp if self.user.is_none() || self.app.is_empty() => {
                Some("a key of the purpose mcp needs --user, whose tools it opens, and --app, the one app it is for")
            }
            KeyPurpose::Service if self.host.is_none() => {
                Some("a key of the purpose service needs --host, the host application it is for")
            }
            KeyPurpose::Service if of_model || self.user.is_some() || self.writes || !self.tool.is_empty() => Some(
                "a key of the purpose service takes --host, --app, --action, --network and --expires-days, and none of the others",
            ),
            KeyPurpose::Mcp if of_model => Some(
                "--principal, --model, --path, --output-tokens-max, --day-usd and --sessions are for keys of the purpose model",
            ),
            KeyPurpose::Model if self.user.is_some() => Some("--user is for keys of the purpose mcp"),
            KeyPurpose::Model if (self.writes || !self.tool.is_empty()) && !self.sessions => {
                Some("--tool and --writes are for keys of the purpose mcp, or go with --sessions")
            }
            KeyPurpose::Mcp | KeyPurpose::Model | KeyPurpose::Service => None,
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    if is_key_name(text) {
        return Ok(text.to_owned());
    }
    Err("must be 1 to 64 letters, digits, `-`, `_` and `.`".to_owned())
}

fn purpose(text: &str) -> Result<KeyPurpose, String> {
    KeyPurpose::parse(text).ok_or_else(|| "must be model, mcp or service".to_owned())
}

fn action(text: &str) -> Result<HostAction, String> {
    HostAction::parse(text).ok_or_else(|| "must be runs, read, confirm, undo or users".to_owned())
}

fn user(text: &str) -> Result<UserId, String> {
    text.parse().map_err(|_| "must be a user's id".to_owned())
}

fn path(text: &str) -> Result<KeyPath, String> {
    let known = KeyPath::ALL.into_iter().find(|path| path.as_str() == text);
    known.ok_or_else(|| "must be messages, count_tokens or models".to_owned())
}

/// Dollars with at most six decimals, exactly.
fn usd(text: &str) -> Result<Microusd, String> {
    let wrong = || "must be more than 0 and at most 1,000,000 dollars, like 2.50".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |digits: &str, max: usize| (1..=max).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole, 7) || !plain(part, 6) {
        return Err(wrong());
    }
    let micros: i64 = format!("{whole}{part:0<6}").parse().map_err(|_| wrong())?;
    if (1..=1_000_000_000_000).contains(&micros) { Ok(Microusd(micros)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly() {
        for (text, micros) in
            [("1", 1_000_000), ("0.1", 100_000), ("2.50", 2_500_000), ("0.000001", 1), ("1000000", 1_000_000_000_000)]
        {
            assert_eq!(usd(text), Ok(Microusd(micros)), "{text}");
        }
        for bad in ["", "0", "-1", "+1", "1.", ".5", "1e3", "0.0000001", "1000000.1", "NaN", "1,5"] {
            assert!(usd(bad).is_err(), "{bad}");
        }
    }
}
