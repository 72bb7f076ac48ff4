use super::*;
use crate::messages::parse;
use crate::messages::shape::Detail;
use policy::{BLOCK_TOKENS, MESSAGE_TOKENS, ModelPath, PROMPT_OVERHEAD_TOKENS};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The prompt by its bytes, and its beginnings.
fn read(body: &str, headers: &HeaderMap) -> (Prompt, Beginnings) {
    let (asked, shape) = parse::request(ModelPath::Messages, body.as_bytes(), Detail::Digests).expect("a request");
    let beginnings = Beginnings::of(shape.said.as_ref(), shape.edits_context, headers);
    (asked.prompt, beginnings)
}

fn body_with(messages: &[Value], more: &Value) -> String {
    let mut body = json!({"model": "m", "max_tokens": 9, "messages": messages});
    let (Some(fields), Some(more)) = (body.as_object_mut(), more.as_object()) else { panic!("objects") };
    fields.extend(more.clone());
    body.to_string()
}

fn turn(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

fn two_turns() -> Vec<Value> {
    vec![turn("user", &"What is it? ".repeat(1000)), turn("assistant", &"It is long. ".repeat(1000))]
}

fn followed_by(text: &str) -> Vec<Value> {
    let mut messages = two_turns();
    messages.push(turn("user", text));
    messages
}

/// What is reserved for `next` by somebody of whom `first` was measured to have so many tokens.
fn after(first: &str, tokens: u64, next: &str) -> Prompt {
    let (prefixes, none) = (Prefixes::default(), HeaderMap::new());
    prefixes.note(read(first, &none).1.whole().expect("it has an end"), "p", tokens);
    let (whole, beginnings) = read(next, &none);
    prefixes.prompt_of(&beginnings, "p", whole)
}

#[test]
fn what_was_measured_takes_the_place_of_its_bytes() {
    let first = body_with(&two_turns()[..1], &json!({"system": "Be brief."}));
    let next = body_with(&followed_by("And now?"), &json!({"system": "Be brief.", "stream": true, "metadata": {"user_id": "u"}}));
    let prompt = after(&first, 3_000, &next);
    assert_eq!((prompt.settled, prompt.new_messages, prompt.new_blocks), (Some(3_000), 2, 2));
    assert!((12_008..12_100).contains(&prompt.new_bytes), "the answer and the question: {}", prompt.new_bytes);
    let again = after(&next, 6_000, &next);
    assert_eq!(again, Prompt { settled: Some(6_000), ..Prompt::default() }, "nothing is new");
    let longest = Prefixes::default();
    for (body, tokens) in [(&first, 3_000), (&next, 6_000)] {
        longest.note(read(body, &HeaderMap::new()).1.whole().expect("an end"), "p", tokens);
    }
    let (whole, beginnings) = read(&next, &HeaderMap::new());
    assert_eq!(longest.prompt_of(&beginnings, "p", whole).settled, Some(6_000), "the longest beginning counts");
    assert_eq!(longest.prompt_of(&beginnings, "another", whole), whole, "another provider may count otherwise");
}

#[test]
fn what_is_not_the_same_is_not_known() {
    let first = body_with(&two_turns(), &json!({"system": "Be brief.", "tools": [{"name": "t", "input_schema": {"max": 1}}]}));
    let same = json!({"system": "Be brief.", "tools": [{"name": "t", "input_schema": {"max": 1}}]});
    assert_eq!(after(&first, 9, &body_with(&followed_by("x"), &same)).settled, Some(9));
    let moved = json!({"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}], "tools": same["tools"]});
    assert_eq!(after(&first, 9, &body_with(&followed_by("x"), &moved)).settled, Some(9), "caching counts nothing");
    for (what, other) in [
        ("settings", json!({"system": same["system"], "tools": same["tools"], "thinking": {"type": "adaptive"}})),
        ("an unknown field", json!({"system": same["system"], "tools": same["tools"], "new": 1})),
        ("the system prompt", json!({"system": "Be very brief.", "tools": same["tools"]})),
        ("a tool", json!({"system": same["system"], "tools": [{"name": "u", "input_schema": {"max": 1}}]})),
        ("how a tool is written", json!({"system": same["system"], "tools": [{"name": "t", "input_schema": {"max": 1.0}}]})),
        ("another tool", json!({"system": same["system"], "tools": [same["tools"][0], {"name": "u"}]})),
        (
            "left out",
            json!({"system": same["system"], "tools": same["tools"],
            "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
        ),
    ] {
        assert_eq!(after(&first, 9, &body_with(&followed_by("x"), &other)).settled, None, "{what}");
    }
    let mut earlier = followed_by("x");
    earlier[0] = turn("user", "Something else");
    assert_eq!(after(&first, 9, &body_with(&earlier, &same)).settled, None, "an earlier message");
    let (prefixes, mut beta) = (Prefixes::default(), HeaderMap::new());
    prefixes.note(read(&first, &beta).1.whole().expect("an end"), "p", 9);
    beta.insert("anthropic-beta", "context-1m-2025-08-07".parse().expect("a value"));
    let (whole, beginnings) = read(&body_with(&followed_by("x"), &same), &beta);
    assert_eq!(prefixes.prompt_of(&beginnings, "p", whole), whole, "a beta may change how it is counted");
}

/// Arguments that mean the same, or that are too long to be compared, are not the same tokens.
#[test]
fn what_is_written_otherwise_is_not_known() {
    let with = |input: &str| {
        format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}},{{"role":"assistant","content":[
            {{"type":"tool_use","id":"t","name":"n","input":{input}}}]}}]}}"#
        )
    };
    let known = |first: &str, next: &str| after(&with(first), 9, &with(next)).settled.is_some();
    let numbers = |number: &str| format!("[{}]", vec![number; 500].join(","));
    assert!(known(&numbers("1000"), &numbers("1000")));
    assert!(!known(&numbers("1000"), &numbers("1e03")));
    let long = |letter: &str| format!("\"{}\"", letter.repeat(2 << 20));
    assert!(known(&long("a"), &long("a")) && !known(&long("a"), &long("b")));
}

#[test]
fn thinking_may_not_have_been_counted() {
    let thinking = json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "h".repeat(700), "signature": "s".repeat(200)},
        {"type": "text", "text": "ok"}]});
    let long = turn("user", &"x".repeat(5_000));
    let first = body_with(&[long.clone(), thinking.clone(), turn("user", "go")], &json!({}));
    let next = body_with(&[long, thinking, turn("user", "go"), turn("assistant", "gone")], &json!({}));
    assert_eq!(after(&first, 1_000, &next).settled, Some(1_900));
}

#[test]
fn a_short_prompt_is_not_made_longer_by_what_is_known() {
    let first = body_with(&[turn("user", "x")], &json!({}));
    let prompt = after(&first, 50_000, &first);
    assert_eq!(prompt.settled, None, "by its bytes it has less: {prompt:?}");
}

#[test]
fn images_count_by_what_they_may_have_and_not_by_their_bytes() {
    let image = |bytes: usize| {
        json!({"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png",
            "data": "A".repeat(bytes)}}]})
    };
    let large = body_with(&[image(1_000_000)], &json!({}));
    let (whole, _) = read(&large, &HeaderMap::new());
    assert!(whole.new_bytes < 300 && whole.new_extra_tokens == 5_000, "{whole:?}");
    let facts = parse::request(ModelPath::Messages, large.as_bytes(), Detail::Facts).expect("a request").0.prompt;
    assert_eq!(facts, whole);
    let first = body_with(&two_turns(), &json!({}));
    let mut messages = two_turns();
    messages.push(image(1_000_000));
    let next = after(&first, 6_000, &body_with(&messages, &json!({})));
    assert!(next.new_bytes < 300 && next.new_extra_tokens == 5_000 && next.settled == Some(6_000), "{next:?}");
    // What is no image is text, whatever it says.
    for (kind, source) in [("document", "text"), ("image", "text"), ("text", "base64")] {
        let other = json!([{"role": "user", "content": [{"type": kind, "source": {"type": source, "data": "A".repeat(9_000)}}]}]);
        let (whole, _) = read(&body_with(other.as_array().expect("a list"), &json!({})), &HeaderMap::new());
        assert!(whole.new_bytes > 9_000, "{kind} {source}: {whole:?}");
    }
}

#[test]
fn the_oldest_is_forgotten_and_the_larger_count_holds() {
    let prefixes = Prefixes::default();
    let digest = |number: usize| digest_bytes(&number.to_le_bytes());
    for number in 0..=REMEMBERED_MAX {
        prefixes.note(digest(number), "p", 1);
    }
    let tokens = |number: usize| prefixes.0.lock().measured.get(&digest(number)).map(|measured| measured.prompt_tokens);
    assert_eq!((tokens(0), tokens(1), tokens(REMEMBERED_MAX)), (None, Some(1), Some(1)));
    assert_eq!(prefixes.0.lock().measured.len(), REMEMBERED_MAX);
    for said in [7, 5] {
        prefixes.note(digest(1), "p", said);
    }
    assert_eq!(tokens(1), Some(7));
    prefixes.note(digest(1), "another", 3);
    assert_eq!((tokens(1), prefixes.0.lock().order.len()), (Some(3), REMEMBERED_MAX));
}

#[test]
fn digests_are_made_only_where_they_can_help() {
    let long = "x".repeat(20_000);
    assert!(!may_help(body_with(&[turn("user", &long)], &json!({})).as_bytes()), "nothing was said before");
    assert!(!may_help(body_with(&[turn("user", "x"), turn("assistant", "y")], &json!({})).as_bytes()), "nothing to win");
    assert!(may_help(body_with(&[turn("user", &long), turn("assistant", "y")], &json!({})).as_bytes()));
}

/// A conversation as a client keeps it.
#[derive(Clone, Debug)]
struct Talk {
    system: String,
    tool: String,
    setting: u8,
    beta: bool,
    messages: Vec<(String, String)>,
}

/// What a client may do next.
#[derive(Clone, Debug)]
enum Step {
    Say(String, String),
    Forget,
    Rewrite(usize, String),
    System(String),
    Tool(String),
    Setting(u8),
    Beta,
}

fn step() -> impl Strategy<Value = Step> {
    let words = || "[a-zé0-9 ]{0,120}";
    prop_oneof![
        6 => (words(), words()).prop_map(|(text, thinking)| Step::Say(text, thinking)),
        1 => Just(Step::Forget),
        1 => (any::<usize>(), words()).prop_map(|(at, text)| Step::Rewrite(at, text)),
        1 => words().prop_map(Step::System),
        1 => words().prop_map(Step::Tool),
        1 => (0..3_u8).prop_map(Step::Setting),
        1 => Just(Step::Beta),
    ]
}

impl Talk {
    fn take(&mut self, step: Step) {
        match step {
            Step::Say(text, thinking) => self.messages.push((text, thinking)),
            Step::Forget => drop(self.messages.pop()),
            Step::Rewrite(at, text) => {
                let length = self.messages.len().max(1);
                self.messages.get_mut(at % length).into_iter().for_each(|message| message.0.clone_from(&text));
            }
            Step::System(text) => self.system = text,
            Step::Tool(text) => self.tool = text,
            Step::Setting(setting) => self.setting = setting,
            Step::Beta => self.beta = !self.beta,
        }
    }

    fn body(&self) -> String {
        let message = |(at, (text, thinking)): (usize, &(String, String))| match at % 2 {
            0 => json!({"role": "user", "content": text}),
            _ => json!({"role": "assistant", "content": [{"type": "thinking", "thinking": thinking, "signature": ""},
                {"type": "text", "text": text}]}),
        };
        let messages: Vec<_> = self.messages.iter().enumerate().map(message).collect();
        body_with(&messages, &json!({"system": self.system, "tools": [{"name": self.tool}], "top_k": self.setting}))
    }

    fn headers(&self) -> HeaderMap {
        let beta = self.beta.then(|| (http::HeaderName::from_static("anthropic-beta"), http::HeaderValue::from_static("b")));
        beta.into_iter().collect()
    }

    /// What a provider may count: anything up to a token for each byte, the same for the same text, more around blocks and messages,
    /// thinking or none, and words of its own.
    fn tokens(&self, counts_thinking: bool, own_words: u64) -> u64 {
        let of = |text: &str| {
            let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
            let taste = u64::from(digest_bytes(format!("{text}{}{}", self.setting, self.beta).as_bytes())[0]);
            bytes * taste / 255
        };
        let messages = self.messages.iter().enumerate().map(|(at, (text, thinking))| match at % 2 {
            0 => of(text) + MESSAGE_TOKENS + BLOCK_TOKENS,
            _ => of(text) + if counts_thinking { of(thinking) } else { 0 } + MESSAGE_TOKENS + BLOCK_TOKENS,
        });
        of(&self.system) + of(&self.tool) + messages.sum::<u64>() + own_words
    }
}

proptest! {
    /// Whatever a client says, takes back and says otherwise, and however the provider counts.
    #[test]
    fn no_prompt_has_more_tokens_than_its_ceiling(
        steps in prop::collection::vec((step(), any::<bool>(), 0..=PROMPT_OVERHEAD_TOKENS, any::<bool>()), 1..40)
    ) {
        let prefixes = Prefixes::default();
        let mut talk = Talk {
            system: "s".repeat(3_000), tool: "t".to_owned(), setting: 0, beta: false,
            messages: vec![("m".repeat(3_000), String::new())],
        };
        for (step, counts_thinking, own_words, measured) in steps {
            talk.take(step);
            let (body, headers) = (talk.body(), talk.headers());
            let (whole, beginnings) = read(&body, &headers);
            let prompt = prefixes.prompt_of(&beginnings, "p", whole);
            let tokens = talk.tokens(counts_thinking, own_words);
            prop_assert!(tokens <= prompt.tokens_max(), "{tokens} of {prompt:?}: {body}");
            prop_assert!(prompt.tokens_max() <= whole.tokens_max());
            if let (Some(whole), true) = (beginnings.whole(), measured) {
                prefixes.note(whole, "p", tokens);
            }
        }
    }
}
