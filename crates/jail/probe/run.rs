//! Runs each probe in a process of its own, so that what it breaks, keeps open or dies of is its own affair.

use crate::kit::{Facts, Probe, Seen, seen};
use serde_json::{Value, json};
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A probe that takes longer is ended; none is meant to.
const WAIT: Duration = Duration::from_secs(30);

pub fn apart(probe: &Probe, facts: &Facts) -> Value {
    let outcome = start(probe, facts).unwrap_or_else(|error| seen(false, format!("no process for the probe: {error}")));
    json!({"id": probe.id, "observed": outcome.observed, "pass": outcome.pass})
}

fn start(probe: &Probe, facts: &Facts) -> std::io::Result<Seen> {
    let (reader, mut writer) = std::io::pipe()?;
    // SAFETY: this program has one thread here, so the copy may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            // SAFETY: numbers only. A session of its own, so that what it starts can be ended with it.
            unsafe { libc::setsid() };
            let outcome = (probe.run)(facts);
            let line = json!({"observed": outcome.observed, "pass": outcome.pass});
            let written = writeln!(writer, "{line}");
            // SAFETY: ends this copy without running what belongs to the original.
            unsafe { libc::_exit(i32::from(written.is_err())) }
        }
        child => {
            drop(writer);
            let said = first_line(reader);
            let died_of = end(child, said.is_some());
            Ok(said.unwrap_or_else(|| silent(died_of)))
        }
    }
}

/// What a process that said nothing died of. A system call that is answered with death had no effect.
fn silent(died_of: i32) -> Seen {
    match died_of {
        libc::SIGSYS => seen(true, "killed by SIGSYS"),
        0 => seen(false, "it ended without a word"),
        libc::SIGALRM => seen(false, "it did not end in time"),
        signal => seen(false, format!("killed by signal {signal}")),
    }
}

fn first_line(mut reader: PipeReader) -> Option<Seen> {
    let until = Instant::now() + WAIT;
    let mut bytes = Vec::new();
    while !bytes.contains(&b'\n') {
        let left = i32::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(0);
        let mut poll = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry that outlives the call.
        if unsafe { libc::poll(&raw mut poll, 1, left) } <= 0 {
            return Some(seen(false, "it did not end in time"));
        }
        let mut buffer = [0; 4096];
        match reader.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend(buffer.iter().take(count)),
        }
    }
    let value: Value = serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next()?).ok()?;
    let observed = value.get("observed").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(seen(value.get("pass") == Some(&Value::Bool(true)), observed))
}

/// Ends the process with everything in its session, and says of which signal it had died by itself.
fn end(child: libc::pid_t, said: bool) -> i32 {
    let mut status = 0;
    // SAFETY: numbers, and one status that outlives the call.
    unsafe {
        if said {
            libc::kill(-child, libc::SIGKILL);
            libc::kill(child, libc::SIGKILL);
        }
        libc::waitpid(child, &raw mut status, 0);
        libc::kill(-child, libc::SIGKILL);
    }
    if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 }
}
