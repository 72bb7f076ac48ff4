//! The gateway as a process of its own.

use crate::checks::Database;
use crate::person::Person;
use crate::places;
use crate::processes::{Process, descendants};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{CORE, Store};

/// The end of a program is waited for at most this long.
const END_WAIT: Duration = Duration::from_secs(30);

/// Everybody comes from one address here.
const RATES: &str = "[rates]\ndanger_any_user_rate = true\naddress_per_minute = 1000000\naddress_per_hour = 1000000\naddress_per_day = 1000000\n\
                    messages_per_minute = 1000000\nkey_per_hour = 1000000000\ntool_calls_per_hour = 1000000\ncalls_per_minute = 1000000\n[rates.tiers.anonymous]\nuser_per_hour = 1000000\n\
                    together_per_minute = 1000000\n";

/// 256 random bits of the kernel's.
pub(crate) fn random_hex() -> String {
    let mut bytes = [0_u8; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How to start the program.
pub struct ProgramSetup {
    /// The folder it starts in and keeps its state in.
    pub folder: PathBuf,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// `hexward.toml`.
    pub config: String,
    /// What starts the program, if it does not start by itself.
    pub launcher: &'static [&'static str],
}

impl ProgramSetup {
    /// A gateway in `folder` that asks `upstream` for answers, on free ports, with secrets of its own. Others may pass the
    /// folder, because a gateway that root starts becomes somebody else.
    ///
    /// # Panics
    /// When the folder is not the caller's.
    #[must_use]
    pub fn new(folder: &Path, upstream: &str, api_key: &str) -> Self {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!(
            "[listen]\npeople = \"127.0.0.1:0\"\ncallers = \"127.0.0.1:0\"\n[model]\nupstream = \"{upstream}\"\n{RATES}[agent]\npath = \"{}\"\n",
            places::agent().display()
        );
        let environment = vec![
            ("ANTHROPIC_API_KEY".to_owned(), api_key.to_owned()),
            ("AUTH_SECRET".to_owned(), random_hex()),
            ("HEXWARD_LOG".to_owned(), "debug".to_owned()),
        ];
        Self { folder: folder.to_owned(), environment, config, launcher: &[] }
    }

    /// Has it get an error where it writes past [`Program::limit_files`], as where a disk is full, instead of the signal that would end it.
    #[must_use]
    pub fn outliving_file_limits(mut self) -> Self {
        self.launcher = &["/bin/sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
        self
    }

    /// Sets or replaces a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let config = self.folder.join("hexward.toml");
        std::fs::write(&config, &self.config).unwrap();
        let program = places::hexward();
        let mut line = self.launcher.iter().map(OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(line.next().unwrap());
        command.args(line).arg("serve").arg("--config").arg(config).arg("--state-dir").arg(self.folder.join("state"));
        command.current_dir(&self.folder).env_clear().envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Starts it where it must refuse to; returns what it said.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn refused(&self) -> Output {
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait(&mut child);
        child.wait_with_output().unwrap()
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(&self) -> Program {
        let log = self.folder.join("log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = self.command().stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.trim().trim_end_matches('/').parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the gateway did not start: {line:?} {}", std::fs::read_to_string(&log).unwrap_or_default());
        };
        Program { child, address, log, folder: self.folder.clone() }
    }
}

/// A running `hexward serve`. Killed when dropped.
pub struct Program {
    child: Child,
    /// Where people connect.
    pub address: SocketAddr,
    log: PathBuf,
    folder: PathBuf,
}

impl Program {
    /// Somebody with a session of their own.
    pub async fn person(&self) -> Person {
        Person::arrive(self.address, Arc::default()).await
    }

    /// Where remote callers connect, from its log.
    ///
    /// # Panics
    /// When they may not.
    #[must_use]
    pub fn callers(&self) -> SocketAddr {
        let told = self.log().lines().rfind(|line| line.contains("callers' listener ready")).map(str::to_owned);
        let address = told.as_deref().and_then(|line| line.split("address=").nth(1)?.split_whitespace().next());
        address.and_then(|address| address.parse().ok()).expect("callers have a listener")
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything below it: supervisors and sandboxes.
    #[must_use]
    pub fn descendants(&self) -> Vec<Process> {
        descendants(self.pid())
    }

    /// The names of the sandboxes it started, from its log.
    #[must_use]
    pub fn sandboxes(&self) -> Vec<String> {
        let named = |line: &str| line.split("sandbox=").nth(1)?.split_whitespace().next().map(str::to_owned);
        self.log().lines().filter(|line| line.contains("sandbox ready")).filter_map(named).collect()
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its database, opened beside it.
    pub async fn database(&self) -> Database {
        let url = format!("sqlite:{}", self.folder.join("state/hexward.db").display());
        Database(Store::open(&url, &[&CORE, &hexmap::SCHEMA]).await.unwrap())
    }

    /// Lets none of its files grow beyond so many bytes; none is without a limit.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        // A gateway that root started has become somebody else, whom the kernel lets do that where root may not everything.
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let id = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
        let mut command = Command::new("prlimit");
        command.uid(id("Uid:").unwrap()).gid(id("Gid:").unwrap());
        let done = command.arg(format!("--pid={}", self.pid())).arg(format!("--fsize={limit}:")).status().unwrap();
        assert!(done.success(), "the limit could not be set");
    }

    /// Sends a signal by name: `TERM`, `KILL`, `INT`.
    ///
    /// # Panics
    /// When it can't be sent.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success(), "the signal could not be sent");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > END_WAIT {
            let _ = child.kill();
            panic!("the gateway did not end within {END_WAIT:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
