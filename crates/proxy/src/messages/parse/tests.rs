use super::block::{IMAGE_TOKENS_MAX, PDF_TOKENS_MAX};
use super::*;

fn model_request(path: ModelPath, body: &[u8]) -> Result<ModelRequest, String> {
    let facts = request(path, body, Detail::Facts).map(|(asked, _)| asked);
    let digests = request(path, body, Detail::Digests).map(|(asked, _)| asked);
    assert_eq!(format!("{facts:?}"), format!("{digests:?}"), "whether or not anybody wants digests");
    facts
}

#[test]
fn requests_are_read_or_refused_with_a_reason() {
    let read = |body: &str| model_request(ModelPath::Messages, body.as_bytes());
    let good = read(r#"{"model":"m","max_tokens":5,"messages":[],"unknown":{"x":1}}"#).expect("a good request");
    assert_eq!((good.model.as_str(), good.max_tokens, good.forbidden_feature), ("m", 5, None));
    for (bad, why) in [
        ("", "must be an object"),
        ("{", "EOF"),
        ("[]", "must be an object"),
        (r#"{"max_tokens":5,"messages":[]}"#, "model"),
        (r#"{"model":"m","messages":[]}"#, "max_tokens is required"),
        (r#"{"model":"m","max_tokens":-1,"messages":[]}"#, "whole number"),
        (r#"{"model":"m","max_tokens":1e3,"messages":[]}"#, "whole number"),
        (r#"{"model":"m","max_tokens":1e999,"messages":[]}"#, "whole number"),
        (r#"{"model":"m","max_tokens":1.0,"messages":[]}"#, "whole number"),
        (r#"{"model":"m","max_tokens":"5","messages":[]}"#, "whole number"),
        (r#"{"model":"m","max_tokens":true,"messages":[]}"#, "whole number"),
        (r#"{"model":"m","max_tokens":10000001,"messages":[]}"#, "at most 10000000"),
        (r#"{"model":"m","max_tokens":99999999999999999999999,"messages":[]}"#, "at most 10000000"),
        (r#"{"model":"m","max_tokens":007,"messages":[]}"#, "invalid number"),
        (r#"{"model":"m","max_tokens":null,"messages":[]}"#, "max_tokens is required"),
        (r#"{"model":"m","max_tokens":5,"messages":[],"stream":1}"#, "a boolean"),
        (r#"{"model":"m","max_tokens":5,"messages":[],"thinking":{},"thinking":{}}"#, "duplicate field"),
        (r#"{"model":"m","max_tokens":5,"messages":[],"stream":true,"str\u0065am":false}"#, "duplicate field"),
        (r#"{"model":"m","max_tokens":5,"messages":[]} x"#, "trailing"),
        (r#"{"model":"m","max_tokens":1,"messages":"x"}"#, "a sequence"),
        (r#"{"model":"m","model":"n","max_tokens":1,"messages":[]}"#, "duplicate field"),
        (r#"{"model":"m","max_tokens":1,"max_tokens":9,"messages":[]}"#, "duplicate field"),
        (r#"{"model":"m","max_tokens":1,"messages":[{"content":[{"source":"x","source":{"type":"url"}}]}]}"#, "duplicate field"),
        (r#"{"model":"","max_tokens":1,"messages":[]}"#, "model must be"),
    ] {
        let error = read(bad).expect_err(bad);
        assert!(error.contains(why), "{bad}: {error}");
    }
}

fn with(extra: &str) -> ModelRequest {
    let body = format!(r#"{{"model":"m","max_tokens":1,{extra}}}"#);
    model_request(ModelPath::Messages, body.as_bytes()).expect("a request")
}

#[test]
fn features_that_fetch_for_the_caller_are_noticed() {
    let feature = |extra: &str| with(&format!(r#""messages":[],{extra}"#)).forbidden_feature;
    for (extra, name) in [
        (r#""mcp_servers":[]"#, "mcp_servers"),
        (r#""container":"c""#, "container"),
        (r#""speed":"fast""#, "speed"),
        (r#""inference_geo":"us""#, "inference_geo"),
        (r#""fallbacks":[{"model":"dear"}]"#, "fallbacks"),
        (r#""service_tier":"priority""#, "service_tier"),
        (r#""context_management":{"edits":[{"type":"compact_20260112"}]}"#, "context_management.compact_20260112"),
        (r#""tools":[{"name":"x"},{"type":"web_fetch_20260209","name":"w"}]"#, "tools.web_fetch_20260209"),
        (r#""tools":[{"type":"bash_code_execution_20260101","name":"w"}]"#, "tools.bash_code_execution_20260101"),
        (r#""tools":[{"type":"tool_search_tool_regex_20251119","name":"w"}]"#, "tools.tool_search_tool_regex_20251119"),
        (r#""system":[{"type":"image","source":{"type":"url","url":"https://x.example"}}]"#, "source.url"),
    ] {
        assert_eq!(feature(extra).as_deref(), Some(name), "{extra}");
    }
    for fine in [
        r#""tools":[{"type":"custom","name":"x","input_schema":{}},{"type":"bash_20250124","name":"bash"}]"#,
        r#""context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]}"#,
        r#""mcp_servers":null,"service_tier":"auto","system":[{"type":"text","text":"t"}]"#,
    ] {
        assert_eq!(feature(fine), None, "{fine}");
    }
}

#[test]
fn sources_that_the_provider_would_fetch_are_noticed() {
    let feature = |content: &str| with(&format!(r#""messages":[{{"role":"user","content":{content}}}]"#)).forbidden_feature;
    assert_eq!(feature(r#""see {\"type\":\"url\"}""#), None);
    assert_eq!(feature(r#"[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"x"}}]"#), None);
    assert_eq!(
        feature(r#"[{"type":"search_result","source":"https://x.example","content":[{"type":"text","text":"t"}]}]"#),
        None
    );
    assert_eq!(feature(r#"[{"type":"tool_use","id":"t","name":"n","input":{"source":{"type":"url"},"content":[{}]}}]"#), None);
    let url = r#"{"type":"image","source":{"type":"url","url":"https://x.example/?data"}}"#;
    for outer in [
        format!("[{url}]"),
        url.to_owned(),
        format!(r#"[{{"type":"tool_result","content":[{{"type":"text","text":"t"}},{url}]}}]"#),
        format!(r#"[{{"type":"document","source":{{"type":"content","content":[{url}]}}}}]"#),
    ] {
        assert_eq!(feature(&outer).as_deref(), Some("source.url"), "{outer}");
    }
    assert_eq!(feature(r#"[{"type":"document","source":{"type":"file","file_id":"f"}}]"#).as_deref(), Some("source.file"));
    assert_eq!(feature(r#"[{"type":"container_upload","file_id":"f"}]"#).as_deref(), Some("block.container_upload"));
}

#[test]
fn what_has_more_tokens_than_bytes_is_counted() {
    let extra = |content: &str| with(&format!(r#""messages":[{{"role":"user","content":{content}}}]"#)).prompt.new_extra_tokens;
    let image = r#"{"type":"image","source":{"type":"base64","data":"x"}}"#;
    assert_eq!(extra(&format!("[{image},{image}]")), 2 * IMAGE_TOKENS_MAX);
    assert_eq!(extra(r#"[{"type":"document","source":{"type":"base64","data":"x"}}]"#), PDF_TOKENS_MAX);
    assert_eq!(extra(r#"[{"type":"document","source":{"type":"text","data":"x"}}]"#), 0);
}

#[test]
fn nesting_costs_no_more_than_it_is_long() {
    let deep = |levels: usize| {
        let (open, close) = (r#"[{"type":"document","content":"#.repeat(levels), "}]".repeat(levels));
        format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"content":{open}"x"{close}}}]}}"#)
    };
    assert!(model_request(ModelPath::Messages, deep(50).as_bytes()).is_ok());
    assert!(model_request(ModelPath::Messages, deep(200).as_bytes()).is_err(), "the parser bounds the depth");
    let wide = format!(
        r#"{{"model":"m","max_tokens":1,"messages":[{{"content":[{}]}}]}}"#,
        vec![r#"{"type":"text"}"#; 300_000].join(",")
    );
    let arrays = r#"{"model":"m","max_tokens":1,"messages":[{"content":[["text"]]}]}"#;
    assert!(model_request(ModelPath::Messages, arrays.as_bytes()).is_err(), "only an object is a block");
    for detail in [Detail::Facts, Detail::Digests] {
        assert!(request(ModelPath::Messages, wide.as_bytes(), detail).is_ok(), "{detail:?}");
    }
    let many = format!(r#"{{"model":"m","max_tokens":1,"messages":[{}]}}"#, vec!["{}"; 100_001].join(","));
    for (detail, taken) in [(Detail::Facts, true), (Detail::Digests, false)] {
        assert_eq!(request(ModelPath::Messages, many.as_bytes(), detail).is_ok(), taken, "{detail:?}");
    }
}

fn shape(body: &str) -> Shape {
    request(ModelPath::Messages, body.as_bytes(), Detail::Digests).expect("a request").1
}

fn said(body: &str) -> Said {
    shape(body).said.expect("what was said")
}

#[test]
fn the_number_is_where_it_is_said_to_be() {
    for body in [
        r#"{"model":"m","max_tokens":4000,"messages":[]}"#,
        "{ \"messages\":[{\"content\":\"\\\"max_tokens\\\":1\"}],\n\"max\\u005ftokens\" :\t4000 ,\"model\":\"m\"}",
    ] {
        let at = shape(body).max_tokens_at.expect("a number");
        assert_eq!(&body[at.clone()], "4000", "{body}");
        let other = format!("{}17{}", &body[..at.start], &body[at.end..]);
        let asked = request(ModelPath::Messages, other.as_bytes(), Detail::Facts).expect("still a request").0;
        assert_eq!(asked.max_tokens, 17, "nothing else has changed: {other}");
    }
    let counted = request(ModelPath::CountTokens, br#"{"model":"m","messages":[]}"#, Detail::Facts).expect("a request");
    assert_eq!((counted.0.max_tokens, counted.1.max_tokens_at), (0, None));
}

#[test]
fn what_the_caller_wants_of_the_model_is_seen() {
    let of = |more: &str| shape(&format!(r#"{{"model":"m","max_tokens":9,"messages":[],{more}}}"#));
    assert_eq!(of(r#""x":1"#).thinking, Thinking::Off);
    assert_eq!(of(r#""thinking":{"type":"enabled","budget_tokens":1024},"stream":true"#).thinking_budget(), Some(1024));
    for (more, thinking) in [
        (r#""thinking":null"#, Thinking::Off),
        (r#""thinking":{"type":"disabled"}"#, Thinking::Off),
        (r#""thinking":{"type":"adaptive","display":"updates"}"#, Thinking::Adaptive),
        (r#""thinking":{"type":"enabled"}"#, Thinking::Other),
        (r#""thinking":{"type":"new"}"#, Thinking::Other),
    ] {
        assert_eq!(of(more).thinking, thinking, "{more}");
    }
    for (more, edits) in [("clear_thinking_20251015", false), ("clear_tool_uses_20250919", true)] {
        assert_eq!(of(&format!(r#""context_management":{{"edits":[{{"type":"{more}"}}]}}"#)).edits_context, edits);
    }
}

#[test]
fn the_dearest_cache_is_seen_wherever_it_may_stand() {
    let of = |body: &str| {
        let body = format!(r#"{{"model":"m","max_tokens":9,{body}}}"#);
        model_request(ModelPath::Messages, body.as_bytes()).expect("a request").cache_writes
    };
    let (five, hour) = (r#""cache_control":{"type":"ephemeral"}"#, r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#);
    assert_eq!(of(r#""messages":[],"cache_control":null"#), CacheWrites::None);
    for (control, caching) in [(five, CacheWrites::FiveMinutes), (hour, CacheWrites::OneHour)] {
        for body in [
            format!(r#""messages":[],{control}"#),
            format!(r#""messages":[],"system":[{{"type":"text","text":"t",{control}}}]"#),
            format!(r#""messages":[],"tools":[{{"name":"t",{control}}}]"#),
            format!(r#""messages":[{{"role":"user","content":[{{"type":"text","text":"t",{control}}}]}}]"#),
            format!(
                r#""messages":[{{"role":"user","content":[{{"type":"tool_result","content":[{{"type":"text",{control}}}]}}]}}]"#
            ),
        ] {
            assert_eq!(of(&body), caching, "{body}");
        }
    }
    assert_eq!(of(&format!(r#""messages":[],{five},"tools":[{{"name":"t",{hour}}}]"#)), CacheWrites::OneHour);
}

#[test]
fn a_message_is_the_same_however_it_is_written() {
    let digest = |content: &str| {
        said(&format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":{content}}}]}}"#)).messages[0].digest
    };
    let plain = digest(r#""a\nb""#);
    for same in [
        r#"[{"type":"text","text":"a\u000ab"}]"#,
        r#"[ {"text":"a\nb", "type":"text", "cache_control":{"type":"ephemeral","ttl":"1h"}} ]"#,
        r#"{"type":"text","text":"a\nb"}"#,
    ] {
        assert_eq!(digest(same), plain, "{same}");
    }
    for other in [
        r#""a b""#,
        r#"[{"type":"text","text":"a\nb"},{"type":"text","text":""}]"#,
        r#"[{"type":"text","text":"a\nb","citations":[]}]"#,
        r#"[{"type":"thinking","text":"a\nb"}]"#,
        r#"[{"type":"tool_result","content":"a\nb"}]"#,
        "[]",
    ] {
        assert_ne!(digest(other), plain, "{other}");
    }
    let result = |inner: &str| digest(&format!(r#"[{{"type":"tool_result","tool_use_id":"t","content":{inner}}}]"#));
    assert_eq!(result(r#""x""#), result(r#"[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]"#));
    assert_ne!(result(r#""x""#), result(r#"[{"type":"text","text":"x"},{"type":"text","text":"x"}]"#));
    let as_role = |role: &str| {
        said(&format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"content":"x","role":"{role}"}}]}}"#)).messages[0].digest
    };
    assert_ne!(as_role("user"), as_role("assistant"));
}

#[test]
fn a_message_has_the_weight_of_all_that_it_says() {
    let messages = said(
        r#"{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[
        {"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"ok"},
        {"type":"tool_use","id":"t1","name":"n","input":{"b":1.0,"a":[]}}]},{"role":"user","content":[
        {"type":"tool_result","tool_use_id":"t1","is_error":true,"content":[{"type":"text","text":"no"},
        {"type":"image","source":{"type":"base64","media_type":"image/png","data":"eA=="}}]},{"type":"text","text":"go","x":1}]}]}"#,
    )
    .messages;
    let (assistant, user) = (&messages[0], &messages[1]);
    assert_eq!((assistant.extra_tokens, user.extra_tokens), (0, IMAGE_TOKENS_MAX));
    assert_eq!((assistant.thinking_weight, user.thinking_weight), (3, 0));
    assert_eq!((assistant.block_count, user.block_count), (3, 4), "those inside others, too");
    assert!(assistant.weight >= 3 + 2 + 16 && user.weight >= 8);
}

#[test]
fn tools_and_settings_are_told_apart() {
    let of = |more: &str| said(&format!(r#"{{"model":"m","max_tokens":9,"messages":[],{more}}}"#));
    let tool = r#""tools":[{"name":"n","description":"d","input_schema":{"type":"object"}}]"#;
    let one = of(tool);
    let cached = tool.replace("\"n\",", "\"n\",\"cache_control\":{\"type\":\"ephemeral\"},");
    assert_eq!(of(&cached).tools, one.tools);
    for (from, to) in
        [("\"n\"", "\"o\""), ("\"d\"", "\"e\""), ("object", "array"), ("{\"name", "{\"type\":\"bash_20250124\",\"name")]
    {
        assert_ne!(of(&tool.replace(from, to)).tools[0].digest, one.tools[0].digest, "{to}");
    }
    let settings = |more: &str| of(more).settings;
    let base = settings(r#""stream":true"#);
    assert_eq!(settings(r#""metadata":{"user_id":"x"},"stream":false"#), base, "these say nothing to the model");
    for other in [
        r#""output_config":{"effort":"low"}"#,
        r#""thinking":{"type":"adaptive"}"#,
        r#""tool_choice":{"type":"any"}"#,
        r#""temperature":1"#,
    ] {
        assert_ne!(settings(other), base, "{other}");
    }
}
