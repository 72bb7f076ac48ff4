//! Beta features that a request names in its headers. Most change how an answer is written; those by which the provider would
//! fetch, send, store or run something for the caller, or answer with another model, are refused by the words in their names,
//! also where the rest of the name is new.

use http::{HeaderMap, HeaderName};

const HEADER: HeaderName = HeaderName::from_static("anthropic-beta");
/// Words between hyphens.
const WORDS: &[&str] = &[
    "mcp",
    "file",
    "files",
    "upload",
    "batch",
    "batches",
    "skill",
    "skills",
    "fetch",
    "search",
    "web",
    "url",
    "browser",
    "webhook",
    "webhooks",
    "connector",
    "connectors",
    "container",
    "execution",
    "environment",
    "environments",
    "agents",
    "sandbox",
    "vault",
    "vaults",
    "tunnel",
    "tunnels",
    "byoc",
    "triggers",
    "dreaming",
    "fallback",
    "fast",
];
/// Tools of the client's own that are shown later; what the provider would search is refused by its kind in the body.
const HARMLESS: &[&str] = &["tool-search-tool"];

/// The first feature that is not available here.
pub(super) fn forbidden(headers: &HeaderMap) -> Option<String> {
    let lists = headers.get_all(HEADER).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let names: Vec<String> =
        lists.flat_map(|list| list.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()).collect();
    names.into_iter().find(|name| acts(name))
}

fn acts(name: &str) -> bool {
    let harmless = HARMLESS.iter().any(|harmless| name.starts_with(harmless));
    !harmless && name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn found(values: &[&'static str]) -> Option<String> {
        let values = values.iter().map(|value| (HEADER, HeaderValue::from_static(value)));
        forbidden(&values.collect::<HeaderMap>())
    }

    #[test]
    fn betas_by_which_the_provider_would_act_are_refused() {
        for bad in [
            "mcp-client-2025-04-04",
            "mcp-servers-2025-12-04",
            "files-api-2025-04-14",
            "code-execution-2025-08-25",
            "web-fetch-2025-09-10",
            "web-search-2025-03-05",
            "skills-2025-10-02",
            "message-batches-2024-09-24",
            "managed-agents-2026-04-01",
            "server-side-fallback-2026-07-01",
            "fast-mode-2026-02-01",
            "new-url-fetch-2031-01-01",
            "FILES-API-2025-04-14",
        ] {
            assert_eq!(found(&[bad]), Some(bad.to_ascii_lowercase()), "{bad}");
        }
        let hidden = ["effort-2025-11-24, files-api-2025-04-14", "interleaved-thinking-2025-05-14"];
        assert_eq!(found(&hidden).as_deref(), Some("files-api-2025-04-14"), "in a list");
        assert_eq!(
            found(&["effort-2025-11-24", "web-fetch-2025-09-10"]).as_deref(),
            Some("web-fetch-2025-09-10"),
            "in a second header"
        );
    }

    #[test]
    fn what_the_agent_names_passes() {
        let agents = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,\
                      prompt-caching-scope-2026-01-05,per-turn-control-2026-07-01,thinking-token-count-2026-05-13,\
                      mid-conversation-system-clear-at-2026-08-21,effort-2025-11-24,tool-search-tool-2025-10-19";
        assert_eq!(found(&[agents]), None);
        assert_eq!(found(&["new-thing-2030-01-01", ""]), None);
        assert_eq!(found(&[]), None);
    }
}
