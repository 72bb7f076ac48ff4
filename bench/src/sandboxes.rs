//! How long a sandbox takes: from the request until its program's first byte, and from the order to end until nothing is
//! left. Beside it bubblewrap, with the same file tree and the same program.
//!
//! As in the gateway's driver, two sandboxes are prepared ahead and replaced after each start; the time without that is
//! told under a key of its own.

use crate::places::Places;
use crate::report::Report;
use crate::srt::Srt;
use crate::statistics::{millis, percentile};
use anyhow::{Context, Result, bail};
use jail::{AgentStdio, Calls, Isolation, Limits, Mount, Plan, Prepared};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const BWRAP: &str = "/usr/bin/bwrap";

const ROUNDS: usize = 200;
const WARM_UP: usize = 10;
/// One start of `srt`, which takes as long as a hundred of ours, in so many rounds.
const SRT_EVERY: usize = 6;
/// As many as the gateway's driver keeps.
const PREPARED: usize = 2;
const WAIT: Duration = Duration::from_secs(10);
const ALL_WAIT: Duration = Duration::from_secs(180);
/// The kernel takes namespaces apart after their last process is gone; that must not fall into the next one's time.
const PAUSE: Duration = Duration::from_millis(15);
/// Where the program stands inside.
const INSIDE: &str = "/probe";

/// One sandbox's life.
struct Life {
    create: Duration,
    teardown: Duration,
}

#[derive(Default)]
struct Lives {
    create: Vec<f64>,
    teardown: Vec<f64>,
}

impl Lives {
    fn push_if(&mut self, counts: bool, life: &Life) {
        if !counts {
            return;
        }
        self.create.push(millis(life.create));
        self.teardown.push(millis(life.teardown));
    }
}

/// Sandboxes that wait for their plan.
struct Stock {
    program: PathBuf,
    prepared: VecDeque<Prepared>,
}

impl Stock {
    fn new(places: &Places) -> Result<Self> {
        let mut stock = Self { program: places.jail.clone(), prepared: VecDeque::new() };
        stock.refill()?;
        Ok(stock)
    }

    fn take(&mut self) -> Result<Prepared> {
        self.prepared.pop_front().context("no prepared sandbox is left")
    }

    fn refill(&mut self) -> Result<()> {
        while self.prepared.len() < PREPARED {
            self.prepared.push_back(Prepared::spawn(&self.program)?);
        }
        Ok(())
    }
}

#[derive(Default)]
struct All {
    prepared: Lives,
    cold: Lives,
    bwrap: Lives,
    /// Starts only: how it ends is its own affair.
    srt: Vec<f64>,
}

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    let probe = first_byte(places)?;
    let bwrap = Path::new(BWRAP).exists();
    let srt = Srt::find(places);
    let mut stock = Stock::new(places)?;
    let mut all = All::default();
    let begun = Instant::now();
    for round in 0..WARM_UP + ROUNDS {
        if begun.elapsed() > ALL_WAIT {
            break;
        }
        let counts = round >= WARM_UP;
        // Who comes after whom finds other caches, so they take turns.
        for turn in 0..3 {
            std::thread::sleep(PAUSE);
            match (round + turn) % 3 {
                0 => {
                    let life = jailed(places, &probe, round, || stock.take())?;
                    stock.refill()?;
                    all.prepared.push_if(counts, &life);
                }
                1 => all.cold.push_if(counts, &jailed(places, &probe, round, || Ok(Prepared::spawn(&places.jail)?))?),
                _ if bwrap => all.bwrap.push_if(counts, &wrapped(&probe)?),
                _ => {}
            }
        }
        if let Ok(srt) = &srt
            && round % SRT_EVERY == 0
        {
            let create = srt.first_byte(&probe)?;
            if counts {
                all.srt.push(millis(create));
            }
        }
    }
    if let Err(error) = srt {
        report.skip("sandbox against sandbox-runtime", error.to_string());
    }
    tell(&all, report)
}

fn tell(All { prepared: ours, cold, bwrap: theirs, srt }: &All, report: &mut Report) -> Result<()> {
    let note = "request until a static program's first byte: namespaces, file tree, limits, four listeners; prepared ahead, as in the gateway";
    let create = report.add_percentile("sandbox.create", &ours.create, 50, note)?;
    report.add_percentile("sandbox.create", &ours.create, 99, "the same")?;
    let note = "the same without a prepared one: the program that confines is started for it";
    report.add_percentile("sandbox.create_cold", &cold.create, 50, note)?;
    let note = "order to end a running program until every process and control group is gone";
    let teardown = report.add_percentile("sandbox.teardown", &ours.teardown, 50, note)?;
    report.add_percentile("sandbox.teardown", &ours.teardown, 99, "the same")?;
    tell_srt(create, srt, report)?;
    let (Some(peer_create), Some(peer_teardown)) = (percentile(&theirs.create, 50), percentile(&theirs.teardown, 50)) else {
        report.skip("sandbox against bubblewrap", format!("{BWRAP} is missing: apt-get install bubblewrap"));
        return Ok(());
    };
    report.add("sandbox.create.p50_vs_bwrap", create / peer_create, "ratio to bubblewrap, same tree and program; less is better");
    report.add("sandbox.bwrap_create.p50_ms", peer_create, "bubblewrap: all namespaces, no limits, no listeners");
    report.add(
        "sandbox.teardown.p50_vs_bwrap",
        teardown / peer_teardown,
        "ratio to bubblewrap, ended by killing its first process",
    );
    Ok(())
}

fn tell_srt(ours: f64, theirs: &[f64], report: &mut Report) -> Result<()> {
    if theirs.is_empty() {
        return Ok(());
    }
    let note = "sandbox-runtime: its Node.js, proxies and bubblewrap, until the same program's first byte";
    let peer = report.add_percentile("sandbox.srt_create", theirs, 50, note)?;
    report.add_percentile("sandbox.srt_create", theirs, 99, "the same")?;
    report.add(
        "sandbox.create.p50_vs_srt",
        ours / peer,
        "ratio to sandbox-runtime, same program; less is better, 0.02 is 50 times faster",
    );
    Ok(())
}

/// A static program, so that what is measured is the sandbox and not a dynamic linker.
pub fn first_byte(places: &Places) -> Result<PathBuf> {
    built(places, "first_byte", include_str!("first_byte.c"))
}

/// A static program of this source.
pub fn built(places: &Places, name: &str, text: &str) -> Result<PathBuf> {
    let (source, program) = (places.work.join(format!("{name}.c")), places.work.join(name));
    std::fs::write(&source, text)?;
    let status = Command::new("cc").args(["-static", "-O1", "-o"]).arg(&program).arg(&source).status();
    if !status.context("cc is missing: apt-get install gcc libc6-dev")?.success() {
        bail!("cc could not build {}", source.display());
    }
    // A plan names its sources without symbolic links.
    Ok(program.canonicalize()?)
}

fn jailed(places: &Places, probe: &Path, round: usize, take: impl FnOnce() -> Result<Prepared>) -> Result<Life> {
    let plan = plan(probe, round);
    let (mut reader, writer) = std::io::pipe()?;
    let null = File::open("/dev/null")?;
    let errors = File::options().append(true).create(true).open(places.work.join("sandboxes.log"))?;
    let stdio = AgentStdio { stdin: null.into(), stdout: writer.into(), stderr: errors.into() };
    let begun = Instant::now();
    let mut jail = take()?.begin(&plan, stdio)?;
    if !wait_byte(&mut reader)? {
        let why = jail.wait_ready(WAIT).err().map_or_else(|| "it ended at once".to_owned(), |error| error.to_string());
        bail!("the sandbox did not start: {why}");
    }
    let create = begun.elapsed();
    let ending = Instant::now();
    drop(jail);
    wait_end(&mut reader)?;
    Ok(Life { create, teardown: ending.elapsed() })
}

fn wrapped(probe: &Path) -> Result<Life> {
    let (mut reader, writer) = std::io::pipe()?;
    let mut command = bwrap_command(probe);
    command.stdin(Stdio::null()).stdout(writer).env_clear();
    let begun = Instant::now();
    let mut child = command.spawn()?;
    // The command still holds the writing end, without whose closing no end would be seen here.
    drop(command);
    let said = wait_byte(&mut reader);
    let create = begun.elapsed();
    let inner = child_of(child.id());
    let ending = Instant::now();
    // Killing only bwrap itself leaves the sandbox alive now and then, for all its --die-with-parent; its first process
    // takes everything with it.
    match inner {
        Some(inner) => kill_process(inner, Signal::KILL)?,
        None => child.kill()?,
    }
    child.wait()?;
    wait_end(&mut reader)?;
    if !said? {
        bail!("bwrap did not start the program; it needs user namespaces or root");
    }
    Ok(Life { create, teardown: ending.elapsed() })
}

/// A process's first child.
fn child_of(parent: u32) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    Pid::from_raw(children.split_ascii_whitespace().next()?.parse().ok()?)
}

/// The folders of `/usr` that also stand in the root.
fn linked() -> impl Iterator<Item = &'static str> {
    ["/bin", "/lib", "/lib64"].into_iter().filter(|path| Path::new(path).exists())
}

fn plan(probe: &Path, round: usize) -> Plan {
    let bind = |source: &Path, target: &str| Mount::BindRo { source: source.into(), target: target.into() };
    let mut mounts = vec![bind(Path::new("/usr"), "/usr"), bind(probe, INSIDE)];
    mounts.extend(linked().map(|path| Mount::Symlink { target: path.into(), points_to: format!("usr{path}").into() }));
    mounts.push(Mount::Tmpfs { target: "/work".into(), size_bytes: 64 << 20, inodes: 4096, mode: 0o700 });
    Plan {
        id: format!("bench-{}-{round}", std::process::id()),
        isolation: Isolation::Full,
        calls: Calls::Agent,
        argv: vec![INSIDE.into()],
        env: BTreeMap::new(),
        cwd: "/work".into(),
        hostname: "sandbox".into(),
        mounts,
        uid: 1000,
        gid: 1000,
        host_uid: Some(300_000),
        limits: Limits::default(),
        extra_ports: Vec::new(),
    }
}

fn bwrap_command(probe: &Path) -> Command {
    let mut command = Command::new(BWRAP);
    command.args(["--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]);
    command.args(["--uid", "1000", "--gid", "1000", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr", "--ro-bind"]);
    command.arg(probe).arg(INSIDE);
    for path in linked() {
        command.args(["--symlink", &format!("usr{path}"), path]);
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/work", "--chdir", "/work", INSIDE]);
    command
}

/// Whether a byte came; `false` if everybody who could write one is gone.
pub fn wait_byte(reader: &mut PipeReader) -> Result<bool> {
    let limit = Timespec::try_from(WAIT)?;
    if poll(&mut [PollFd::new(&*reader, PollFlags::IN)], Some(&limit))? == 0 {
        bail!("neither a byte nor an end within {} s", WAIT.as_secs());
    }
    Ok(reader.read(&mut [0])? == 1)
}

/// Waits until nobody is left who could write.
pub fn wait_end(reader: &mut PipeReader) -> Result<()> {
    while wait_byte(reader)? {}
    Ok(())
}
