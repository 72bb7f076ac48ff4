//! A PostgreSQL server on a free loopback port, with a random password and its own folder, gone when its owner is gone.
//!
//! A small shell process stands between the test and the server and waits on a pipe that the test process holds. However
//! that process ends, also by SIGKILL, the pipe closes, the server is stopped and the folder removed.

use crate::machine::{Owner, find_postgres, free_port, random_hex, unprivileged_owner};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const READY_WAIT: Duration = Duration::from_secs(60);
const READY_POLL: Duration = Duration::from_millis(10);
/// Another process may take the port between our look and the server's start.
const START_TRIES: u32 = 3;
const MISSING: &str = "PostgreSQL is missing, and the tests need it: install the Debian package `postgresql` (make setup-test)";

/// `$1` is the server's program, `$2` our folder, the rest the server's options. Any line on the pipe means "stop, but keep
/// the folder"; its end means "stop and remove". SIGQUIT makes the server end at once, as a crash would.
const KEEPER: &str = r#"
program=$1 folder=$2
shift 2
"$program" -D "$folder/data" "$@" >"$folder/log" 2>&1 &
server=$!
read -r keep
kill -QUIT "$server" 2>/dev/null
wait "$server"
[ -n "$keep" ] || rm -rf "$folder"
"#;

/// Tests ask for speed: nothing of this server's is meant to survive a power loss.
const OPTIONS: &[&str] = &[
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=32MB",
    "max_wal_size=256MB",
];

/// A running server. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    owner: Option<Owner>,
    password: String,
    port: u16,
    keeper: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Postgres {
    /// The server of this test process, started at the first call and stopped when the process ends.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start: a test that needs it must not pass without it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of the caller's own, to be stopped and started at will.
    ///
    /// # Panics
    /// As [`Postgres::shared`].
    #[must_use]
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The address of a new, empty database.
    ///
    /// # Panics
    /// When the server is stopped or refuses.
    #[must_use]
    pub fn fresh_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let port = self.port.to_string();
        let mut command = self.command("createdb");
        command.env("PGPASSWORD", &self.password).args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port, &name]);
        run(&mut command).unwrap_or_else(|reason| panic!("no database {name}: {reason}"));
        format!("postgres://postgres:{}@127.0.0.1:{port}/{name}", self.password)
    }

    /// Stops the server as a crash would: connections are cut, nothing is flushed in good order. Its data stay.
    pub fn stop(&self) {
        self.end(b"keep\n");
    }

    /// Starts it again after [`Postgres::stop`], on the same port with the same data.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&self) {
        self.launch().unwrap_or_else(|reason| panic!("{reason}"));
    }

    fn try_start() -> Result<Self, String> {
        let programs = find_postgres().ok_or(MISSING)?;
        let owner = unprivileged_owner().map_err(|error| format!("no user for PostgreSQL: {error}"))?;
        let password = random_hex().map_err(|error| format!("no randomness: {error}"))?;
        let folder = make_folder(&password, owner).map_err(|error| format!("no folder for PostgreSQL: {error}"))?;
        let (keeper, databases) = (Mutex::new(None), AtomicU32::new(0));
        let mut server = Self { programs, folder, owner, password, port: 0, keeper, databases };
        server.initialise()?;
        let mut last = String::new();
        for _ in 0..START_TRIES {
            server.port = free_port().map_err(|error| format!("no free port: {error}"))?;
            match server.launch() {
                Ok(()) => return Ok(server),
                Err(reason) => last = reason,
            }
            server.stop();
        }
        Err(last)
    }

    /// One of PostgreSQL's programs, as the unprivileged user, without anything from our environment, and in a process
    /// group of its own: a Ctrl-C meant for the test must not end the keeper before it has cleaned up.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env_clear().env("LC_ALL", "C.UTF-8").env("PATH", "/usr/bin:/bin");
        command.current_dir("/").stdin(Stdio::null()).process_group(0);
        if let Some(Owner { uid, gid }) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn initialise(&self) -> Result<(), String> {
        let mut command = self.command("initdb");
        command.arg("--pgdata").arg(self.folder.join("data"));
        command.arg("--pwfile").arg(self.folder.join("password"));
        command.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        run(&mut command)
    }

    fn launch(&self) -> Result<(), String> {
        // The shell is found through the joined path because an absolute one replaces what stands before it.
        let mut command = self.command("/bin/sh");
        command.args(["-c", KEEPER, "keeper"]).arg(self.programs.join("postgres")).arg(&self.folder);
        command.arg("-p").arg(self.port.to_string());
        for option in OPTIONS {
            command.args(["-c", option]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("starting PostgreSQL: {error}"))?;
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        self.wait_until_ready()
    }

    /// The server writes `ready` as the last line of its pid file once it accepts connections.
    fn wait_until_ready(&self) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < READY_WAIT {
            let state = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
            if state.lines().next_back().is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            // A client that comes while it recovers is refused by the same word.
            let fatal = |line: &str| line.contains("FATAL:") && !line.contains("the database system is");
            if log.lines().any(fatal) {
                return Err(format!("PostgreSQL did not start: {log}"));
            }
            std::thread::sleep(READY_POLL);
        }
        Err(format!("PostgreSQL was not ready within {READY_WAIT:?}"))
    }

    /// Tells the keeper to end the server, and waits until it has.
    fn end(&self, word: &[u8]) {
        let Some(mut keeper) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if let Some(mut pipe) = keeper.stdin.take() {
            // A keeper that is gone has nothing left to be told.
            let _ = pipe.write_all(word);
        }
        let _ = keeper.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end(b"");
        // Already gone, unless the server was stopped or never came up.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A folder that only the server's user can enter, with the password in a file for initdb.
fn make_folder(name: &str, owner: Option<Owner>) -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("hexward-postgres-{name}"));
    let password = folder.join("password");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    fs::write(&password, name)?;
    if let Some(Owner { uid, gid }) = owner {
        let give = |path: &Path| chown(path, Some(uid), Some(gid));
        give(&password).and_then(|()| give(&folder))?;
    }
    Ok(folder)
}

fn run(command: &mut Command) -> Result<(), String> {
    let done = command.output().map_err(|error| format!("starting {}: {error}", command.get_program().display()))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{} failed: {}", command.get_program().display(), String::from_utf8_lossy(&done.stderr)))
}
