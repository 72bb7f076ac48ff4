//! Scenarios: answers written in files, chosen by what a request says.
//!
//! A scenario is chosen by `[[scenario:name]]` in the person's text, by the configuration, or by the conditions of
//! its replies. The file format is described in `scenarios/README.md`.

mod file;
mod fill;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::{FakeError, history::History, request::MessagesRequest, turn::Block};
pub use fill::filled;

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
    pub form: Form,
    pub wire: Option<Wire>,
    pub answer: ReplyKind,
}

/// How the events of a stream are written, and what they say of usage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    pub line_end: LineEnd,
    pub bom: bool,
    /// The `event:` lines are left out.
    pub nameless: bool,
    /// The text of `usage` in `message_start`, and of one `message_delta` each.
    pub usage: Option<UsageTexts>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineEnd {
    #[default]
    Lf,
    Cr,
    CrLf,
}

/// What is said of usage instead of the truth, word for word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageTexts {
    pub start: String,
    pub deltas: Vec<String>,
}

/// What happens to the bytes of an answer below HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// At most so many bytes leave at once.
    Split(usize),
    Reset(ResetAt),
    /// The `content-length` is this much more or less than the body.
    Length(i64),
    Chunks(BadChunks),
    /// The answer of a server that speaks HTTP/2 alone: its settings, and that it goes away.
    Http2,
}

/// Where the connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetAt {
    BeforeHead,
    AfterHead,
    Middle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadChunks {
    /// A chunk's size is no number.
    BadSize,
    /// The last chunk never comes, but the end of the connection.
    NoEnd,
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
    Error {
        kind: String,
        message: String,
    },
    UnknownEvent(String),
    OversizeLine(usize),
    /// These bytes as they are, whether they are an event or not.
    Raw(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    pub status: StatusCode,
    pub kind: String,
    pub message: String,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Instead of the API's own shape.
    pub body: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    model: Option<String>,
    text: Option<String>,
    turn: Option<u64>,
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
            None => self.list.iter().find_map(|scenario| scenario.reply(request, history, When::stands_alone)),
        };
        reply.map_or(Choice::Understand, Choice::Reply)
    }
}

impl Scenario {
    fn reply(&self, request: &MessagesRequest, history: &History<'_>, eligible: impl Fn(&When) -> bool) -> Option<&Reply> {
        self.replies.iter().find(|reply| eligible(&reply.when) && reply.when.matches(request, history) && reply.take())
    }
}

impl Reply {
    /// Counts one use; false when the reply is used up.
    fn take(&self) -> bool {
        let Some(max) = self.times_max else { return true };
        let next = |used: u64| (used < max).then_some(used + 1);
        self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

impl When {
    /// A turn alone would catch every conversation.
    fn stands_alone(&self) -> bool {
        self.model.is_some() || self.text.is_some()
    }

    fn matches(&self, request: &MessagesRequest, history: &History<'_>) -> bool {
        self.model.as_deref().is_none_or(|pattern| matches_whole(pattern, &request.model))
            && self.text.as_deref().is_none_or(|pattern| matches_part(pattern, &history.asked))
            && self.turn.is_none_or(|turn| turn == history.turn)
    }
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
