//! Scenarios: answers written in files, chosen by what a request says.
//!
//! A scenario is chosen by `[[scenario:name]]` in the person's text, by the configuration, or by the conditions of
//! its replies. The file format is described in `scenarios/README.md`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use crate::{FakeError, history::History, request::MessagesRequest, turn::Block};

/// Longest pause a file may ask for.
const STALL_MS_MAX: u64 = 600_000;
/// Largest number of bytes a file may ask for in one piece.
const FILLER_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug)]
pub struct Scenario {
    pub name: String,
    pub about: String,
    replies: Vec<Reply>,
}

#[derive(Debug)]
pub struct Reply {
    when: When,
    times_max: Option<u64>,
    times: AtomicU64,
    pub delay: Option<Duration>,
    pub gzip: bool,
    pub answer: ReplyKind,
}

#[derive(Debug)]
pub enum ReplyKind {
    Error(HttpError),
    Steps(Vec<Step>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Block(Block),
    /// What the assistant would have answered without a scenario.
    Understand,
    Fault {
        after_events: Option<usize>,
        fault: Fault,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Stall(Duration),
    Cut,
    Error { kind: String, message: String },
    UnknownEvent(String),
    OversizeLine(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    pub status: StatusCode,
    pub kind: String,
    pub message: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    model: Option<String>,
    text: Option<String>,
    turn: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    name: String,
    about: String,
    reply: Vec<Spanned<ReplyFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyFile {
    #[serde(default)]
    when: When,
    times: Option<u64>,
    delay_ms: Option<u64>,
    #[serde(default)]
    gzip: bool,
    error: Option<ErrorFile>,
    #[serde(default)]
    steps: Vec<StepFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorFile {
    status: u16,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum StepFile {
    Text(String),
    Thinking(String),
    ToolUse(ToolUseFile),
    Pieces(PiecesFile),
    Understand(bool),
    Stall(StallFile),
    Cut(CutFile),
    MidStreamError(MidStreamErrorFile),
    UnknownEvent(String),
    OversizeLine(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolUseFile {
    name: String,
    input: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PiecesFile {
    count: usize,
    bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StallFile {
    ms: u64,
    after_events: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CutFile {
    after_events: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MidStreamErrorFile {
    #[serde(rename = "type")]
    kind: String,
    message: String,
    after_events: Option<usize>,
}

/// All scenarios a server knows.
#[derive(Debug)]
pub struct Scenarios {
    list: Vec<Scenario>,
}

/// How a request is to be answered.
#[derive(Debug)]
pub enum Choice<'a> {
    Reply(&'a Reply),
    Understand,
    Unknown(String),
}

impl Scenarios {
    /// Reads the built-in scenarios and then every `*.toml` of `dirs`; a later one replaces an earlier of its name.
    ///
    /// # Errors
    /// The first file that can't be read or understood, with line and column.
    pub fn load(dirs: &[PathBuf]) -> Result<Self, FakeError> {
        let mut scenarios = Self { list: Vec::new() };
        for (file, text) in crate::builtin::SCENARIOS {
            scenarios.add(Scenario::parse(Path::new(file), text)?);
        }
        for dir in dirs {
            for path in files(dir)? {
                let text = std::fs::read_to_string(&path).map_err(|source| FakeError::Read { path: path.clone(), source })?;
                scenarios.add(Scenario::parse(&path, &text)?);
            }
        }
        Ok(scenarios)
    }

    fn add(&mut self, scenario: Scenario) {
        self.list.retain(|known| known.name != scenario.name);
        self.list.push(scenario);
    }

    /// Name and description of each scenario, for a help page.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|scenario| (scenario.name.as_str(), scenario.about.as_str()))
    }

    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Scenario> {
        self.list.iter().find(|scenario| scenario.name == name)
    }

    /// The text names a scenario before the configuration does, and both before any condition.
    #[must_use]
    pub fn choose(&self, request: &MessagesRequest, history: &History<'_>, configured: Option<&str>) -> Choice<'_> {
        let named = scenario_in(&history.asked).or(configured);
        let reply = match named.map(|name| (name, self.find(name))) {
            Some((name, None)) => return Choice::Unknown(name.to_owned()),
            Some((_, Some(scenario))) => scenario.reply(request, history, |_| true),
            None => self.list.iter().find_map(|scenario| scenario.reply(request, history, When::is_condition)),
        };
        reply.map_or(Choice::Understand, Choice::Reply)
    }
}

impl Scenario {
    /// # Errors
    /// [`FakeError::Scenario`] with file, line and column.
    pub fn parse(path: &Path, text: &str) -> Result<Self, FakeError> {
        let fault = |offset: usize, message: String| {
            let (line, column) = position(text, offset);
            FakeError::Scenario { path: path.to_owned(), line, column, message }
        };
        let file: ScenarioFile =
            toml::from_str(text).map_err(|error| fault(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        if file.name.is_empty() || !file.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(fault(0, "name: only letters, digits and hyphens".into()));
        }
        let replies = file
            .reply
            .into_iter()
            .map(|reply| {
                let offset = reply.span().start;
                Reply::checked(reply.into_inner()).map_err(|message| fault(offset, message))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { name: file.name, about: file.about, replies })
    }

    fn reply(&self, request: &MessagesRequest, history: &History<'_>, eligible: impl Fn(&When) -> bool) -> Option<&Reply> {
        self.replies.iter().find(|reply| eligible(&reply.when) && reply.when.matches(request, history) && reply.take())
    }
}

impl Reply {
    fn checked(file: ReplyFile) -> Result<Self, String> {
        let answer = match (file.error, file.steps.is_empty()) {
            (Some(error), true) => ReplyKind::Error(HttpError::checked(error)?),
            (None, false) => ReplyKind::Steps(file.steps.into_iter().map(step).collect::<Result<_, _>>()?),
            (Some(_), false) => return Err("a reply has either `error` or `steps`, not both".into()),
            (None, true) => return Err("a reply needs `error` or `steps`".into()),
        };
        let delay = file.delay_ms.map(pause).transpose()?;
        let times = AtomicU64::new(0);
        Ok(Self { when: file.when, times_max: file.times, times, delay, gzip: file.gzip, answer })
    }

    /// Counts one use; false when the reply is used up.
    fn take(&self) -> bool {
        let Some(max) = self.times_max else { return true };
        let next = |used: u64| (used < max).then_some(used + 1);
        self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl HttpError {
    fn checked(file: ErrorFile) -> Result<Self, String> {
        let status = StatusCode::from_u16(file.status)
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
            .ok_or_else(|| format!("error.status: {} is not an HTTP error", file.status))?;
        let headers = file
            .headers
            .into_iter()
            .map(|(name, value)| {
                let parsed = (HeaderName::try_from(&name), HeaderValue::try_from(&value));
                if let (Ok(name), Ok(value)) = parsed {
                    Ok((name, value))
                } else {
                    Err(format!("error.headers.{name}: not a header"))
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { status, kind: file.kind, message: file.message, headers })
    }
}

impl When {
    fn is_condition(&self) -> bool {
        self.model.is_some() || self.text.is_some() || self.turn.is_some()
    }

    fn matches(&self, request: &MessagesRequest, history: &History<'_>) -> bool {
        self.model.as_deref().is_none_or(|pattern| matches_whole(pattern, &request.model))
            && self.text.as_deref().is_none_or(|pattern| matches_part(pattern, &history.asked))
            && self.turn.is_none_or(|turn| turn == history.turn)
    }
}

fn step(file: StepFile) -> Result<Step, String> {
    let fault = |after_events, fault| Step::Fault { after_events, fault };
    Ok(match file {
        StepFile::Text(text) => Step::Block(Block::Text(text)),
        StepFile::Thinking(text) => Step::Block(Block::Thinking(text)),
        StepFile::ToolUse(ToolUseFile { name, input }) => Step::Block(Block::ToolUse { name, input }),
        StepFile::Pieces(PiecesFile { count, bytes }) => {
            filler(count.saturating_mul(bytes))?;
            Step::Block(Block::Pieces { count, bytes })
        }
        StepFile::Understand(true) => Step::Understand,
        StepFile::Understand(false) => return Err("understand: leave the step out instead of saying false".into()),
        StepFile::Stall(StallFile { ms, after_events }) => fault(after_events, Fault::Stall(pause(ms)?)),
        StepFile::Cut(CutFile { after_events }) => fault(after_events, Fault::Cut),
        StepFile::MidStreamError(MidStreamErrorFile { kind, message, after_events }) => {
            fault(after_events, Fault::Error { kind, message })
        }
        StepFile::UnknownEvent(name) => fault(None, Fault::UnknownEvent(name)),
        StepFile::OversizeLine(bytes) => fault(None, Fault::OversizeLine(filler(bytes)?)),
    })
}

fn pause(ms: u64) -> Result<Duration, String> {
    if ms > STALL_MS_MAX {
        return Err(format!("{ms} ms is longer than the {STALL_MS_MAX} ms a scenario may wait"));
    }
    Ok(Duration::from_millis(ms))
}

fn filler(bytes: usize) -> Result<usize, String> {
    if bytes > FILLER_BYTES_MAX {
        return Err(format!("{bytes} bytes are more than the {FILLER_BYTES_MAX} a scenario may send at once"));
    }
    Ok(bytes)
}

/// The name in `[[scenario:name]]`.
fn scenario_in(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("[[scenario:")?;
    after.split_once("]]").map(|(name, _)| name.trim())
}

/// `*` stands for any text; letters' case does not matter.
fn matches_part(pattern: &str, text: &str) -> bool {
    let text = text.to_lowercase();
    let mut rest = text.as_str();
    pattern.to_lowercase().split('*').all(|piece| match rest.split_once(piece) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

fn matches_whole(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => text.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
    }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, FakeError> {
    let failed = |source| FakeError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Line and column, from 1, of a byte in a text.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
