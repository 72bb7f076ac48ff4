//! One sandbox with the probe in it, served and bound as a run's sandbox is.

use super::report::Said;
use proxy::{Gate, RunContext, RunEvent};
use sandbox::{Driver, Life};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::{RunEnd, Store};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One probe may take half a minute; a whole group gets this.
const GROUP_WAIT: Duration = Duration::from_secs(180);
const END_WAIT: Duration = Duration::from_secs(10);

/// What a group said, and whether it came to its end.
pub(crate) struct Answers {
    pub(crate) rows: Vec<Said>,
    pub(crate) done: bool,
}

/// A sandbox at work.
pub(crate) struct Booth {
    pub(crate) gate: Arc<Gate>,
    pub(crate) context: Arc<RunContext>,
    pub(crate) downgrades: Vec<String>,
    pub(crate) init_pid: u32,
    pub(super) stdin: pipe::Sender,
    pub(super) stdout: Lines<BufReader<pipe::Receiver>>,
    pub(super) life: Life,
    pub(super) stop: CancellationToken,
    pub(super) served: JoinHandle<()>,
    pub(super) events: JoinHandle<()>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn policy::Clock>,
}

/// Everything a driver gives of a sandbox, as far as it is spoken to.
pub(super) type Streams = (pipe::Sender, Lines<BufReader<pipe::Receiver>>);

/// Reads on, so that the proxy never waits for a watcher.
pub(super) async fn drain(mut events: tokio::sync::mpsc::Receiver<RunEvent>) {
    while events.recv().await.is_some() {}
}

pub(super) fn streams(stdin: pipe::Sender, stdout: pipe::Receiver) -> Streams {
    (stdin, BufReader::new(stdout).lines())
}

impl Booth {
    /// Has a group carried out.
    pub(crate) async fn ask(&mut self, group: &str, facts: &Value) -> Answers {
        let mut answers = Answers { rows: Vec::new(), done: false };
        let order = format!("{}\n", json!({"group": group, "facts": facts}));
        if self.stdin.write_all(order.as_bytes()).await.is_err() {
            return answers;
        }
        let deadline = tokio::time::Instant::now() + GROUP_WAIT;
        while let Ok(Ok(Some(line))) = tokio::time::timeout_at(deadline, self.stdout.next_line()).await {
            let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
            if value.get("done").is_some() {
                answers.done = true;
                break;
            }
            answers.rows.extend(serde_json::from_value::<Said>(value).ok());
        }
        answers
    }

    /// How the probe ended, if it did.
    pub(crate) async fn ending(&self) -> String {
        let exit = tokio::time::timeout(END_WAIT, self.life.ending().exited()).await;
        exit.map_or_else(|_| "it did not, it hangs".to_owned(), |exit| format!("{}; {}", exit.reason, exit.stderr_tail.trim()))
    }

    /// Ends the run and the sandbox.
    pub(crate) async fn close(self) {
        self.gate.unbind();
        if !self.context.close(END_WAIT).await {
            tracing::warn!(run = %self.context.run, "calls are still open at the end of an attack");
        }
        self.life.destroy().await;
        self.stop.cancel();
        let _ = self.served.await;
        self.events.abort();
        let end = RunEnd { outcome: "finished", code: None, message: None, turns: self.context.turns() };
        if let Err(error) = self.store.end_run(self.context.run, end, self.clock.now()).await {
            tracing::error!(%error, "the end of an attack could not be written");
        }
    }
}

/// The driver, spelled once.
pub(super) type AnyDriver = Arc<dyn Driver>;
