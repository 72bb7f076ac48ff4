//! The file format of scenarios: read as a whole, unknown keys and impossible values refused with their place.

use std::{collections::BTreeMap, path::Path, sync::atomic::AtomicU64, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::{BadChunks, Fault, Form, HttpError, LineEnd, Reply, ReplyKind, ResetAt, Scenario, Step, UsageTexts, When, Wire};
use crate::{FakeError, turn::Block};

/// Longest pause a file may ask for.
const STALL_MS_MAX: u64 = 600_000;
/// Largest number of bytes a file may ask for in one piece.
const FILLER_BYTES_MAX: usize = 64 * 1024 * 1024;
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
    #[serde(default)]
    sse: SseFile,
    usage: Option<UsageFile>,
    wire: Option<WireFile>,
    error: Option<ErrorFile>,
    #[serde(default)]
    steps: Vec<StepFile>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SseFile {
    #[serde(default)]
    line_end: LineEndFile,
    #[serde(default)]
    bom: bool,
    #[serde(default)]
    nameless: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LineEndFile {
    #[default]
    Lf,
    Cr,
    Crlf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageFile {
    start: String,
    deltas: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireFile {
    Split(usize),
    Reset(ResetAt),
    Length(i64),
    Chunks(BadChunks),
    Http2(bool),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    text: String,
    after_events: Option<usize>,
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
    body: Option<String>,
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
    Raw(RawFile),
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
        let wire = file.wire.map(wire).transpose()?;
        let form = form(file.sse, file.usage);
        Ok(Self { when: file.when, times_max: file.times, times, delay, gzip: file.gzip, form, wire, answer })
    }
}

fn form(sse: SseFile, usage: Option<UsageFile>) -> Form {
    let line_end = match sse.line_end {
        LineEndFile::Lf => LineEnd::Lf,
        LineEndFile::Cr => LineEnd::Cr,
        LineEndFile::Crlf => LineEnd::CrLf,
    };
    let usage = usage.map(|UsageFile { start, deltas }| UsageTexts { start, deltas });
    Form { line_end, bom: sse.bom, nameless: sse.nameless, usage }
}

fn wire(file: WireFile) -> Result<Wire, String> {
    Ok(match file {
        WireFile::Split(0) => return Err("wire.split: at least one byte".into()),
        WireFile::Split(bytes) => Wire::Split(bytes),
        WireFile::Reset(at) => Wire::Reset(at),
        WireFile::Length(off) => Wire::Length(off),
        WireFile::Chunks(how) => Wire::Chunks(how),
        WireFile::Http2(true) => Wire::Http2,
        WireFile::Http2(false) => return Err("wire.http2: leave it out instead of saying false".into()),
    })
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
        Ok(Self { status, kind: file.kind, message: file.message, headers, body: file.body })
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
        StepFile::Raw(RawFile { text, after_events }) => fault(after_events, Fault::Raw(text)),
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

/// Line and column, from 1, of a byte in a text.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
