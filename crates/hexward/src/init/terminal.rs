//! Questions on a terminal. What is typed for a secret is not shown.

use anyhow::{Context, Result};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use std::io::Write;

const LINE_BYTES_MAX: usize = 8192;

/// Asks; nothing typed is no answer.
pub(super) fn ask(question: &str) -> Result<Option<String>> {
    let mut err = std::io::stderr();
    write!(err, "{question}: ")?;
    err.flush()?;
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).context("the answer can't be read")? == 0 {
        anyhow::bail!("nobody answers any more; nothing was written");
    }
    anyhow::ensure!(line.len() <= LINE_BYTES_MAX, "the answer is too long");
    let line = line.trim();
    Ok((!line.is_empty()).then(|| line.to_owned()))
}

/// The same without showing what is typed.
pub(super) fn ask_secret(question: &str) -> Result<Option<SecretString>> {
    let hidden = Hidden::begin()?;
    let answer = ask(question);
    drop(hidden);
    writeln!(std::io::stderr())?;
    Ok(answer?.map(SecretString::from))
}

/// The terminal does not show what is typed while this is held.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("the terminal can't be told to hide what is typed")?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0) {
            tracing::warn!(%error, "the terminal may still hide what is typed: `stty echo`");
        }
    }
}
