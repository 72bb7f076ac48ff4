//! Programs under test: started, waited for with a bound, looked at from outside, and ended.

use crate::memory::descendants;
use crate::statistics::number;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const NANOS_PER_SECOND: f64 = 1e9;
const END_WAIT: Duration = Duration::from_secs(15);
const END_STEP: Duration = Duration::from_millis(5);

/// A running program. Dropping it ends it in order, or by force if that takes too long.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program with an environment of its own; what it says on standard error goes to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let log = File::options().create(true).append(true).open(log).with_context(|| format!("writing {}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
        Ok(Self { child: child.with_context(|| format!("starting {program}"))? })
    }

    /// Waits for the line that begins with `start`, and returns the rest of it.
    pub fn wait_line(&mut self, start: &str, wait: Duration) -> Result<String> {
        let output = self.child.stdout.take().context("the program's output was already read")?;
        let (sender, receiver) = mpsc::channel();
        let wanted = start.to_owned();
        std::thread::spawn(move || find_line(output, &wanted, &sender));
        match receiver.recv_timeout(wait) {
            Ok(line) => Ok(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the program ended without saying {start:?}; its log says why"),
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("the program did not say {start:?} within {} s", wait.as_secs()),
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        resident_bytes(&status).context("/proc tells no VmRSS")
    }

    /// Processor time its living threads and those of its children used so far, in seconds. `/proc/PID/stat` counts in hundredths of a second,
    /// which is too coarse here.
    pub fn cpu_seconds(&self) -> Result<f64> {
        tree_cpu_seconds(self.child.id())
    }

    fn end(&mut self) -> std::io::Result<()> {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _already_gone = kill_process(pid, Signal::TERM);
        }
        let begun = Instant::now();
        while begun.elapsed() < END_WAIT {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(END_STEP);
        }
        self.child.kill()?;
        self.child.wait().map(|_status| ())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("bench: a program could not be ended: {error}");
        }
    }
}

/// Processor time that the living threads of a process and of its children used so far, in seconds.
pub fn tree_cpu_seconds(pid: u32) -> Result<f64> {
    let mut nanos = 0;
    for pid in descendants(pid)?.into_iter().chain([pid]) {
        // A child or a thread may end between the two looks.
        let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads {
            let Ok(stat) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            nanos += running_nanos(&stat).context("/proc tells no processor time")?;
        }
    }
    Ok(number(nanos) / NANOS_PER_SECOND)
}

/// Reads to the end, so that the program never waits for a reader.
fn find_line(output: ChildStdout, wanted: &str, sender: &mpsc::Sender<String>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some(rest) = line.strip_prefix(wanted) {
            let _nobody_waits = sender.send(rest.to_owned());
        }
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kib.trim().parse::<u64>().ok()? * 1024)
}

/// Time on a processor, time waiting for one, turns.
fn running_nanos(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

/// A loopback port that was free a moment ago.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_kernels_words() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t   2048 kB\nThreads:\t3\n"), Some(2 << 20));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn processor_time_is_what_was_run_not_what_was_waited() {
        assert_eq!(running_nanos("2000 9000 7\n"), Some(2_000));
        assert_eq!(running_nanos(""), None);
    }

    #[test]
    fn a_busy_program_uses_processor_time() {
        let log = std::env::temp_dir().join(format!("bench-busy-{}", std::process::id()));
        let busy = Process::start(Command::new("sh").args(["-c", "while :; do :; done"]), &log).expect("sh");
        let (begun, mut used) = (Instant::now(), 0.0);
        while used < 0.01 && begun.elapsed() < Duration::from_secs(20) {
            used = busy.cpu_seconds().expect("a number");
        }
        assert!(used >= 0.01, "{used}");
        std::fs::remove_file(log).expect("a log");
    }

    #[test]
    fn a_line_is_waited_for_and_the_program_is_ended() {
        let log = std::env::temp_dir().join(format!("bench-log-{}", std::process::id()));
        let mut sleeper =
            Process::start(Command::new("sh").args(["-c", "echo no; echo ready: 5; exec sleep 60"]), &log).expect("sh");
        let pid = sleeper.child.id();
        assert_eq!(sleeper.wait_line("ready: ", Duration::from_secs(10)).expect("a line"), "5");
        drop(sleeper);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        let mut silent = Process::start(Command::new("true").arg("x"), &log).expect("true");
        let error = silent.wait_line("ready: ", Duration::from_secs(10)).expect_err("nothing was said");
        assert!(error.to_string().contains("ended without saying"), "{error}");
        std::fs::remove_file(log).expect("a log");
    }
}
