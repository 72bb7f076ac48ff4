//! What an installation is to be: said on the command line, or asked for.

use super::terminal::{ask, ask_secret};
use super::{Deployment, InitArgs};
use anyhow::{Context, Result, bail};
use secrecy::{ExposeSecret, SecretString};
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use url::Url;

const SECRET_FILE_BYTES_MAX: u64 = 8192;
const ID_CHARS_MAX: usize = 32;

/// All that is written follows from these.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) production: bool,
    pub(super) public_url: Option<String>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) database: Option<SecretString>,
    pub(super) api_key: Option<SecretString>,
    pub(super) day_usd: Option<f64>,
    pub(super) host: Option<HostApp>,
}

/// A web application with users of its own.
pub(super) struct HostApp {
    pub(super) id: String,
    /// Its origin.
    pub(super) url: String,
}

impl HostApp {
    fn parse(url: &str, id: Option<&str>) -> Result<Self> {
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let parsed = parsed.context("--host-app must be an http or https address, like https://shop.example")?;
        let id = id.map_or_else(|| first_label(&parsed), str::to_owned);
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if id.is_empty() || id.len() > ID_CHARS_MAX || !id.chars().all(fits) || id.starts_with('-') {
            bail!("--host-id must be 1 to {ID_CHARS_MAX} of a-z, 0-9 and -, and not begin with -");
        }
        Ok(Self { id, url: parsed.origin().ascii_serialization() })
    }

    /// Its variables begin so.
    pub(super) fn variable(&self, what: &str) -> String {
        let name: String = self.id.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_uppercase() }).collect();
        format!("HOST_{name}_{what}")
    }

    /// The variable with what it signs its users' assertions with.
    pub(super) fn secret_env(&self) -> String {
        self.variable("ASSERTION_SECRET")
    }
}

/// `shop` of `https://www.shop.example`, `host` of an address without a name.
fn first_label(url: &Url) -> String {
    let name = url.domain().map(|domain| domain.strip_prefix("www.").unwrap_or(domain));
    let label: Option<String> =
        name.and_then(|name| name.split('.').next()).map(|label| label.chars().take(ID_CHARS_MAX).collect());
    label.filter(|label| !label.is_empty()).unwrap_or_else(|| "host".to_owned())
}

impl Answers {
    /// Takes what was said, and asks for the rest if somebody can be asked.
    pub(super) fn of(args: &InitArgs, asks: bool) -> Result<Self> {
        let mut answers = Self {
            production: args.deployment == Some(Deployment::Production),
            public_url: args.public_url.clone(),
            listen: args.listen,
            database: database(args)?,
            api_key: args.api_key_file.as_deref().map(|file| read_secret(file, "--api-key-file")).transpose()?,
            day_usd: args.day_usd,
            host: args.host_app.as_deref().map(|url| HostApp::parse(url, args.host_id.as_deref())).transpose()?,
        };
        if asks {
            answers.ask(args)?;
        }
        if let Some(key) = &answers.api_key {
            quotable(key, "the provider's key")?;
        }
        if let Some(url) = &answers.database {
            quotable(url, "the database's address")?;
        }
        if let Some(url) = &answers.public_url {
            quotable(&SecretString::from(url.clone()), "--public-url")?;
        }
        Ok(answers)
    }

    fn ask(&mut self, args: &InitArgs) -> Result<()> {
        if args.deployment.is_none() {
            self.production =
                ask("Will strangers reach it over the internet (production)? y/N")?.is_some_and(|text| is_yes(&text));
        }
        if self.public_url.is_none() && self.production {
            self.public_url = ask("The address that people will use, like https://map.example.org (nothing: this machine's)")?;
        }
        if self.database.is_none() {
            let question = "The database, postgres://user:password@host/name (nothing: a file of its own; not shown)";
            self.database = ask_secret(question)?;
        }
        if self.api_key.is_none() {
            self.api_key = ask_secret("The model provider's API key (nothing: later; not shown)")?;
        }
        if self.day_usd.is_none() {
            let text = ask("Dollars that everybody together may spend in a day (nothing: 5)")?;
            self.day_usd = text.map(|text| text.parse().with_context(|| format!("{text:?} is not a number"))).transpose()?;
        }
        if self.host.is_none() {
            let url = ask("A web application with users of its own, https://shop.example (nothing: none)")?;
            self.host = url.map(|url| HostApp::parse(&url, args.host_id.as_deref())).transpose()?;
        }
        Ok(())
    }
}

fn is_yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "y" | "yes")
}

fn database(args: &InitArgs) -> Result<Option<SecretString>> {
    if let Some(file) = &args.database_file {
        return read_secret(file, "--database-file").map(Some);
    }
    let Some(url) = &args.database else { return Ok(None) };
    if Url::parse(url).is_ok_and(|url| url.password().is_some()) || url.contains("password=") {
        bail!("--database has a password, and everybody on this machine can read arguments: use --database-file");
    }
    Ok(Some(SecretString::from(url.clone())))
}

/// A file's content without the end of its line.
fn read_secret(file: &Path, option: &str) -> Result<SecretString> {
    let mut text = String::new();
    let cannot = || format!("{option}: {} can't be read", file.display());
    if file == Path::new("-") {
        std::io::stdin().take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text).with_context(cannot)?;
    } else {
        std::fs::File::open(file)
            .with_context(cannot)?
            .take(SECRET_FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .with_context(cannot)?;
    }
    let text = text.trim();
    if text.is_empty() {
        bail!("{option}: {} is empty", file.display());
    }
    Ok(SecretString::from(text))
}

/// Between single quotes nothing else means anything.
fn quotable(secret: &SecretString, what: &str) -> Result<()> {
    if secret.expose_secret().chars().any(|c| c == '\'' || c.is_control()) {
        bail!("{what} has a quote or a control character in it, which can't be written down; is it the right one?");
    }
    Ok(())
}

#[cfg(test)]
impl HostApp {
    pub(super) fn named(url: &str) -> Result<Self> {
        Self::parse(url, None)
    }
}
