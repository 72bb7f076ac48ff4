//! What is in the provider's answers of `fuzz/corpus/sse`, whole and in every way in which they can be cut into chunks.

use super::*;
use serde_json::json;

macro_rules! corpus {
    ($name:literal) => {
        include_str!(concat!("../../../../fuzz/corpus/sse/", $name, ".sse"))
    };
}

const MODEL: &str = "claude-sonnet-5-5";
const ALL: [&str; 9] = [
    corpus!("text"),
    corpus!("tools"),
    corpus!("cached"),
    corpus!("cached-unsplit"),
    corpus!("late-input"),
    corpus!("thinking"),
    corpus!("iterations"),
    corpus!("error"),
    corpus!("odd"),
];

fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, Option<Usage>) {
    let mut meter = Meter::new(MODEL);
    let seen = chunks.into_iter().flat_map(|chunk| meter.push(chunk)).collect();
    (seen, meter.final_usage())
}

fn usage_of(stream: &str) -> Option<Usage> {
    let (_, long) = read([stream.as_bytes()]);
    let mut short = Meter::for_usage_only(MODEL);
    short.push(stream.as_bytes());
    assert_eq!(short.final_usage(), long, "both ways read the same");
    long
}

fn text_of(seen: &[Seen]) -> String {
    let text = |seen: &Seen| if let Seen::Text(text) = seen { text.clone() } else { String::new() };
    seen.iter().map(text).collect()
}

#[test]
fn every_split_into_chunks_reads_the_same() {
    for stream in ALL {
        let bytes = stream.as_bytes();
        let whole = read([bytes]);
        assert_eq!(read(bytes.chunks(1)), whole, "byte by byte: {stream}");
        for at in 0..=bytes.len() {
            let (one, two) = bytes.split_at(at);
            assert_eq!(read([one, two]), whole, "split at {at}: {stream}");
        }
    }
}

#[test]
fn usage_is_found_in_every_answer_of_the_provider() {
    assert_eq!(usage_of(corpus!("text")), Some(Usage { input: 25, output: 15, ..Usage::default() }));
    assert_eq!(usage_of(corpus!("tools")), Some(Usage { input: 472, output: 89, ..Usage::default() }));
    assert_eq!(usage_of(corpus!("odd")), Some(Usage { input: 25, output: 15, ..Usage::default() }));
    assert_eq!(usage_of(corpus!("error")), None);
}

#[test]
fn cache_tokens_are_counted_once_and_by_their_kind() {
    let counts = Usage { input: 4, output: 210, cache_read: 120_000, ..Usage::default() };
    let expected = Usage { cache_write_5m: 3000, cache_write_1h: 2000, ..counts };
    assert_eq!(usage_of(corpus!("cached")), Some(expected), "told twice, counted once");
    let dear = Usage { input: 4, output: 21, cache_write_1h: 500, ..Usage::default() };
    assert_eq!(usage_of(corpus!("cached-unsplit")), Some(dear), "of an unknown kind: the dearer one");
}

#[test]
fn null_counts_change_nothing() {
    assert_eq!(usage_of(corpus!("thinking")), Some(Usage { input: 30, output: 60, ..Usage::default() }));
}

#[test]
fn the_final_usage_replaces_the_first_and_is_never_added() {
    let expected = Usage { input: 12, output: 7, cache_read: 40, ..Usage::default() };
    assert_eq!(usage_of(corpus!("late-input")), Some(expected));
}

#[test]
fn iterations_are_summed_where_the_sum_is_more() {
    assert_eq!(usage_of(corpus!("iterations")), Some(Usage { input: 39, output: 11, ..Usage::default() }));
}

#[test]
fn a_stream_and_a_document_of_the_same_usage_count_the_same() {
    let usage = json!({"input_tokens": 4, "cache_creation_input_tokens": 5000, "cache_read_input_tokens": 120_000,
        "cache_creation": {"ephemeral_5m_input_tokens": 3000, "ephemeral_1h_input_tokens": 2000}, "output_tokens": 210});
    let body = json!({"model": MODEL, "content": [{"type": "text", "text": "ok"}], "usage": usage}).to_string();
    for mut meter in [Meter::new(MODEL), Meter::for_usage_only(MODEL)] {
        meter.whole(body.as_bytes());
        assert_eq!(meter.final_usage(), usage_of(corpus!("cached")));
        let mut cut = Meter::new(MODEL);
        cut.whole(format!("{body}%PDF").as_bytes());
        assert_eq!(cut.final_usage(), None, "what can't be read as a whole is no measure");
    }
}

#[test]
fn no_piece_of_a_tool_s_arguments_is_lost() {
    let (seen, _) = read([corpus!("tools").as_bytes()]);
    let tools: Vec<&Seen> = seen.iter().filter(|seen| matches!(seen, Seen::Tool { .. })).collect();
    let call = |id: &str, name: &str, input: Value| Seen::Tool { id: id.to_owned(), name: name.to_owned(), input };
    assert_eq!(
        tools,
        [
            &call("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather", json!({"location": "San Francisco, CA"})),
            &call("toolu_02", "get_time", json!({}))
        ]
    );
    assert_eq!(text_of(&seen), "Okay, let's check \"usage\":{");
}

#[test]
fn odd_but_legal_streams_are_read() {
    let (seen, _) = read([corpus!("odd").as_bytes()]);
    assert_eq!(text_of(&seen), "aéb");
    assert!(seen.iter().all(|seen| matches!(seen, Seen::Text(_) | Seen::Said(_) | Seen::Ended)), "{seen:?}");
}

/// A stream of one word, with these usages.
fn told(start: &str, deltas: &[&str]) -> Option<Usage> {
    let mut stream = format!(
        "data: {{\"type\":\"message_start\",\"message\":{{\"model\":\"{MODEL}\",\"usage\":{start}}}}}\n\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"x\"}}}}\n\n"
    );
    for usage in deltas {
        stream.push_str(&format!(
            "data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{usage}}}\n\n"
        ));
    }
    usage_of(&stream)
}

#[test]
fn usage_that_can_t_be_true_is_no_measure() {
    let start = r#"{"input_tokens":9,"output_tokens":1}"#;
    assert!(told(start, &[r#"{"output_tokens":7}"#]).is_some());
    assert_eq!(told(start, &[]), None, "no message_delta");
    assert_eq!(told(start, &["null"]), None, "no usage in it");
    let zero = r#"{"input_tokens":0,"output_tokens":0}"#;
    assert_eq!(told(zero, &[zero]), None, "words that cost nothing");
    assert_eq!(told(zero, &[r#"{"output_tokens":7}"#]), None, "no prompt");
    for count in ["9223372036854775808", "99999999999999999999", "-1", "7.5", "1e3", "\"7\"", "4294967297"] {
        assert_eq!(told(start, &[&format!("{{\"output_tokens\":{count}}}")]), None, "{count}");
    }
}

#[test]
fn what_is_charged_apart_is_told_apart() {
    let start = r#"{"input_tokens":9,"output_tokens":1}"#;
    let searches = told(start, &[r#"{"output_tokens":7,"server_tool_use":{"web_search_requests":3}}"#]);
    assert_eq!(searches.map(|usage| (usage.output, usage.extras.web_searches)), Some((7, 3)));
    assert_eq!(told(start, &[r#"{"output_tokens":7,"speed":"ludicrous"}"#]), None);
}

#[test]
fn only_what_begins_as_the_provider_writes_it_is_passed_over() {
    let passed = |data: &str| content_only(data.as_bytes());
    assert_eq!(passed(r#"{"type":"content_block_delta","index":0}"#), Some(DELTA));
    assert_eq!(passed(r#"{"type": "ping"}"#), Some("ping"));
    for read in [
        r#"{"type":"message_delta"}"#,
        r#"{"type":"message_start"}"#,
        r#"{"type":"error"}"#,
        r#"{"index":0,"type":"content_block_delta"}"#,
        r#"{ "type":"content_block_delta"}"#,
        r#"{"type":"content_block_delta_2","usage":{}}"#,
        r#"{"type":"content_block_delta"#,
        "",
    ] {
        assert_eq!(passed(read), None, "{read}");
    }
}
