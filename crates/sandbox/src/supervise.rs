//! The life of one jailed sandbox: the plan goes out, the listeners come in, and its end is waited for.

use crate::checking::Checks;
use crate::driver::{Exit, Listeners};
use crate::error::SandboxError;
use crate::jailer::Jailer;
use jail::{ControlError, End, Filled, Inbox, Outbox, Ready, Reply, Request, Usage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;
use serde::Serialize;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

const READY_SECS_MAX: u64 = 20;
const STDERR_BYTES_KEPT: usize = 4096;

/// The control socket of one sandbox. Invariant: the sandbox lives exactly as long as this is open.
pub(crate) struct Control {
    socket: UnixStream,
    inbox: Inbox,
    guard: Guard,
    upper: Option<OwnedFd>,
    counters: Vec<OwnedFd>,
}

/// What may be asked of a sandbox while its agent runs.
pub(crate) struct Questions {
    pub(crate) usage: mpsc::Receiver<oneshot::Sender<Usage>>,
    pub(crate) checks: Checks,
}

/// The supervisor, as far as it is known here.
enum Guard {
    /// Our own child.
    Child(Child),
    /// A helper's. Its last word, and then the end of the socket, are all that is heard of it.
    Helpers { said_last: bool },
}

impl Control {
    /// Starts the program that confines. It prepares what does not depend on a plan, and waits for one.
    pub(crate) fn spawn(program: &Path) -> Result<Self, SandboxError> {
        let (ours, theirs) = jail::control_pair().map_err(SandboxError::io("control socket"))?;
        let missing =
            |error: std::io::Error| SandboxError::JailMissing { path: program.display().to_string(), reason: error.to_string() };
        let child = {
            // The command holds the program's end; it must be closed here for the program's death to be noticed.
            let mut command = Command::from(jail::command(program, theirs));
            command.spawn().map_err(missing)?
        };
        Self::new(ours, Guard::Child(child))
    }

    /// A supervisor that a helper made.
    pub(crate) fn connected(socket: std::os::unix::net::UnixStream) -> Result<Self, SandboxError> {
        Self::new(socket, Guard::Helpers { said_last: false })
    }

    fn new(socket: std::os::unix::net::UnixStream, guard: Guard) -> Result<Self, SandboxError> {
        socket.set_nonblocking(true).map_err(SandboxError::io("control socket"))?;
        let socket = UnixStream::from_std(socket).map_err(SandboxError::io("control socket"))?;
        Ok(Self { socket, inbox: Inbox::default(), guard, upper: None, counters: Vec::new() })
    }

    /// Whether it has neither ended nor said anything, which before a plan could only be bad news.
    pub(crate) fn is_waiting(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&now)) == Ok(0)
    }

    /// Its process number, until it was waited for.
    #[cfg(test)]
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.guard {
            Guard::Child(child) => child.id(),
            Guard::Helpers { .. } => None,
        }
    }

    /// Hands it the plan, or a helper's the order, with the agent's streams.
    pub(crate) async fn begin(&self, asked: &impl Serialize, stdio: Vec<OwnedFd>) -> Result<(), SandboxError> {
        let mut asked = Outbox::new(asked, stdio)?;
        while !ready_to(&self.socket, Interest::WRITABLE, || asked.flush(&self.socket)).await? {}
        Ok(())
    }

    /// Waits until the agent's program runs.
    pub(crate) async fn ready(&mut self) -> Result<(Ready, Listeners), SandboxError> {
        let reply = tokio::time::timeout(Duration::from_secs(READY_SECS_MAX), self.reply()).await;
        match reply.map_err(|_| SandboxError::Slow(READY_SECS_MAX))?? {
            Reply::Ready(ready) => {
                let fds = jail::Listeners::from_ready(&ready, self.inbox.take_fds()).ok_or(ControlError::Closed)?;
                let (jail::Listeners { http, tls, dns_udp, dns_tcp, extra }, upper, counters) = fds;
                (self.upper, self.counters) = (upper, counters);
                Ok((ready, Listeners { http, tls, dns_udp, dns_tcp, extra }))
            }
            Reply::Failed(failure) => Err(failure.into()),
            Reply::Exited(end) => Err(SandboxError::Ended(describe(&end))),
            Reply::Usage(_) | Reply::Checked(_) => Err(ControlError::Closed.into()),
        }
    }

    /// What an overlay's agent changed; there once the agent runs.
    pub(crate) fn take_upper(&mut self) -> Option<OwnedFd> {
        self.upper.take()
    }

    /// The counters of an overlay's agent's network; there once the agent runs.
    pub(crate) fn take_counters(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.counters)
    }

    /// Waits for the program's own end. Cancel-safe.
    pub(crate) async fn exited(&mut self) -> Result<End, SandboxError> {
        match self.reply().await? {
            Reply::Exited(end) => Ok(end),
            Reply::Failed(failure) => Err(failure.into()),
            Reply::Ready(_) | Reply::Usage(_) | Reply::Checked(_) => Err(ControlError::Closed.into()),
        }
    }

    /// The next reply. Cancel-safe: what was received stays in the inbox.
    async fn reply(&mut self) -> Result<Reply, ControlError> {
        loop {
            if let Some(reply) = self.inbox.take()? {
                if let (Guard::Helpers { said_last }, Reply::Exited(_) | Reply::Failed(_)) = (&mut self.guard, &reply) {
                    *said_last = true;
                }
                return Ok(reply);
            }
            let Self { socket, inbox, .. } = self;
            if ready_to(socket, Interest::READABLE, || inbox.fill(&*socket)).await? == Filled::Closed {
                return Err(ControlError::Closed);
            }
        }
    }

    /// Waits for the agent's end or the order to kill, then until nothing is left. Meanwhile it passes on what is asked of the
    /// sandbox's usage.
    pub(crate) async fn watch(
        mut self,
        jailer: Jailer,
        stderr: pipe::Receiver,
        exit: watch::Sender<Option<Exit>>,
        asked: Questions,
        kill: CancellationToken,
        gone: CancellationToken,
    ) {
        let _gone = gone.drop_guard();
        let tail = tokio::spawn(tail(stderr));
        let (reason, usage) = tokio::select! {
            ended = self.attend(asked) => ended,
            () = kill.cancelled() => ("it was stopped".to_owned(), Usage::default()),
        };
        self.end(&jailer).await;
        let stderr_tail = tail.await.unwrap_or_default();
        let _ = exit.send(Some(Exit { reason, stderr_tail, usage }));
    }

    /// Answers until the agent has ended: why, and what it had used.
    async fn attend(&mut self, asked: Questions) -> (String, Usage) {
        let Questions { usage: mut asked, mut checks } = asked;
        // Answers come in the order of the questions.
        let mut waiting: VecDeque<oneshot::Sender<Usage>> = VecDeque::new();
        loop {
            tokio::select! {
                reply = self.reply() => match reply {
                    Ok(Reply::Usage(usage)) => {
                        // Whoever does not wait any more needs no answer.
                        let _ = waiting.pop_front().map(|asker| asker.send(usage));
                    }
                    Ok(Reply::Checked(checked)) => checks.answer(checked),
                    Ok(Reply::Exited(end)) => return (describe(&end), end.usage),
                    Ok(Reply::Failed(failure)) => return (failure.to_string(), Usage::default()),
                    Ok(Reply::Ready(_)) | Err(_) => return ("its supervisor is gone".to_owned(), Usage::default()),
                },
                Some(asker) = asked.recv() => {
                    // One that is gone says so in its last reply, or by closing.
                    if self.request(Request::Usage).await.is_ok() {
                        waiting.push_back(asker);
                    }
                }
                // The same here: then nothing is answered.
                Some(check) = checks.next() => drop(self.request(Request::Check(check)).await),
            }
        }
    }

    async fn request(&self, request: Request) -> Result<(), ControlError> {
        let mut request = Outbox::new(&request, Vec::new())?;
        while !ready_to(&self.socket, Interest::WRITABLE, || request.flush(&self.socket)).await? {}
        Ok(())
    }
}

impl Control {
    /// Ends the sandbox, prepared or running, and waits until nothing of it is left.
    pub(crate) async fn end(mut self, jailer: &Jailer) {
        // Closing the socket, or our half of it, is the order to end; the supervisor bounds the time it takes.
        if let Guard::Helpers { .. } = self.guard {
            let _gone = rustix::net::shutdown(&self.socket, Shutdown::Write);
            while self.reply().await.is_ok() {}
        }
        let Self { socket, guard, .. } = self;
        drop(socket);
        // Killed itself, it could not clean up after its sandbox.
        let killed = match guard {
            Guard::Helpers { said_last } => !said_last,
            Guard::Child(mut child) => match child.wait().await {
                Ok(status) => status.signal().is_some(),
                Err(error) => {
                    tracing::error!(%error, "a sandbox's supervisor could not be waited for");
                    false
                }
            },
        };
        if killed {
            jailer.sweep().await;
        }
    }
}

/// Runs a step of the control protocol as soon as the socket is ready for it.
async fn ready_to<T>(
    socket: &UnixStream,
    interest: Interest,
    mut step: impl FnMut() -> Result<T, ControlError>,
) -> Result<T, ControlError> {
    let stepped = socket.async_io(interest, || match step() {
        Err(ControlError::Io(error)) => Err(error),
        done => Ok(done),
    });
    stepped.await?
}

/// Reads to the end and keeps the last of it.
pub(crate) async fn tail(mut stderr: pipe::Receiver) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count) = stderr.read(&mut chunk).await {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let surplus = kept.len().saturating_sub(STDERR_BYTES_KEPT);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn describe(end: &End) -> String {
    match end {
        End { oom_killed: true, .. } => "it used more memory than allowed".to_owned(),
        End { code: Some(code), .. } => format!("exit code {code}"),
        End { signal: Some(signal), .. } => format!("signal {signal}"),
        End { .. } => "no reason given".to_owned(),
    }
}
