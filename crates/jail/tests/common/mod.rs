//! Starting real sandboxes: as root where the tests run as root, and always as a user without any rights.

pub mod ordered;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jail::{
    AgentStdio, Calls, ControlError, End, Failure, Isolation, Jail, Limits, Listeners, Mount, Plan, Prepared, Ready, Reply,
    Request, Usage,
};
use serde_json::Value;

pub const TIMEOUT: Duration = Duration::from_secs(20);
const NOBODY: u32 = 65534;

/// Who runs the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    Root,
    /// An ordinary user: nobody when the tests run as root, otherwise whoever runs them.
    User,
    /// The same in a further group. Only where the tests run as root.
    UserInGroup,
}

pub fn tests_run_as_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Everyone whom these tests can be.
pub fn everyone() -> &'static [As] {
    if tests_run_as_root() { &[As::Root, As::User] } else { &[As::User] }
}

/// A program that is being copied can't be executed while any process holds the copy open for writing, and a process
/// forked by another test's thread does for a moment. So copies exclude forks.
static FORKS: RwLock<()> = RwLock::new(());

/// A number that no other sandbox of these tests has.
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A folder that everyone can read, with the program and the probe; gone when dropped.
pub struct Stage {
    pub folder: PathBuf,
}

impl Stage {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("hexward-jail-{}-{}", std::process::id(), next_number()));
        fs::create_dir(&folder).expect("a new folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("readable");
        let stage = Self { folder: fs::canonicalize(folder).expect("a real path") };
        let built = Path::new(env!("CARGO_BIN_EXE_hexward-jail"));
        let probe = built.parent().expect("a build folder").join("examples/probe");
        assert!(probe.exists(), "build the probe first: cargo build -p jail --example probe");
        let _no_forks = FORKS.write();
        for (from, name) in [(built, "hexward-jail"), (&probe, "probe")] {
            fs::copy(from, stage.folder.join(name)).expect("copied");
            fs::set_permissions(stage.folder.join(name), fs::Permissions::from_mode(0o755)).expect("executable");
        }
        stage
    }

    pub fn probe(&self) -> PathBuf {
        self.folder.join("probe")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).expect("the stage is removed");
    }
}

/// A plan that runs the probe in a full sandbox with `/space` to write to.
pub fn plan(stage: &Stage, words: &[&str]) -> Plan {
    let mut mounts = vec![Mount::BindRo { source: stage.probe(), target: "/probe".into() }];
    mounts.extend(loader());
    mounts.push(Mount::Tmpfs { target: "/space".into(), size_bytes: 8 << 20, inodes: 64, mode: 0o700 });
    let number = next_number();
    Plan {
        id: format!("test-{}-{number}-end", std::process::id()),
        isolation: Isolation::Full,
        calls: Calls::Agent,
        argv: std::iter::once("/probe").chain(words.iter().copied()).map(str::to_owned).collect(),
        env: BTreeMap::from([("ONLY".to_owned(), "this=1".to_owned())]),
        cwd: "/space".into(),
        hostname: "sandbox".into(),
        mounts,
        uid: 1000,
        gid: 1000,
        host_uid: Some(400_000 + number),
        limits: Limits { memory_bytes: 256 << 20, ..Limits::default() },
        extra_ports: Vec::new(),
    }
}

/// What a dynamically linked program needs of the host.
fn loader() -> Vec<Mount> {
    let mut mounts = vec![Mount::BindRo { source: "/usr".into(), target: "/usr".into() }];
    for path in ["/bin", "/lib", "/lib64"].map(PathBuf::from) {
        match fs::read_link(&path) {
            Ok(points_to) => mounts.push(Mount::Symlink { target: path, points_to }),
            Err(_) if path.exists() => mounts.push(Mount::BindRo { source: path.clone(), target: path }),
            Err(_) => {}
        }
    }
    mounts
}

/// A sandbox under way, with the gateway's ends of everything.
pub struct Sandbox {
    pub jail: Jail,
    pub ready: Ready,
    pub listeners: Listeners,
    pub stdout: std::io::PipeReader,
    pub stderr: std::io::PipeReader,
    pub stdin: std::io::PipeWriter,
}

/// Starts a plan, expecting that it runs.
pub fn start(stage: &Stage, who: As, plan: &Plan) -> Sandbox {
    try_start(stage, who, plan).unwrap_or_else(|failure| panic!("{who:?}: {failure:?}"))
}

/// Starts a plan; a failure is the jail's answer.
pub fn try_start(stage: &Stage, who: As, plan: &Plan) -> Result<Sandbox, Failure> {
    launch(stage, who, plan, &[])
}

/// Lets a program be run by the ordinary user whom [`As::User`] means.
pub fn as_user(command: &mut Command, who: As) {
    if who == As::User && tests_run_as_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// A sandbox that has no plan yet.
pub fn prepare(stage: &Stage, who: As) -> Prepared {
    let (control, theirs) = jail::control_pair().expect("a socket pair");
    let mut command = jail::command(&stage.folder.join("hexward-jail"), theirs);
    as_user(&mut command, who);
    let _no_copies = FORKS.read();
    Prepared::start(command, control).expect("the program starts")
}

/// Starts a plan by a program that ends in executing its last argument, the jail; `launcher` is the words before that.
pub fn launch(stage: &Stage, who: As, plan: &Plan, launcher: &[&str]) -> Result<Sandbox, Failure> {
    let (agent_in, stdin) = std::io::pipe().expect("a pipe");
    let (stdout, agent_out) = std::io::pipe().expect("a pipe");
    let (stderr, agent_err) = std::io::pipe().expect("a pipe");
    let stdio = AgentStdio { stdin: agent_in.into(), stdout: agent_out.into(), stderr: agent_err.into() };
    let (control, theirs) = jail::control_pair().expect("a socket pair");
    let program = stage.folder.join("hexward-jail");
    let group_change = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--groups=12345"];
    let before: &[&str] = if who == As::UserInGroup { &group_change } else { launcher };
    let mut words = before.iter().map(Path::new).chain([program.as_path()]);
    let mut command = jail::command(words.next().expect("at least the program"), theirs);
    command.args(words);
    as_user(&mut command, who);
    let started = {
        let _no_copies = FORKS.read();
        Jail::start(command, control, plan, stdio)
    };
    let mut jail = started.expect("the program starts");
    match jail.wait_ready(TIMEOUT) {
        Ok((ready, listeners)) => Ok(Sandbox { jail, ready, listeners, stdout, stderr, stdin }),
        Err(ControlError::Failed(failure)) => Err(failure),
        Err(error) => panic!("{who:?}: {error:?}"),
    }
}

/// The program with nothing but its control socket.
pub fn spawn_alone(stage: &Stage, control: OwnedFd) -> Child {
    let _no_copies = FORKS.read();
    jail::command(&stage.folder.join("hexward-jail"), control).spawn().expect("the program starts")
}

/// Runs a program of the stage to its end.
pub fn run(mut command: Command) -> Output {
    let _no_copies = FORKS.read();
    command.output().expect("the program runs")
}

impl Sandbox {
    /// Waits for the agent's end.
    pub fn end(&mut self) -> End {
        match self.jail.wait_reply(TIMEOUT).expect("the jail says how it ended") {
            Reply::Exited(end) => end,
            other @ (Reply::Ready(_) | Reply::Failed(_) | Reply::Usage(_) | Reply::Checked(_)) => {
                panic!("{other:?} in place of the end")
            }
        }
    }

    /// What it has used up to now.
    pub fn usage(&mut self) -> Usage {
        self.jail.request(Request::Usage).expect("the jail can be asked");
        match self.jail.wait_reply(TIMEOUT).expect("the jail answers") {
            Reply::Usage(usage) => usage,
            other @ (Reply::Ready(_) | Reply::Failed(_) | Reply::Exited(_) | Reply::Checked(_)) => {
                panic!("{other:?} in place of the usage")
            }
        }
    }

    /// Everything the probe said, after its end.
    pub fn answer(mut self) -> Value {
        let end = self.end();
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).expect("text");
        let mut complaints = String::new();
        self.stderr.read_to_string(&mut complaints).expect("text");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}, {end:?}, {complaints}"))
    }

    /// What has to be gone once this sandbox is.
    pub fn traces(&self, id: &str) -> Traces {
        Traces { id: id.to_owned(), init_pid: self.ready.init_pid, cgroups: self.ready.cgroups.clone() }
    }
}

/// What a sandbox consists of, seen from the host.
pub struct Traces {
    id: String,
    init_pid: u32,
    cgroups: Vec<PathBuf>,
}

impl Traces {
    /// What of it is still there.
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> =
            self.cgroups.iter().filter(|folder| folder.exists()).map(|folder| folder.display().to_string()).collect();
        left.extend(self.processes());
        left
    }

    pub fn cgroups(&self) -> &[PathBuf] {
        &self.cgroups
    }

    /// Processes that are still there: the first one, and those with the sandbox's id among their arguments. A dead one
    /// that its new parent has not yet buried has no arguments any more and does not count.
    pub fn processes(&self) -> Vec<String> {
        let entries = fs::read_dir("/proc").expect("the host's /proc").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let alive = |pid: &String| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let named = arguments.windows(self.id.len()).any(|window| window == self.id.as_bytes());
            named || (*pid == self.init_pid.to_string() && !arguments.is_empty())
        };
        names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter(alive).collect()
    }
}

/// Control groups that this host's jails made and whose supervisor, which their names say, is gone.
pub fn orphaned_groups() -> Vec<PathBuf> {
    groups().into_iter().filter(|(pid, _)| !Path::new("/proc").join(pid).exists()).map(|(_, folder)| folder).collect()
}

/// Control groups of one supervisor.
pub fn groups_of(supervisor: u32) -> Vec<PathBuf> {
    groups().into_iter().filter(|(pid, _)| *pid == supervisor.to_string()).map(|(_, folder)| folder).collect()
}

/// Every group that a jail made below or beside the group of this process, with its supervisor's number.
fn groups() -> Vec<(String, PathBuf)> {
    let own = fs::read_to_string("/proc/self/cgroup").expect("the kernel's list of groups");
    let paths = own.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(Path::new);
    // Version 2 has them beside a group that holds processes.
    let paths: BTreeSet<&Path> = paths.flat_map(|path| [Some(path), path.parent()]).flatten().collect();
    let mut found = Vec::new();
    for controller in ["memory", "pids", "freezer", "cpu", "cpu,cpuacct", "unified", ""] {
        for path in &paths {
            let parent =
                Path::new("/sys/fs/cgroup").join(controller).join(path.strip_prefix("/").unwrap_or(path)).join("hexward");
            for folder in fs::read_dir(&parent).into_iter().flatten().flatten().map(|entry| entry.path()) {
                let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
                if let Some((pid, _)) = name.strip_prefix("jail-").and_then(|rest| rest.split_once('-')) {
                    found.push((pid.to_owned(), folder));
                }
            }
        }
    }
    found
}

/// Waits until something holds, for things that the kernel finishes in its own time.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}
