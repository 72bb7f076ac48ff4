//! May they? Pure functions from what is asked and who asks to a permit or a denial.
//!
//! Invariant: a permit has no public constructor and no public fields. It is bound to the request it was given for: a model call's
//! bytes leave out of their permit, a tool call's arguments ([`crate::ToolPermit`]) are held against their digest. The rooms above use it
//! up by value.

use crate::{CacheWrites, Denial, DenialCode, KeyUse, Microusd, Prices, Prompt, RunId, Timestamp, UserId};
use bytes::Bytes;
use std::sync::Arc;
use std::{fmt, mem};

/// Which part of the model API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelPath {
    /// `POST /v1/messages`.
    Messages,
    /// `POST /v1/messages/count_tokens`: free, so nothing is reserved.
    CountTokens,
    /// `GET /v1/models` and `GET /v1/models/{id}`: free as well. A request for one model names it as its model.
    Models,
}

impl ModelPath {
    /// The path at the provider.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Models => "/v1/models",
        }
    }

    /// Only what an agent needs exists.
    #[must_use]
    pub fn parse(method: &str, path: &str) -> Option<Self> {
        if method == "GET" {
            let one = |rest: &str| rest.strip_prefix('/').is_some_and(is_model_id);
            return path.strip_prefix(Self::Models.as_str()).filter(|rest| rest.is_empty() || one(rest)).map(|_| Self::Models);
        }
        [Self::Messages, Self::CountTokens].into_iter().find(|known| method == "POST" && path == known.as_str())
    }
}

/// A name that stands in a path as it is: nothing in it leads elsewhere.
fn is_model_id(id: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=128).contains(&id.len()) && !id.starts_with('.') && id.bytes().all(fits)
}

/// The bytes of a request. Its Debug tells only how many: what people wrote belongs into no log.
#[derive(Clone, Default)]
pub struct RequestBody(pub Bytes);

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A parsed model request: what decisions need of it.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// What leaves for the provider if it is permitted.
    pub body: RequestBody,
    /// Which path.
    pub path: ModelPath,
    /// The model asked for.
    pub model: String,
    /// The output limit asked for; none for count_tokens.
    pub max_tokens: u64,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// What it may have in tokens.
    pub prompt: Prompt,
    /// What it lets the provider write into its cache.
    pub cache_writes: CacheWrites,
    /// The first feature in it by which the provider would fetch or send for the caller, if any.
    pub forbidden_feature: Option<String>,
}

/// Who asks, and how far their run is.
#[derive(Clone, Debug)]
pub struct RunView {
    /// The run (or the window of a remote caller).
    pub run: RunId,
    /// Whose.
    pub user: UserId,
    /// The key of a remote caller; none is a run.
    pub key: Option<KeyUse>,
    /// The models allowed; none means any (remote callers).
    pub models: Option<Vec<String>>,
    /// Model calls admitted so far.
    pub turns_used: u32,
    /// At most so many.
    pub turns_max: u32,
    /// Output tokens of a call at most.
    pub output_tokens_max: u64,
    /// Tokens of a prompt at most, by its bytes.
    pub context_tokens_max: Option<u64>,
    /// When the run must be over.
    pub deadline: Timestamp,
    /// Whether the user switched changes on.
    pub writes: bool,
    /// What the call is charged to. Shared, because it is the same for every call of a run.
    pub budgets: Arc<[BudgetLine]>,
}

/// One budget a call is charged to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLine {
    /// `run:ID` or `global`.
    pub scope: String,
    /// A UTC day number for a budget per day, 0 for one that does not renew.
    pub period: i64,
    /// The limit.
    pub limit: Microusd,
    /// What to say when it is used up.
    pub exhausted: DenialCode,
}

/// Permission to make one model call, used up by `Purse::open` of `store`.
#[derive(Debug)]
pub struct ModelPermit {
    request: ModelRequest,
    run: RunId,
    user: UserId,
    ceiling: Microusd,
    budgets: Arc<[BudgetLine]>,
}

impl ModelPermit {
    /// What was permitted.
    #[must_use]
    pub const fn request(&self) -> &ModelRequest {
        &self.request
    }
    /// The bytes that were permitted, once: whoever sends has them from here, so nothing else can leave.
    pub const fn take_body(&mut self) -> Bytes {
        mem::replace(&mut self.request.body.0, Bytes::new())
    }
    /// For which run.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.run
    }
    /// For whom.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.user
    }
    /// What must be reserved: the call can't cost more.
    #[must_use]
    pub const fn ceiling(&self) -> Microusd {
        self.ceiling
    }
    /// Where it must be reserved.
    #[must_use]
    pub const fn budgets(&self) -> &Arc<[BudgetLine]> {
        &self.budgets
    }
}

/// How many bytes a token has, by and large: for the limit of a prompt's size, which costs nobody anything. What a prompt may
/// cost is counted with a token for each byte.
const BYTES_PER_TOKEN: u64 = 4;

/// Decides about a model call. Its ceiling holds until the run's deadline.
///
/// # Errors
/// The [`Denial`] to answer with.
pub fn admit_model(request: ModelRequest, view: &RunView, prices: &Prices, now: Timestamp) -> Result<ModelPermit, Denial> {
    let run = view.run.to_string();
    if now >= view.deadline {
        return Err(Denial::new(DenialCode::RunDeadline, &run));
    }
    if view.models.as_ref().is_some_and(|allowed| !allowed.contains(&request.model)) {
        let code = if view.key.is_some() { DenialCode::KeyScope } else { DenialCode::ModelName };
        return Err(Denial::new(code, &request.model));
    }
    if let Some(feature) = &request.forbidden_feature {
        return Err(Denial::new(DenialCode::ModelFeature, feature));
    }
    let ceiling = match request.path {
        ModelPath::CountTokens | ModelPath::Models => Microusd::ZERO,
        ModelPath::Messages => {
            if view.turns_used >= view.turns_max {
                return Err(Denial::new(DenialCode::RunTurns, &run));
            }
            if request.max_tokens > view.output_tokens_max {
                return Err(Denial::new(DenialCode::ModelOutput, &request.max_tokens.to_string()));
            }
            if view.context_tokens_max.is_some_and(|max| request.body_bytes / BYTES_PER_TOKEN > max) {
                return Err(Denial::new(DenialCode::ModelContext, &format!("{} bytes", request.body_bytes)));
            }
            ceiling_of(&request, request.max_tokens, view, prices, now)
        }
    };
    Ok(ModelPermit { request, run: view.run, user: view.user, ceiling, budgets: Arc::clone(&view.budgets) })
}

/// The most a model call can cost that may answer with so many tokens.
#[must_use]
pub fn ceiling_of(request: &ModelRequest, output_tokens: u64, view: &RunView, prices: &Prices, now: Timestamp) -> Microusd {
    let prompt_tokens_max = request.prompt.tokens_max();
    prices.ceiling_of(&request.model, now, view.deadline, prompt_tokens_max, request.cache_writes, output_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> RunView {
        let run = RunId::random();
        RunView {
            run,
            user: UserId::random(),
            key: None,
            models: Some(vec!["claude-sonnet-5-5".to_owned()]),
            turns_used: 0,
            turns_max: 2,
            output_tokens_max: 4000,
            context_tokens_max: Some(1_000),
            deadline: Timestamp(100),
            writes: false,
            budgets: Arc::new([]),
        }
    }

    fn request() -> ModelRequest {
        ModelRequest {
            body: RequestBody::default(),
            path: ModelPath::Messages,
            model: "claude-sonnet-5-5".to_owned(),
            max_tokens: 4000,
            body_bytes: 2000,
            prompt: Prompt { new_bytes: 2000, ..Prompt::default() },
            cache_writes: CacheWrites::OneHour,
            forbidden_feature: None,
        }
    }

    #[test]
    fn model_calls_are_admitted_or_refused_for_one_reason() {
        let now = Timestamp(50);
        let code = |request: ModelRequest, view: &RunView, now| {
            admit_model(request, view, &Prices::default(), now).map(|permit| permit.ceiling()).map_err(|denial| denial.code)
        };
        assert_eq!(
            code(request(), &view(), now),
            Ok(Microusd(61_600)),
            "4,000 prompt tokens at $4 and 4,000 output tokens at $10, and a tenth for inference in the United States"
        );
        assert_eq!(
            code(ModelRequest { cache_writes: CacheWrites::None, ..request() }, &view(), now),
            Ok(Microusd(52_800)),
            "and at $2 where nothing is written"
        );
        let known = Prompt { settled: Some(100), new_bytes: 10, ..Prompt::default() };
        assert_eq!(
            code(ModelRequest { prompt: known, body_bytes: 4_000, ..request() }, &view(), now),
            Ok(Microusd(53_284)),
            "2,110 tokens, as long as the body may be"
        );
        assert_eq!(code(request(), &view(), Timestamp(100)), Err(DenialCode::RunDeadline));
        assert_eq!(
            code(ModelRequest { model: "claude-fable-5".to_owned(), ..request() }, &view(), now),
            Err(DenialCode::ModelName)
        );
        let key = Some(KeyUse { id: crate::KeyId::random(), app: None });
        let keyed = |models: &[&str]| RunView {
            key: key.clone(),
            models: Some(models.iter().map(|model| (*model).to_owned()).collect()),
            ..view()
        };
        assert_eq!(code(request(), &keyed(&["a", "claude-sonnet-5-5"]), now), Ok(Microusd(61_600)));
        assert_eq!(code(request(), &keyed(&["a"]), now), Err(DenialCode::KeyScope));
        assert_eq!(code(request(), &keyed(&[]), now), Err(DenialCode::KeyScope), "two scopes without a common model");
        assert_eq!(code(ModelRequest { max_tokens: 4001, ..request() }, &view(), now), Err(DenialCode::ModelOutput));
        assert_eq!(code(ModelRequest { body_bytes: 4_004, ..request() }, &view(), now), Err(DenialCode::ModelContext));
        assert_eq!(
            code(ModelRequest { forbidden_feature: Some("mcp_servers".to_owned()), ..request() }, &view(), now),
            Err(DenialCode::ModelFeature)
        );
        assert_eq!(code(request(), &RunView { turns_used: 2, ..view() }, now), Err(DenialCode::RunTurns));
        assert_eq!(
            code(ModelRequest { path: ModelPath::CountTokens, ..request() }, &RunView { turns_used: 2, ..view() }, now),
            Ok(Microusd::ZERO)
        );
    }

    #[test]
    fn only_three_paths_exist() {
        assert_eq!(ModelPath::parse("POST", "/v1/messages"), Some(ModelPath::Messages));
        assert_eq!(ModelPath::parse("POST", "/v1/messages/count_tokens"), Some(ModelPath::CountTokens));
        for path in ["/v1/models", "/v1/models/claude-sonnet-5-5", "/v1/models/claude-opus-4.1_x"] {
            assert_eq!(ModelPath::parse("GET", path), Some(ModelPath::Models), "{path}");
        }
        for (method, path) in [
            ("GET", "/v1/messages"),
            ("POST", "/v1/files"),
            ("POST", "/v1/messages/batches"),
            ("POST", "/v1/messages/"),
            ("POST", "//v1/messages"),
            ("POST", "/V1/messages"),
            ("POST", "/v1/models"),
            ("GET", "/v1/models/"),
            ("GET", "/v1/models/a/b"),
            ("GET", "/v1/models/.."),
            ("GET", "/v1/models/a%2Fb"),
            ("GET", "/v1/modelsx"),
            ("HEAD", "/v1/models"),
        ] {
            assert_eq!(ModelPath::parse(method, path), None, "{method} {path}");
        }
    }
}
