//! The attacks from inside under another sandbox that somebody might pick instead, as strict as it can be made. There is no
//! gateway behind it, so what needs one fails there: this compares what confines, not what answers.

use super::report::{Report, Said};
use super::stage::{self, Stage};
use super::{DEADLY, NEIGHBOUR, srt};
use crate::arguments::{SandboxSuiteArgs, Under};
use anyhow::{Context, Result, bail};
use sandbox::Profile;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const PROGRAM: &str = "bwrap";
const INSIDE: &str = "/opt/agent/agent";
const USERS: &str = "root:x:0:0:root:/:/nonexistent\nagent:x:1000:1000:agent:/agent:/nonexistent\n";
const GROUP_WAIT: Duration = Duration::from_secs(180);
/// For a sandbox to end by itself when its input is closed.
const END_WAIT: Duration = Duration::from_secs(5);

/// The attacks under `args.under`, which is not our own sandbox.
pub(crate) async fn run(args: &SandboxSuiteArgs) -> Result<Report> {
    let probe = stage::probe_program(args.probe.as_ref())?;
    if args.under == Under::Srt {
        srt::check(&args.srt)?;
    }
    let stage = Stage::start(&probe, args).await?;
    let peers = Peers { args, stage: &stage, probe: &probe };
    peers.try_one().await?;
    let mut report = Report::of(&probe)?;
    for group in report.groups() {
        if args.group.as_ref().is_none_or(|wanted| *wanted == group) {
            one_group(&peers, &group, &mut report).await?;
        }
    }
    stage.end().await;
    Ok(report)
}

/// How sandboxes of the other kind are started.
struct Peers<'a> {
    args: &'a SandboxSuiteArgs,
    stage: &'a Stage,
    probe: &'a Path,
}

impl Peers<'_> {
    fn start(&self) -> Result<Peer> {
        match self.args.under {
            Under::Srt => Peer::start(srt::command(&self.args.srt, self.stage.folder.path(), self.probe)?),
            Under::Bwrap | Under::Native => {
                let mut command = Command::new(PROGRAM);
                command.args(arguments(self.stage, self.probe)?);
                Peer::start(command)
            }
        }
    }

    /// One that can't start would hold every attack.
    async fn try_one(&self) -> Result<()> {
        let mut peer = self.start()?;
        let (_, done) = peer.ask("nothing", &json!({}), None).await;
        if done {
            return peer.end().await;
        }
        let output = tokio::time::timeout(END_WAIT, peer.child.wait_with_output()).await;
        let said = output.ok().and_then(Result::ok).map(|output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
        bail!("no sandbox of this kind starts here: {}", said.unwrap_or_default())
    }
}

async fn one_group(peers: &Peers<'_>, group: &str, report: &mut Report) -> Result<()> {
    let mut neighbour = if group == NEIGHBOUR { Some(peers.start()?) } else { None };
    let beside = json!(neighbour.iter().map(Peer::pid).collect::<Vec<_>>());
    if let Some(neighbour) = &mut neighbour {
        neighbour.ask("sit", &peers.stage.facts(neighbour.pid()), None).await;
    }
    let ids = report.ids(group);
    let (mut rows, mut ended, mut begin) = (Vec::new(), None, 0);
    while begin < ids.len() {
        let mut peer = peers.start()?;
        let mut facts = peers.stage.facts(peer.pid());
        if let Some(facts) = facts.as_object_mut() {
            facts.insert("neighbour_pids".to_owned(), beside.clone());
        }
        let after = begin.checked_sub(1).and_then(|at| ids.get(at));
        let (said, done) = peer.ask(group, &facts, after).await;
        peer.end().await?;
        if done {
            begin = ids.len();
        } else {
            // Whatever was at work has ended it. The next ones get a sandbox of their own: what they try is another matter.
            ended = Some("it said no more");
            begin += said.len() + 1;
        }
        rows.extend(said);
    }
    report.merge(group, rows, ended, group == DEADLY);
    if let Some(neighbour) = neighbour {
        neighbour.end().await?;
    }
    Ok(())
}

/// A probe under the other sandbox.
struct Peer {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let program = command.as_std().get_program().display().to_string();
        let missing = || format!("{program} can't be started; `scripts/setup.sh peers` installs it, or choose --under native");
        let mut child = command.spawn().with_context(missing)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else { bail!("{program} has no streams") };
        Ok(Self { child, stdin, stdout: BufReader::new(stdout).lines() })
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// In order where it does that, so that it can take its helpers along.
    async fn end(self) -> Result<()> {
        let Self { mut child, stdin, stdout } = self;
        drop((stdin, stdout));
        if tokio::time::timeout(END_WAIT, child.wait()).await.is_err() {
            child.kill().await.context("the other sandbox can't be ended")?;
        }
        Ok(())
    }

    /// Has a group carried out, behind a probe of it if one is named; also whether it came to its end.
    async fn ask(&mut self, group: &str, facts: &Value, after: Option<&String>) -> (Vec<Said>, bool) {
        let mut rows = Vec::new();
        let order = format!("{}\n", json!({"group": group, "facts": facts, "after": after}));
        if self.stdin.write_all(order.as_bytes()).await.is_err() {
            return (rows, false);
        }
        let deadline = tokio::time::Instant::now() + GROUP_WAIT;
        while let Ok(Ok(Some(line))) = tokio::time::timeout_at(deadline, self.stdout.next_line()).await {
            let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
            if value.get("done").is_some() {
                return (rows, true);
            }
            rows.extend(serde_json::from_value::<Said>(value).ok());
        }
        (rows, false)
    }
}

/// Everything unshared, no capabilities, nothing of the environment, and the files of the agent's profile.
fn arguments(stage: &Stage, probe: &Path) -> Result<Vec<String>> {
    let fixed =
        "--unshare-all --die-with-parent --new-session --clearenv --cap-drop ALL --uid 1000 --gid 1000 --proc /proc --dev /dev";
    let mut arguments: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
    let mounts = serde_json::to_value(Profile::agent()?.mounts())?;
    for mount in mounts.as_array().into_iter().flatten() {
        let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        match mount.get("kind").and_then(Value::as_str) {
            Some("bind_ro") => arguments.extend(["--ro-bind".to_owned(), text("source"), text("target")]),
            Some("tmpfs") => {
                let bytes = mount.get("size_bytes").map(Value::to_string).unwrap_or_default();
                arguments.extend(["--size".to_owned(), bytes, "--tmpfs".to_owned(), text("target")]);
            }
            Some(_) | None => {}
        }
    }
    // The two users that a sandbox of ours has, so that the same question can be asked.
    let users = stage.folder.path().join("passwd");
    std::fs::write(&users, USERS)?;
    std::fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    arguments.extend(["--ro-bind".to_owned(), users.display().to_string(), "/etc/passwd".to_owned()]);
    let probe = probe.canonicalize().context("the probe's own path")?;
    arguments.extend(["--ro-bind".to_owned(), probe.display().to_string(), INSIDE.to_owned()]);
    arguments.extend(["--chdir", "/work", INSIDE].map(str::to_owned));
    Ok(arguments)
}
