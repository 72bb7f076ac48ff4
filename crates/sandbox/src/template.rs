//! What a runtime's sandboxes have in common, and what one agent's has of its own: the [`Template`] that is written down once,
//! and the [`Order`] that names it.

use crate::driver::AgentSpec;
use crate::error::SandboxError;
use crate::runtime::{AGENT_INSIDE, Runtime};
use crate::transcript;
use jail::{ControlError, Helper, Mount, Order, Slot, Template};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const HOME_INSIDE: &str = "/agent";
const CONFIG_INSIDE: &str = "/agent/.claude";
pub(crate) const WORK_INSIDE: &str = "/work";
const CA_INSIDE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Slots: the certificates to be trusted, and what was said before.
const CA: &str = "ca";
const PAST: &str = "past";
/// What a message on the control socket can hold, nearly.
const SLOT_BYTES_MAX: usize = jail::FRAME_BYTES_MAX * 3 / 4;

/// What the sandbox finds in `/etc`. Every address leads to the gateway, so the name server's is any.
const ETC: &[(&str, &str)] = &[
    ("/etc/passwd", "root:x:0:0:root:/:/nonexistent\nagent:x:1000:1000:agent:/agent:/nonexistent\n"),
    ("/etc/group", "root:x:0:\nagent:x:1000:\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/resolv.conf", "nameserver 198.18.0.53\noptions timeout:2 attempts:2\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

/// The variables by which a gateway may tell an agent something. What a loader obeys is not among them.
const VARIABLES: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_MODEL",
    "CLAUDE_CODE_DISABLE_ATTACHMENTS",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY",
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
    "CLAUDE_CODE_MAX_RETRIES",
    "CLAUDE_CODE_SKIP_PROMPT_HISTORY",
    "DISABLE_AUTOUPDATER",
    "DISABLE_COMPACT",
    "DISABLE_UPDATES",
    "ENABLE_TOOL_SEARCH",
    "HEXWARD_ALLOWED_TOOLS",
    "HEXWARD_MCP_SERVERS",
    "HEXWARD_RESUME",
    "HEXWARD_SYSTEM_PROMPT",
    "LANG",
    "MCP_TOOL_TIMEOUT",
];

/// The sandboxes of a runtime.
pub(crate) fn of(runtime: &Runtime, agent: &Path) -> Template {
    let mut mounts = runtime.profile.mounts().to_vec();
    mounts.push(Mount::BindRo { source: agent.to_owned(), target: PathBuf::from(AGENT_INSIDE) });
    mounts.extend(ETC.iter().map(|(path, text)| Mount::File {
        target: PathBuf::from(path),
        content: (*text).to_owned(),
        mode: 0o444,
    }));
    let slot = |target: PathBuf, mode| Slot { target, mode, bytes_max: SLOT_BYTES_MAX };
    Template {
        calls: runtime.profile.calls(),
        argv: runtime.command.clone(),
        env: places(HOME_INSIDE, "/tmp", CA_INSIDE).into_iter().chain(runtime.environment.clone()).collect(),
        env_names: VARIABLES.iter().map(|name| (*name).to_owned()).chain(runtime.variables.iter().cloned()).collect(),
        cwd: PathBuf::from(WORK_INSIDE),
        hostname: "sandbox".to_owned(),
        mounts,
        slots: BTreeMap::from([
            (CA.to_owned(), slot(PathBuf::from(CA_INSIDE), 0o444)),
            (PAST.to_owned(), slot(transcript::path(Path::new(CONFIG_INSIDE), Path::new(WORK_INSIDE)), 0o600)),
        ]),
        uid: 1000,
        gid: 1000,
        limits: runtime.profile.limits().clone(),
    }
}

/// A helper that knows these templates. It reads them from files that only the user of now, and so the helper's, can write;
/// they are not needed afterwards.
pub(crate) fn helper(jail: &Path, templates: &BTreeMap<String, Template>, most: usize) -> Result<Helper, SandboxError> {
    let io = || SandboxError::io("the helper's templates");
    let folder = tempfile::Builder::new().prefix("hexward-templates-").tempdir().map_err(io())?;
    for (name, template) in templates {
        let text = serde_json::to_vec_pretty(template).map_err(std::io::Error::other).map_err(io())?;
        std::fs::write(folder.path().join(format!("{name}.json")), text).map_err(io())?;
    }
    let real = folder.path().canonicalize().map_err(io())?;
    Helper::start(jail, &real, most).map_err(|error| match error {
        ControlError::Io(error) => SandboxError::JailMissing { path: jail.display().to_string(), reason: error.to_string() },
        error @ (ControlError::TooLong | ControlError::Malformed(_) | ControlError::Closed | ControlError::Failed(_)) => {
            error.into()
        }
    })
}

/// One agent's sandbox.
pub(crate) fn order(spec: &AgentSpec) -> Order {
    let past = (!spec.past.is_empty()).then(|| transcript::render(&spec.past, &spec.model, Path::new(WORK_INSIDE)));
    let past = past.map(|text| (PAST.to_owned(), text));
    Order {
        id: spec.id.to_string(),
        template: spec.runtime.clone(),
        arguments: spec.arguments.clone(),
        env: spec.environment.clone(),
        files: std::iter::once((CA.to_owned(), spec.trusted_pem.clone())).chain(past).collect(),
        limits: None,
        extra_ports: spec.extra_ports.clone(),
    }
}

/// Home, working folders and certificates, as variables: what depends on how the sandbox is built.
pub(crate) fn places(home: &str, temporary: &str, ca: &str) -> [(String, String); 5] {
    [
        ("HOME", home.to_owned()),
        ("CLAUDE_CONFIG_DIR", format!("{home}/.claude")),
        ("TMPDIR", temporary.to_owned()),
        ("NODE_EXTRA_CA_CERTS", ca.to_owned()),
        ("SSL_CERT_FILE", ca.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}
