//! The attacks from inside under another sandbox that somebody might pick instead, with the same files in it. There is no
//! gateway behind it, so what needs one fails there: this compares what confines, not what answers.

use super::report::{Report, Said};
use super::stage::{self, Stage};
use super::{DEADLY, NEIGHBOUR};
use crate::arguments::SandboxSuiteArgs;
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

pub(crate) async fn run(args: &SandboxSuiteArgs) -> Result<Report> {
    let probe = stage::probe_program(args)?;
    let stage = Stage::start(&probe, args).await?;
    let mut report = Report::of(&probe)?;
    for group in report.groups() {
        if args.group.as_ref().is_none_or(|wanted| *wanted == group) {
            one_group(&stage, &probe, &group, &mut report).await?;
        }
    }
    stage.end().await;
    Ok(report)
}

async fn one_group(stage: &Stage, probe: &Path, group: &str, report: &mut Report) -> Result<()> {
    let mut peer = Peer::start(stage, probe)?;
    let mut facts = stage.facts(peer.pid());
    let neighbour = if group == NEIGHBOUR {
        let mut neighbour = Peer::start(stage, probe)?;
        neighbour.ask("sit", &facts).await;
        if let Some(facts) = facts.as_object_mut() {
            facts.insert("neighbour_pids".to_owned(), json!([neighbour.pid()]));
        }
        Some(neighbour)
    } else {
        None
    };
    let (rows, done) = peer.ask(group, &facts).await;
    let ended = (!done).then_some("it said no more");
    report.merge(group, rows, ended, group == DEADLY);
    for mut peer in neighbour.into_iter().chain([peer]) {
        peer.child.kill().await.context("the other sandbox can't be ended")?;
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
    fn start(stage: &Stage, probe: &Path) -> Result<Self> {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments(stage, probe)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().context("bubblewrap can't be started; install it, or choose --under native")?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else { bail!("bubblewrap has no streams") };
        Ok(Self { child, stdin, stdout: BufReader::new(stdout).lines() })
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    async fn ask(&mut self, group: &str, facts: &Value) -> (Vec<Said>, bool) {
        let mut rows = Vec::new();
        let order = format!("{}\n", json!({"group": group, "facts": facts}));
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
