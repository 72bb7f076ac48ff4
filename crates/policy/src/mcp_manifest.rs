//! `[mcp]` of a manifest: where an app's tools are, and what the gateway shows there. An operator's word, like all of a manifest.

use serde::Deserialize;

/// Where the app's tools are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpManifest {
    /// The name the model sees: `mcp__NAME__tool`.
    pub name: String,
    /// `builtin`, `stdio`, or the address of a server.
    pub server: McpServer,
    /// With `stdio`: the server's program and its arguments, started in a sandbox of its own.
    #[serde(default)]
    pub command: Vec<String>,
    /// With `stdio`: the folder of the server's own files, beside the manifest: read-only at `/app` inside.
    pub files: Option<String>,
    /// With `stdio`: whose requests one process serves.
    #[serde(default)]
    pub process: ProcessKind,
    /// What the gateway shows the server.
    #[serde(default)]
    pub credential: CredentialManifest,
    /// For fixtures of tests alone: the gateway may open a channel to this app on which nobody has to show anything. Refused in
    /// production.
    #[serde(default)]
    pub danger_without_provenance: bool,
}

/// A server that comes with the gateway, one that it starts, or one elsewhere. All are reached by the same path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum McpServer {
    /// Comes with the gateway, which starts it.
    Builtin,
    /// A program of the operator's, started by the gateway and spoken to over its standard input and output.
    Stdio,
    /// `http://` or `https://`.
    Url(String),
}

/// Whose requests one process serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessKind {
    /// One user's: what it remembers is theirs.
    #[default]
    User,
    /// Everybody's: each request says whose it is.
    Shared,
}

/// Whose secret the server is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretKind {
    /// One of the gateway's own, for everybody's requests.
    #[default]
    One,
    /// One for each user, kept by the operator.
    User,
}

/// What the gateway shows a server: its own, never an agent's or a caller's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialManifest {
    /// The header that holds it.
    pub header: String,
    /// What stands there, `{secret}` for the secret.
    pub template: String,
    /// Whose secret it is.
    pub secret: SecretKind,
    /// With `stdio`: the variable in the program's environment that holds it instead.
    pub variable: Option<String>,
    /// Adds a signed assertion of whose request it is, for whoever this names.
    pub assertion_for: Option<String>,
}

impl Default for CredentialManifest {
    fn default() -> Self {
        Self {
            header: "authorization".to_owned(),
            template: "Bearer {secret}".to_owned(),
            secret: SecretKind::One,
            variable: None,
            assertion_for: None,
        }
    }
}

impl<'de> Deserialize<'de> for McpServer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "builtin" => return Ok(Self::Builtin),
            "stdio" => return Ok(Self::Stdio),
            _ => {}
        }
        // Our credential for the server goes along with each request, so plain HTTP must not leave the machine.
        let loopback = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"].iter().any(|start| text.starts_with(start));
        if loopback || text.starts_with("https://") {
            return Ok(Self::Url(text));
        }
        Err(serde::de::Error::custom(
            "server must be \"builtin\", \"stdio\", an https address, or an http address on loopback with its port",
        ))
    }
}

/// Headers that say something else.
const TAKEN: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "accept",
    "origin",
    "cookie",
];
const TEXT_CHARS_MAX: usize = 200;

impl McpManifest {
    /// What of it can't be, or can't be together.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let own = self.server == McpServer::Stdio;
        let only_stdio = self.files.is_some() || self.process != ProcessKind::User || self.credential.variable.is_some();
        match self.command.first() {
            None if own => Some("mcp.command must say which program mcp.server = \"stdio\" starts"),
            Some(_) if !own => Some("mcp.command needs mcp.server = \"stdio\""),
            None if only_stdio => Some("mcp.files, mcp.process and mcp.credential.variable need mcp.server = \"stdio\""),
            Some(first) if !crate::manifest::is_program(first) => {
                Some("mcp.command must begin with a program's name, or a path below /app/ or /usr/bin/ without . and ..")
            }
            Some(_) if self.command.iter().any(|word| word.contains('\0')) => Some("mcp.command must not contain NUL"),
            Some(_) if self.files.as_ref().is_some_and(|files| !crate::manifest::is_plain(files)) => {
                Some("mcp.files must be a folder beside app.toml, without . and ..")
            }
            Some(_) if self.process == ProcessKind::Shared && self.credential.secret == SecretKind::User => {
                Some("mcp.process = \"shared\" has no secret of one user: use mcp.credential.secret = \"one\"")
            }
            Some(_) | None => self.credential.fault(own),
        }
    }
}

impl CredentialManifest {
    fn fault(&self, own_process: bool) -> Option<&'static str> {
        let name = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !TAKEN.contains(&text)
                && !["mcp-", "x-hexward-"].iter().any(|start| text.starts_with(start))
        };
        let printable =
            |text: &str| (1..=TEXT_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b));
        let variable = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_uppercase())
                && text.len() <= 64
                && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
                && !matches!(
                    text,
                    "PATH" | "HOME" | "SHELL" | "TMPDIR" | "LANG" | "NODE_PATH" | "NODE_OPTIONS" | "CLAUDE_CONFIG_DIR"
                )
                && !matches!(text, "NODE_EXTRA_CA_CERTS" | "SSL_CERT_FILE")
                && !text.starts_with("LD_")
        };
        let template = printable(&self.template) && self.template.matches("{secret}").count() == 1;
        if !name(&self.header) {
            Some("mcp.credential.header must be a header's name in lower case, and none that says something else")
        } else if !template {
            Some("mcp.credential.template must be printable ASCII with {secret} in it, once")
        } else if self.variable.as_ref().is_some_and(|text| !variable(text)) {
            Some("mcp.credential.variable must be a variable's name in capitals, and none of the system's own")
        } else if self.assertion_for.as_ref().is_some_and(|text| !printable(text)) {
            Some("mcp.credential.assertion_for must name in printable ASCII whom the assertion is for")
        } else if own_process && self.assertion_for.is_some() {
            Some("mcp.credential.assertion_for is for servers with an address: a process of the gateway's own needs no proof")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Manifest;

    fn text(mcp: &str) -> String {
        format!("id = 'demo'\ntitle = 'D'\ngreeting = 'g'\n[agent]\nmodel = 'm'\n[mcp]\nname = 'demo'\n{mcp}")
    }

    #[test]
    fn a_server_and_what_it_is_shown_go_together() {
        for good in [
            "server = 'stdio'\ncommand = ['/app/server', '--quiet']\nfiles = 'server'",
            "server = 'stdio'\ncommand = ['python3', '/app/server.py']\nprocess = 'shared'\ncredential = { variable = 'API_TOKEN' }",
            "server = 'https://tools.example/mcp'\ncredential = { header = 'x-api-key', template = '{secret}', assertion_for = 'tools' }",
            "server = 'http://127.0.0.1:9/mcp'\ncredential = { secret = 'user' }",
        ] {
            Manifest::parse(&text(good)).expect(good);
        }
        for (bad, reason) in [
            ("server = 'stdio'", "must say which program"),
            ("server = 'stdio'\ncommand = []", "must say which program"),
            ("server = 'stdio'\ncommand = ['/bin/sh', '-c', 'id']", "must begin with"),
            ("server = 'stdio'\ncommand = ['../x']", "must begin with"),
            ("server = 'stdio'\ncommand = ['x', \"a\\u0000\"]", "NUL"),
            ("server = 'stdio'\ncommand = ['x']\nfiles = '../etc'", "mcp.files"),
            ("server = 'stdio'\ncommand = ['x']\nprocess = 'shared'\ncredential = { secret = 'user' }", "shared"),
            ("server = 'stdio'\ncommand = ['x']\ncredential = { variable = 'LD_PRELOAD' }", "variable"),
            ("server = 'stdio'\ncommand = ['x']\ncredential = { assertion_for = 'x' }", "needs no proof"),
            ("server = 'https://x'\ncommand = ['x']", "needs mcp.server"),
            ("server = 'https://x'\nprocess = 'shared'", "need mcp.server"),
            ("server = 'https://x'\ncredential = { variable = 'X' }", "need mcp.server"),
            ("server = 'https://x'\ncredential = { header = 'host' }", "header"),
            ("server = 'https://x'\ncredential = { header = 'X-Key' }", "header"),
            ("server = 'https://x'\ncredential = { header = 'mcp-name' }", "header"),
            ("server = 'https://x'\ncredential = { header = 'x-hexward-user' }", "header"),
            ("server = 'https://x'\ncredential = { template = 'Bearer' }", "template"),
            ("server = 'https://x'\ncredential = { template = '{secret}{secret}' }", "template"),
            ("server = 'https://x'\ncredential = { template = \"{secret}\\n\" }", "template"),
            ("server = 'https://x'\ncredential = { assertion_for = '' }", "assertion_for"),
            ("server = 'https://x'\ncredential = { secret = 'agent' }", "unknown variant"),
            ("server = 'https://x'\ncredential = { token = 'x' }", "unknown field"),
        ] {
            let fault = Manifest::parse(&text(bad)).expect_err(bad).to_string();
            assert!(fault.contains(reason), "{bad}: {fault}");
        }
    }
}
