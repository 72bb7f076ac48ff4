//! The texts of the two files.

use super::answers::Answers;
use crate::data_key::MASTER_KEY;
use crate::secrets::random_hex;
use anyhow::Result;
use data_encoding::{BASE64, HEXLOWER};
use secrecy::ExposeSecret;
use std::fmt::Write as _;

/// `hexward.toml`, with a word on each thing that an installation usually changes.
pub(super) fn config(answers: &Answers) -> String {
    let deployment = if answers.production { "production" } else { "development" };
    let mut text = format!(
        "# Written by `hexward init`. Every key is optional; docs/configuration-reference.md (`hexward config reference`) has them\n\
         # all. Secrets are in .env.local, never here. `hexward config check` says what is wrong, before a start does.\n\n\
         # \"production\" refuses whatever weakens: direct mode, private addresses, an agent that was not installed.\n\
         deployment = \"{deployment}\"\n\n"
    );
    let listen = answers.listen.map_or_else(|| "127.0.0.1:7410".to_owned(), |address| address.to_string());
    let _ = write!(
        text,
        "[listen]\n# Where people connect. There is no TLS here: put a TLS terminator in front of any address but a loopback one.\n\
         people = \"{listen}\"\n# Where remote callers connect, if they may (see [callers]).\n# callers = \"127.0.0.1:7412\"\n\n"
    );
    let day = answers.day_usd.unwrap_or(5.0);
    let _ = write!(
        text,
        "[budget]\n# Dollars: what one run may cost at most, and what everybody together may spend in a UTC day.\n\
         run_usd = 1.0\nday_usd = {day:?}\n# user_day_usd = 1.0\n\n\
         [runs]\n# Runs at the same time; more wait for a place.\nconcurrent_max = 16\n\n\
         # Hosts that sandboxes may reach beside the model and their tools: none.\n\
         # [[egress]]\n# host = \"api.example.com\"\n# methods = [\"GET\"]\n# paths = [\"/v1/*\"]\n\n\
         # Apps beside the map: folders with an app.toml.\n# [[apps]]\n# path = \"apps/mine\"\n"
    );
    if let Some(host) = &answers.host {
        let (id, url) = (&host.id, &host.url);
        let _ = write!(
            text,
            "\n[callers]\n# The listener that the host application uses.\nenabled = true\n\n\
             # A web application with users of its own. It names them by assertions that it signs.\n\
             [[hosts]]\nid = \"{id}\"\nissuer = \"{url}\"\nsecret_env = \"{}\"\napps = [\"hexmap\"]\norigins = [\"{url}\"]\n\
             # What its users may spend together in a UTC day, and each of them.\nday_usd = {day:?}\n# user_day_usd = 1.0\n\n\
             # What it is told, signed.\n# [[hosts.webhooks]]\n# id = \"main\"\n# url = \"{url}/hooks/hexward\"\n\
             # secret_env = \"{}\"\n# events = [\"run.finished\", \"confirmation.pending\"]\n",
            host.secret_env(),
            host.variable("HOOK_SECRET"),
        );
    }
    text
}

/// `.env.local`. Every secret that can be made is made here.
pub(super) fn secrets(answers: &Answers) -> Result<String> {
    let mut text = "# Written by `hexward init`. Readable for this user alone; never commit it.\n\
                    # Values stand in single quotes, so that nothing in them means anything.\n\n"
        .to_owned();
    let _ =
        writeln!(text, "# Keys the digests of session tokens; another one ends all sessions.\nAUTH_SECRET='{}'", random_hex()?);
    match &answers.api_key {
        Some(key) => writeln!(text, "# The model provider's key.\nANTHROPIC_API_KEY='{}'", key.expose_secret())?,
        None => writeln!(text, "# The model provider's key, an ordinary API key.\n# ANTHROPIC_API_KEY=''")?,
    }
    if let Some(url) = &answers.database {
        writeln!(text, "# The database.\nDATABASE_URL='{}'", url.expose_secret())?;
        if !url.expose_secret().starts_with("sqlite:") {
            let about =
                "Wraps the keys with which is sealed what people write: the same at every gateway. Lost, so is what they wrote.";
            writeln!(text, "# {about}\n{MASTER_KEY}='{}'", random_hex()?)?;
        }
    }
    if let Some(url) = &answers.public_url {
        writeln!(text, "# The address that people use.\nHEXFRAME_API_BASE_URL='{url}'")?;
    }
    if let Some(host) = &answers.host {
        let (name, url) = (host.secret_env(), &host.url);
        writeln!(text, "# What {url} signs its users' assertions with (HS256).\n{name}='{}'", random_hex()?)?;
        writeln!(
            text,
            "# What the gateway signs webhooks to it with, once there are any.\n{}='{}'",
            host.variable("HOOK_SECRET"),
            hook_secret()?
        )?;
    }
    Ok(text)
}

/// In the form that libraries of Standard Webhooks want.
fn hook_secret() -> Result<String> {
    let bytes = HEXLOWER.decode(random_hex()?.as_bytes())?;
    Ok(format!("whsec_{}", BASE64.encode(&bytes)))
}
