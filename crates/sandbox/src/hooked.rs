//! Direct mode on a host where no network namespace can be had: an agent in JavaScript is run by Node itself, with a hook
//! (`hook.cjs`) that leads its connections to sockets of its own and refuses what it can't lead there.
//!
//! Which socket accepted is who asks, as everywhere. The sockets are in a folder that only the gateway's user can enter, and
//! nobody but this agent is told of them; what else runs as that user could find them, but in direct mode it could read the
//! agent's memory as well. A port on the loopback would be open to everybody on the host, and would need a token.

use crate::checking::{self, Checks};
use crate::driver::{AgentSpec, Exit, HookedListener, Life, Meter, Network, Sandbox};
use crate::error::SandboxError;
use crate::jailed::Scratch;
use crate::supervise::tail;
use crate::template;
use jail::{Check, Checked, Failure, Usage};
use policy::EgressRules;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use std::fs::{DirBuilder, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

const HOOK: &str = include_str!("hook.cjs");
/// Where Node usually is. The gateway's own search path is not the agent's.
const NODES: [&str; 3] = ["/usr/local/bin/node", "/usr/bin/node", "/bin/node"];
const CHECK_WAIT: Duration = Duration::from_secs(1);
const CHECK_BYTES_MAX: u64 = 1024;
/// The name of the socket that closes when the gateway is gone.
const ALIVE: &str = "alive";

/// Starts an agent in JavaScript.
pub(crate) fn start(
    agent: &Path,
    spec: AgentSpec,
    scratch: Scratch,
    rules: &EgressRules,
    why: &Failure,
) -> Result<Sandbox, SandboxError> {
    let agent_name = agent.display().to_string();
    let not_redirectable = || SandboxError::NotRedirectable { agent: agent_name.clone(), reason: why.to_string() };
    let script = Script::read(agent).ok_or_else(not_redirectable)?;
    let node = script.node.or_else(|| NODES.into_iter().map(PathBuf::from).find(|path| path.is_file()));
    let node = node.ok_or(SandboxError::NodeMissing(agent_name))?;
    let failed = SandboxError::io("sockets for direct mode");
    let (listeners, alive) = open(scratch.path(), rules).map_err(failed)?;
    let cwd = scratch.path().to_owned();
    let (mut child, [stdin, stdout, stderr]) = spawn(&node, agent, &spec, scratch.path())?;
    let stdin = pipe::Sender::from_owned_fd(stdin).map_err(SandboxError::io("pipe"))?;
    let stdout = pipe::Receiver::from_owned_fd(stdout).map_err(SandboxError::io("pipe"))?;
    let stderr = pipe::Receiver::from_owned_fd(stderr).map_err(SandboxError::io("pipe"))?;
    let init_pid = child.id().unwrap_or_default();
    let ((checker, mut checks), (exit, exited)) = (checking::pair(), watch::channel(None));
    let (kill, gone) = (CancellationToken::new(), CancellationToken::new());
    let (meter, mut asked) = mpsc::channel::<oneshot::Sender<Usage>>(1);
    let (killed, guard) = (kill.clone(), gone.clone().drop_guard());
    tokio::spawn(async move {
        let _gone = guard;
        let stderr = tokio::spawn(tail(stderr));
        let reason = loop {
            tokio::select! {
                status = child.wait() => break describe(status),
                () = killed.cancelled() => break "it was stopped".to_owned(),
                // Nothing is counted where there is no sandbox.
                Some(asker) = asked.recv() => drop(asker.send(Usage::default())),
                Some(check) = checks.next() => answer(&mut checks, check, scratch.path()).await,
            }
        };
        end(&mut child, init_pid).await;
        drop(alive);
        let _ = exit.send(Some(Exit { reason, stderr_tail: stderr.await.unwrap_or_default(), usage: Usage::default() }));
        drop(scratch);
    });
    let told = format!(
        "no network namespace can be had ({why}), so the agent's connections are redirected by a hook in Node only, which a program \
         can undo. It sees the host's network"
    );
    Ok(Sandbox {
        id: spec.id,
        network: Network::Hooked(listeners),
        stdin,
        stdout,
        downgrades: vec![told],
        setup_us: 0,
        cwd,
        init_pid,
        life: Life { exit: exited, gone, kill, meter: Meter(meter), checker },
    })
}

/// A program that Node runs.
struct Script {
    /// The Node that its first line names in full.
    node: Option<PathBuf>,
}

impl Script {
    fn read(path: &Path) -> Option<Self> {
        use std::io::Read;
        const FIRST_LINE_BYTES_MAX: u64 = 256;
        let mut first = Vec::new();
        File::open(path).ok()?.take(FIRST_LINE_BYTES_MAX).read_to_end(&mut first).ok()?;
        Self::of(path, &first)
    }

    fn of(path: &Path, first: &[u8]) -> Option<Self> {
        let line = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if let Some(words) = line.strip_prefix(b"#!").and_then(|words| std::str::from_utf8(words).ok()) {
            let mut words = words.split_ascii_whitespace().filter(|word| *word != "-S");
            let program = words.next()?;
            return match (program, program.rsplit('/').next()?) {
                (path, "node") => Some(Self { node: path.starts_with('/').then(|| PathBuf::from(path)) }),
                (_, "env") if words.next() == Some("node") => Some(Self { node: None }),
                _ => None,
            };
        }
        // A native program may have any name.
        let text = !first.contains(&0);
        let named = path.extension().is_some_and(|end| ["js", "mjs", "cjs"].iter().any(|known| end == *known));
        (text && named).then_some(Self { node: None })
    }
}

/// A socket for each name and port, and what the hook has to know of them.
fn open(scratch: &Path, rules: &EgressRules) -> std::io::Result<(Vec<HookedListener>, UnixListener)> {
    let folder = scratch.join("net");
    DirBuilder::new().mode(0o700).create(&folder)?;
    let (held, mut listeners) = (File::open(&folder)?, Vec::new());
    for (at, endpoint) in rules.endpoints().into_iter().enumerate() {
        listeners.push(HookedListener { listener: bind(&held, &at.to_string())?, endpoint });
    }
    let told = listeners.iter().enumerate().map(|(at, HookedListener { endpoint, .. })| {
        json!({"host": endpoint.host.as_str(), "address": endpoint.address, "port": endpoint.port, "socket": at.to_string()})
    });
    let reach = json!({"endpoints": told.collect::<Vec<_>>(), "alive": ALIVE});
    std::fs::write(scratch.join("reach.json"), reach.to_string())?;
    std::fs::write(scratch.join("hook.cjs"), HOOK)?;
    let alive = bind(&held, ALIVE)?;
    Ok((listeners, alive))
}

/// By a descriptor, because the path of a socket has to be short (`sun_path`, unix(7)).
fn bind(folder: &File, name: &str) -> std::io::Result<UnixListener> {
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The program and our ends of its streams. It ends when its handle is dropped.
fn spawn(node: &Path, agent: &Path, spec: &AgentSpec, scratch: &Path) -> Result<(Child, [OwnedFd; 3]), SandboxError> {
    let pipe = || std::io::pipe().map_err(SandboxError::io("pipe"));
    let ((theirs_in, stdin), (stdout, theirs_out), (stderr, theirs_err)) = (pipe()?, pipe()?, pipe()?);
    let mut environment = spec.environment.clone();
    let (home, ca) = (scratch.display().to_string(), scratch.join("ca.pem").display().to_string());
    environment.extend(template::places(&home, &home, &ca));
    let hook = scratch.join("hook.cjs").display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    environment.insert("NODE_OPTIONS".to_owned(), format!("--require \"{hook}\""));
    let mut command = Command::new(node);
    command.arg(agent).args(&spec.arguments).env_clear().envs(environment).current_dir(scratch);
    command.stdin(OwnedFd::from(theirs_in)).stdout(OwnedFd::from(theirs_out)).stderr(Stdio::from(OwnedFd::from(theirs_err)));
    let child = command.process_group(0).kill_on_drop(true).spawn().map_err(SandboxError::io("Node"))?;
    Ok((child, [stdin.into(), stdout.into(), stderr.into()]))
}

/// Ends it and whatever it started in its group.
async fn end(child: &mut Child, pid: u32) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Fails when nothing is left of it.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill().await;
}

fn describe(status: std::io::Result<std::process::ExitStatus>) -> String {
    match status.as_ref().map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => format!("exit code {code}"),
        Ok((None, Some(signal))) => format!("signal {signal}"),
        Ok((None, None)) | Err(_) => "no reason given".to_owned(),
    }
}

/// There is no network to be tried from inside; what can be is that the agent's own socket leads to its own gate.
async fn answer(checks: &mut Checks, check: Check, scratch: &Path) {
    let own = ask(scratch, jail::CHECK_HOST_OWN, check.number).await;
    let denied = ask(scratch, jail::CHECK_HOST_DENIED, check.number).await;
    // A port without a socket does not exist for the hook.
    checks.answer(Checked { own, denied, closed: true });
}

async fn ask(scratch: &Path, host: &str, number: u64) -> String {
    let exchange = async {
        let folder = File::open(scratch.join("net"))?;
        let mut stream = tokio::net::UnixStream::connect(format!("/proc/self/fd/{}/0", folder.as_raw_fd())).await?;
        let request = format!("GET {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n", Check::path(number));
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(CHECK_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    match tokio::time::timeout(CHECK_WAIT, exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => format!("({error})"),
        Err(_) => "(no answer)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_node_runs_is_redirected() {
        let node = |name: &str, first: &[u8]| Script::of(Path::new(name), first).map(|script| script.node);
        assert_eq!(node("cli.mjs", b"import 'x'\n"), Some(None));
        assert_eq!(node("agent", b"#!/usr/bin/env node\nx"), Some(None));
        assert_eq!(node("agent", b"#!/usr/bin/env -S node --x\n"), Some(None));
        assert_eq!(node("agent", b"#!/opt/node/bin/node\nx"), Some(Some(PathBuf::from("/opt/node/bin/node"))));
        for (name, first) in [
            ("claude", b"\x7fELF\x02\x01\x01\0".as_slice()),
            ("claude.js", b"\x7fELF\x02\x01\x01\0"),
            ("agent.js", b"#!/bin/sh\nexec true"),
            ("agent.mjs", b"#!/usr/bin/env deno\n"),
            ("agent", b"console.log(1)"),
            ("agent.py", b"#!/usr/bin/env python3\n"),
        ] {
            assert_eq!(node(name, first), None, "{name}");
        }
    }
}
