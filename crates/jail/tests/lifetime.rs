//! A sandbox lives as long as its control socket and its agent, and leaves nothing.

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::fs;
use std::io::{Read, Write};

use common::{As, Sandbox, Stage, Traces, eventually, everyone, plan, start};
use jail::{Plan, Request};
use rustix::process::{Pid, Signal, kill_process};

/// A sandbox with two processes that would stay for minutes, seen to be there.
fn lingering(stage: &Stage, who: As) -> (Sandbox, Traces) {
    let mut wanted: Plan = plan(stage, &["linger"]);
    wanted.argv.push(wanted.id.clone());
    let mut sandbox = start(stage, who, &wanted);
    let mut line = [0; 5];
    sandbox.stdout.read_exact(&mut line).expect("the child was made");
    assert_eq!(&line, b"true\n");
    let traces = sandbox.traces(&wanted.id);
    eventually("three processes", || traces.processes().len() == 3);
    (sandbox, traces)
}

#[test]
fn the_agents_end_is_told() {
    let stage = Stage::new();
    for who in everyone() {
        let end = start(&stage, *who, &plan(&stage, &["exit", "7"])).end();
        assert_eq!((end.code, end.signal, end.oom_killed), (Some(7), None, false), "{who:?}");
        let end = start(&stage, *who, &plan(&stage, &["die"])).end();
        assert_eq!((end.code, end.signal), (None, Some(libc::SIGTERM)), "{who:?}");
    }
}

#[test]
fn whatever_the_agent_left_behind_ends_with_it() {
    let stage = Stage::new();
    for who in everyone() {
        let mut wanted = plan(&stage, &[]);
        let script = format!("setsid /probe sleep {} & sleep 0.2; exit 3", wanted.id);
        wanted.argv = vec!["/usr/bin/sh".into(), "-c".into(), script];
        let mut sandbox = start(&stage, *who, &wanted);
        let traces = sandbox.traces(&wanted.id);
        assert_eq!(sandbox.end().code, Some(3), "{who:?}");
        assert_eq!(traces.processes(), Vec::<String>::new(), "the end is told when all processes are gone");
        drop(sandbox);
        assert_eq!(traces.left(), Vec::<String>::new(), "{who:?}");
    }
}

#[test]
fn a_gateway_that_goes_takes_the_sandbox_along() {
    let stage = Stage::new();
    for who in everyone() {
        let (sandbox, traces) = lingering(&stage, *who);
        drop(sandbox);
        assert_eq!(traces.left(), Vec::<String>::new(), "{who:?}");
    }
}

#[test]
fn a_sandbox_is_killed_on_request() {
    let stage = Stage::new();
    for who in everyone() {
        let (mut sandbox, traces) = lingering(&stage, *who);
        sandbox.jail.request(Request::Kill).expect("sent");
        assert_eq!(sandbox.end().signal, Some(libc::SIGKILL), "{who:?}");
        drop(sandbox);
        assert_eq!(traces.left(), Vec::<String>::new(), "{who:?}");
    }
}

#[test]
fn nonsense_on_the_control_socket_ends_the_sandbox() {
    let stage = Stage::new();
    let (sandbox, traces) = lingering(&stage, As::User);
    let mut control = sandbox.jail.control();
    control.write_all(&[255; 16]).expect("written");
    eventually("the end", || traces.left().is_empty());
}

#[test]
fn a_killed_supervisor_leaves_nothing_running() {
    let stage = Stage::new();
    for who in everyone() {
        let (sandbox, traces) = lingering(&stage, *who);
        kill_supervisor(&sandbox);
        eventually("no process", || traces.processes().is_empty());
        drop(sandbox);
        sweep(&stage, *who, &traces);
        assert_eq!(traces.left(), Vec::<String>::new(), "{who:?}");
    }
}

#[test]
fn a_sweep_thaws_orphans_and_leaves_the_living() {
    let stage = Stage::new();
    for who in everyone() {
        let (living, living_traces) = lingering(&stage, *who);
        let (orphan, traces) = lingering(&stage, *who);
        freeze(&orphan);
        kill_supervisor(&orphan);
        drop(orphan);
        sweep(&stage, *who, &traces);
        eventually("nothing of the orphan", || traces.left().is_empty());
        assert_eq!(living_traces.processes().len(), 3, "{who:?}");
        assert!(living.ready.cgroups.iter().all(|folder| folder.exists()));
    }
}

fn kill_supervisor(sandbox: &Sandbox) {
    let supervisor = i32::try_from(sandbox.jail.supervisor_pid()).ok().and_then(Pid::from_raw);
    kill_process(supervisor.expect("a process number"), Signal::KILL).expect("killed");
}

/// Removes orphans, as a gateway of the same user does when it starts. Without control groups there is nothing to do.
fn sweep(stage: &Stage, who: As, orphan: &Traces) {
    if !orphan.cgroups().is_empty() {
        let mut command = jail::sweep_command(&stage.folder.join("hexward-jail"));
        common::as_user(&mut command, who);
        let output = common::run(command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn freeze(sandbox: &Sandbox) {
    for (name, value) in [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")] {
        if let Some(folder) = sandbox.ready.cgroups.iter().find(|folder| folder.join(name).exists()) {
            fs::write(folder.join(name), value).expect("frozen");
        }
    }
}

#[test]
fn a_frozen_sandbox_can_be_killed() {
    let stage = Stage::new();
    for who in everyone() {
        let (sandbox, traces) = lingering(&stage, *who);
        freeze(&sandbox);
        drop(sandbox);
        assert_eq!(traces.left(), Vec::<String>::new(), "{who:?}");
    }
}

#[test]
fn the_hosts_mounts_stay_as_they_were() {
    let stage = Stage::new();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("the list of mounts");
    let before = mounts();
    for who in everyone() {
        let (sandbox, _traces) = lingering(&stage, *who);
        assert_eq!(mounts(), before, "{who:?}: while it runs");
        drop(sandbox);
    }
    assert_eq!(mounts(), before);
}
