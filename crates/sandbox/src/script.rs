//! The agent of an app that brings its own command, usually a script on the Agent SDK: what it is told, as environment. It reads
//! messages as lines on its standard input and prints the SDK's messages as lines, as `claude` itself does.

use crate::claude::ClaudeOptions;
use crate::transcript;
use serde_json::json;

/// What a script finds beside what `claude` would find, and what its runtime always has.
pub(crate) fn environment(options: &ClaudeOptions) -> Vec<(String, String)> {
    let mut told = vec![
        ("ANTHROPIC_MODEL", options.model.clone()),
        ("HEXWARD_SYSTEM_PROMPT", options.system_prompt.clone()),
        ("HEXWARD_MCP_SERVERS", options.servers().to_string()),
        ("HEXWARD_ALLOWED_TOOLS", json!(options.allowed()).to_string()),
    ];
    // The transcript is where `claude` looks for it, whoever starts it.
    told.extend((!options.past.is_empty()).then(|| ("HEXWARD_RESUME", transcript::SESSION.to_owned())));
    told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
