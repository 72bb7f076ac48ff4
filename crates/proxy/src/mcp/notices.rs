//! What a tool says while it works: how far it is, and its log. Nothing of it is passed on as it came: a notice is read like any message,
//! and written anew with the caller's own token.

use super::host::{LogLevel, LogWish, Wanted};
use super::parse::{Era, is_id};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::mpsc;

/// Notices of one call that are passed on.
const NOTICES_MAX: u32 = 1000;
/// That wait for a caller who reads slowly; what comes beyond is left out.
const WAITING_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 4000;

pub(super) const META_PROGRESS: &str = "progressToken";
pub(super) const META_LOG: &str = "io.modelcontextprotocol/logLevel";
/// RFC 5424.
const LOG_LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

impl LogLevel {
    /// What is told to who never said otherwise.
    pub(crate) const INFO: Self = Self(1);

    pub(crate) fn read(name: &Value) -> Option<Self> {
        let at = LOG_LEVELS.iter().position(|level| name == level)?;
        u8::try_from(at).ok().map(Self)
    }
}

impl Wanted {
    /// What a call says of it. Earlier revisions know no wish for a single call's log, and leave it to the server.
    pub(super) fn read(meta: Option<&Map<String, Value>>, era: Era) -> Result<Self, &'static str> {
        let progress = match meta.and_then(|meta| meta.get(META_PROGRESS)) {
            None => None,
            Some(token) if is_id(token) => Some(token.clone()),
            Some(_) => return Err("_meta holds a progressToken that is neither a short text nor a whole number"),
        };
        let log = match meta.and_then(|meta| meta.get(META_LOG)) {
            None if era == Era::Modern => LogWish::Nothing,
            None => LogWish::AsSet,
            Some(level) => LogWish::From(LogLevel::read(level).ok_or("_meta holds a logLevel that does not exist")?),
        };
        Ok(Self { progress, log })
    }
}

/// Where the notices of one call go. Cheap to clone.
#[derive(Clone)]
pub struct Notices {
    sender: mpsc::Sender<Value>,
    shared: Arc<Shared>,
    /// As the caller set it, where that counts.
    level: LogLevel,
}

struct Shared {
    wanted: Wanted,
    told: AtomicU32,
    /// Progress only ever grows; what says otherwise is left out.
    last: Mutex<Option<f64>>,
}

impl Notices {
    /// For a caller who wants this, and what it is told.
    pub(crate) fn new(wanted: Wanted) -> (Self, mpsc::Receiver<Value>) {
        let (sender, told) = mpsc::channel(WAITING_MAX);
        let shared = Shared { wanted, told: AtomicU32::new(0), last: Mutex::new(None) };
        (Self { sender, shared: Arc::new(shared), level: LogLevel::INFO }, told)
    }

    /// The same for a caller who set this level.
    pub(crate) fn at(self, level: LogLevel) -> Self {
        Self { level, ..self }
    }

    pub(crate) fn wanted(&self) -> &Wanted {
        &self.shared.wanted
    }

    /// A message of the server's that does not answer the request. `token` is what we called its progress.
    pub(crate) fn saw(&self, message: &Value, token: &str) {
        let Some(params) = message.get("params").and_then(Value::as_object) else { return };
        let notice = match message.get("method").and_then(Value::as_str) {
            Some("notifications/progress") => self.progress(params, token),
            Some("notifications/message") => self.log(params),
            _ => None,
        };
        if let Some(notice) = notice
            && self.shared.told.fetch_add(1, Ordering::Relaxed) < NOTICES_MAX
        {
            // A caller who left, or reads too slowly, misses it; its call is not held up by that.
            let _ = self.sender.try_send(notice);
        }
    }

    fn progress(&self, params: &Map<String, Value>, token: &str) -> Option<Value> {
        let own = self.shared.wanted.progress.clone()?;
        let at = params.get("progress").filter(|at| at.is_number())?;
        if params.get("progressToken").and_then(Value::as_str) != Some(token) {
            return None;
        }
        let mut last = self.shared.last.lock();
        if last.is_some_and(|last| at.as_f64().is_none_or(|at| at <= last)) {
            return None;
        }
        *last = at.as_f64();
        let mut told = Map::from_iter([("progressToken".to_owned(), own), ("progress".to_owned(), at.clone())]);
        told.extend(params.get("total").filter(|total| total.is_number()).map(|total| ("total".to_owned(), total.clone())));
        told.extend(params.get("message").and_then(Value::as_str).map(|text| ("message".to_owned(), json!(short(text)))));
        Some(notice("notifications/progress", told))
    }

    fn log(&self, params: &Map<String, Value>) -> Option<Value> {
        let least = match self.shared.wanted.log {
            LogWish::Nothing => return None,
            LogWish::From(level) => level,
            LogWish::AsSet => self.level,
        };
        let level = params.get("level").filter(|level| LogLevel::read(level).is_some_and(|level| level >= least))?;
        let data = params.get("data").filter(|data| data.to_string().chars().count() <= TEXT_CHARS_MAX)?;
        let mut told = Map::from_iter([("level".to_owned(), level.clone()), ("data".to_owned(), data.clone())]);
        told.extend(params.get("logger").and_then(Value::as_str).map(|text| ("logger".to_owned(), json!(short(text)))));
        Some(notice("notifications/message", told))
    }
}

fn notice(method: &str, params: Map<String, Value>) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(token: &str, at: f64) -> Value {
        json!({"method": "notifications/progress", "params": {"progressToken": token, "progress": at, "total": 3, "x": "y"}})
    }

    #[test]
    fn progress_is_told_under_the_callers_own_name_and_only_grows() {
        let (notices, mut told) = Notices::new(Wanted { progress: Some(json!(7)), log: LogWish::Nothing });
        for message in [progress("a", 1.0), progress("b", 2.0), progress("a", 1.0), progress("a", 2.0)] {
            notices.saw(&message, "a");
        }
        notices.saw(&json!({"method": "notifications/message", "params": {"level": "info", "data": "nobody asked"}}), "a");
        notices.saw(&json!({"method": "sampling/createMessage", "id": 1, "params": {}}), "a");
        let params = |at: f64| json!({"progressToken": 7, "progress": at, "total": 3});
        let expected = |at: f64| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params(at)});
        assert_eq!((told.try_recv().ok(), told.try_recv().ok()), (Some(expected(1.0)), Some(expected(2.0))));
        assert!(told.try_recv().is_err(), "nothing else is passed on");
    }

    #[test]
    fn a_log_is_passed_on_to_who_wants_it_within_bounds() {
        let (notices, mut told) = Notices::new(Wanted { progress: None, log: LogWish::AsSet });
        let say = |level: &str, data: Value| json!({"method": "notifications/message", "params": {"level": level, "data": data}});
        notices.saw(&say("loud", json!("no such level")), "a");
        notices.saw(&say("debug", json!("nobody asked for that much")), "a");
        notices.clone().at(LogLevel(4)).saw(&say("warning", json!("less than what was set")), "a");
        notices.saw(&say("info", json!("x".repeat(5000))), "a");
        notices.saw(&progress("a", 1.0), "a");
        for _ in 0..2000 {
            notices.saw(&say("info", json!("hello")), "a");
        }
        let mut count = 0;
        while let Ok(notice) = told.try_recv() {
            assert_eq!(notice.pointer("/params/data"), Some(&json!("hello")));
            count += 1;
        }
        assert_eq!(count, WAITING_MAX, "a slow reader holds nothing up");
    }
}
