//! Questions back (2026-07-28): a server answers a call with what it still needs of its caller, and the caller sends the call once
//! more with the answers. Passed on is what a client said that it answers and what asks a person or names folders: forms and roots.
//! A model's words on a client's account (sampling) and addresses to open (elicitation in URL mode) are not.
//!
//! Invariant: a question goes to the client whose call it belongs to, within bounds, written anew and with the app's name before it;
//! what a server keeps in the client comes back for that very call alone ([`super::state`]).

use super::plain::visible;
use serde_json::{Map, Value, json};

/// Questions of one answer, and answers of one call.
const QUESTIONS_MAX: usize = 16;
const KEY_BYTES_MAX: usize = 64;
const MESSAGE_CHARS_MAX: usize = 2_000;
/// Bytes of a form, and of all answers of a call.
const FORM_BYTES_MAX: usize = 16 << 10;
const ANSWERS_BYTES_MAX: usize = 64 << 10;
/// Bytes of what a server keeps in a client.
pub(super) const STATE_BYTES_MAX: usize = 32 << 10;
const ELICIT: &str = "elicitation/create";
const ROOTS: &str = "roots/list";
/// By which a result says what it is.
const KIND: &str = "resultType";
const ASKS: &str = "input_required";

/// What a caller answers, and what it answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Back {
    /// Whether it fills in forms.
    pub elicitation: bool,
    /// Whether it names folders.
    pub roots: bool,
    /// Its answers, as they go on.
    pub answers: Option<Map<String, Value>>,
    /// What the server gave it to keep: as the gateway sealed it, and once that is opened as the server said it.
    pub state: Option<String>,
}

impl Back {
    /// What a request says of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(params: &Map<String, Value>, capabilities: Option<&Value>) -> Result<Self, &'static str> {
        let claims = |name: &str| capabilities.and_then(|all| all.get(name)).is_some_and(Value::is_object);
        let answers = match params.get("inputResponses") {
            None => None,
            Some(Value::Object(answers)) => Some(answers.clone()),
            Some(_) => return Err("inputResponses must be an object"),
        };
        let good = |(key, answer): (&String, &Value)| key.len() <= KEY_BYTES_MAX && answer.is_object();
        if let Some(answers) = &answers {
            let bytes = Value::Object(answers.clone()).to_string().len();
            if answers.len() > QUESTIONS_MAX || bytes > ANSWERS_BYTES_MAX || !answers.iter().all(good) {
                return Err("inputResponses holds at most 16 objects under short names, 64 KiB together");
            }
        }
        let state = match params.get("requestState") {
            None => None,
            Some(Value::String(state)) if state.len() <= STATE_BYTES_MAX * 2 => Some(state.clone()),
            Some(_) => return Err("requestState must be a text, as it was given"),
        };
        Ok(Self { elicitation: claims("elicitation"), roots: claims("roots"), answers, state })
    }

    /// Whether questions may come back at all.
    pub(super) const fn is_open(&self) -> bool {
        self.elicitation || self.roots
    }

    /// What the server is told that its caller can do.
    pub(super) fn capabilities(&self) -> Value {
        let named = [("elicitation", json!({"form": {}}), self.elicitation), ("roots", json!({}), self.roots)];
        named
            .into_iter()
            .filter(|(.., claimed)| *claimed)
            .map(|(name, how, _)| (name.to_owned(), how))
            .collect::<Map<_, _>>()
            .into()
    }

    /// Puts the answers into a request's parameters.
    pub(super) fn put(&self, params: &mut Map<String, Value>) {
        params.extend(self.answers.clone().map(|answers| ("inputResponses".to_owned(), Value::Object(answers))));
        params.extend(self.state.clone().map(|state| ("requestState".to_owned(), Value::String(state))));
    }
}

/// Whether a result asks back.
pub(crate) fn asks(result: &Map<String, Value>) -> bool {
    result.get(KIND).and_then(Value::as_str) == Some(ASKS)
}

/// A result that asks back, as it is passed on; none where something in it is not. `app` is who asks, in people's words.
pub(crate) fn passed_on(result: &Map<String, Value>, back: &Back, app: &str) -> Option<Value> {
    let questions = result.get("inputRequests").and_then(Value::as_object);
    let mut asked = Map::new();
    for (key, question) in questions.into_iter().flatten() {
        let fits = key.len() <= KEY_BYTES_MAX && asked.len() < QUESTIONS_MAX;
        let params = match question.get("method").and_then(Value::as_str) {
            Some(ELICIT) if fits && back.elicitation => form(question.get("params")?, app)?,
            Some(ROOTS) if fits && back.roots => json!({}),
            _ => return None,
        };
        asked.insert(key.clone(), json!({"method": question.get("method"), "params": params}));
    }
    let state = match result.get("requestState") {
        None | Some(Value::Null) => None,
        Some(Value::String(state)) if state.len() <= STATE_BYTES_MAX => Some(state.clone()),
        Some(_) => return None,
    };
    if asked.is_empty() && state.is_none() {
        return None;
    }
    let mut passed = Map::from_iter([(KIND.to_owned(), json!(ASKS))]);
    passed.extend((!asked.is_empty()).then(|| ("inputRequests".to_owned(), Value::Object(asked))));
    passed.extend(state.map(|state| ("requestState".to_owned(), json!(state))));
    Some(Value::Object(passed))
}

/// A form for a person: the question with who asks it, and which fields there are.
fn form(params: &Value, app: &str) -> Option<Value> {
    let mode = params.get("mode").and_then(Value::as_str).unwrap_or("form");
    let schema =
        params.get("requestedSchema").filter(|schema| schema.is_object() && schema.to_string().len() <= FORM_BYTES_MAX)?;
    let message = visible(params.get("message").and_then(Value::as_str)?);
    let message: String = message.chars().filter(|c| !c.is_control() || *c == '\n').take(MESSAGE_CHARS_MAX).collect();
    let mut fields = json!({"message": format!("{app} asks: {message}"), "requestedSchema": super::plain(schema.clone())});
    if let (true, Some(fields)) = (params.get("mode").is_some(), fields.as_object_mut()) {
        fields.insert("mode".to_owned(), json!("form"));
    }
    (mode == "form").then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn both() -> Back {
        Back { elicitation: true, roots: true, ..Back::default() }
    }

    fn asking(questions: Value) -> Map<String, Value> {
        object(
            json!({"resultType": "input_required", "inputRequests": questions, "content": [{"type": "text", "text": "x"}], "more": 1}),
        )
    }

    #[test]
    fn forms_and_folders_are_asked_for_with_who_asks_and_nothing_else() {
        let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        let question = json!({"method": ELICIT, "params": {"message": "Who\u{202e}?\u{7}", "requestedSchema": schema, "x": 1}});
        let result = asking(json!({"a": question, "b": {"method": ROOTS, "params": {"x": 1}}}));
        assert!(asks(&result));
        let passed = passed_on(&result, &both(), "Notes").expect("it is passed on");
        let form = json!({"method": ELICIT, "params": {"message": "Notes asks: Who?", "requestedSchema": schema}});
        let expected =
            json!({"resultType": "input_required", "inputRequests": {"a": form, "b": {"method": ROOTS, "params": {}}}});
        assert_eq!(passed, expected);
        let forms = Back { elicitation: true, ..Back::default() };
        assert_eq!(passed_on(&result, &forms, "Notes"), None, "folders were not offered");
        assert_eq!(both().capabilities(), json!({"elicitation": {"form": {}}, "roots": {}}));
    }

    #[test]
    fn what_could_do_more_than_ask_is_not_passed_on() {
        let elicit = |params: Value| json!({"a": {"method": ELICIT, "params": params}});
        let schema = json!({"type": "object"});
        for questions in [
            json!({"a": {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}}}),
            json!({"a": {"method": "tools/call", "params": {}}}),
            json!({"a": {}}),
            json!({"a": 1}),
            json!({}),
            elicit(json!({"mode": "url", "url": "https://evil.example", "message": "Sign in", "requestedSchema": schema})),
            elicit(json!({"message": "x"})),
            elicit(json!({"requestedSchema": schema})),
            elicit(json!({"message": "x", "requestedSchema": {"a": "x".repeat(FORM_BYTES_MAX)}})),
            json!({"k".repeat(65): {"method": ROOTS}}),
            (0..20).map(|n| (n.to_string(), json!({"method": ROOTS}))).collect::<Map<_, _>>().into(),
        ] {
            assert_eq!(passed_on(&asking(questions.clone()), &both(), "Notes"), None, "{questions}");
        }
        let large = object(json!({"resultType": "input_required", "requestState": "x".repeat(STATE_BYTES_MAX + 1)}));
        assert_eq!(passed_on(&large, &both(), "Notes"), None);
    }

    #[test]
    fn answers_are_read_within_bounds() {
        let read = |params: Value| Back::read(&object(params), Some(&json!({"elicitation": {}, "sampling": {}})));
        let back = read(json!({"inputResponses": {"a": {"action": "accept"}}, "requestState": "s"})).expect("it is read");
        assert!(back.elicitation && !back.roots && back.is_open());
        let mut params = Map::new();
        back.put(&mut params);
        assert_eq!(Value::Object(params), json!({"inputResponses": {"a": {"action": "accept"}}, "requestState": "s"}));
        for bad in [
            json!({"inputResponses": null}),
            json!({"inputResponses": []}),
            json!({"inputResponses": {"a": 12345}}),
            json!({"inputResponses": {"a": {"x": "x".repeat(ANSWERS_BYTES_MAX)}}}),
            json!({"requestState": 1}),
            json!({"requestState": null}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
        assert!(!Back::read(&Map::new(), None).expect("nothing is said").is_open());
    }
}
