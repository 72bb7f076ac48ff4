//! A sandbox that is prepared ahead of its plan is as bounded as one under way, and leaves as little.

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use common::{As, Stage, eventually, everyone, groups_of, plan, prepare};
use jail::{AgentStdio, ControlError, End, Jail, Plan, Prepared, Reply};
use rustix::process::{Pid, Signal, kill_process};

fn pid(number: u32) -> Pid {
    i32::try_from(number).ok().and_then(Pid::from_raw).expect("a process number")
}

/// The sandbox's first process, once there is one that has taken its place in the groups.
fn first_process(prepared: &Prepared, who: As) -> u32 {
    let supervisor = prepared.supervisor_pid();
    let children = || fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).unwrap_or_default();
    eventually("a first process", || !children().trim().is_empty());
    let first = children().split_ascii_whitespace().next().and_then(|text| text.parse().ok()).expect("a number");
    let is_in = |folder: &PathBuf| fs::read_to_string(folder.join("cgroup.procs")).is_ok_and(|text| !text.is_empty());
    eventually("its groups", || {
        who != As::Root || (!groups_of(supervisor).is_empty() && groups_of(supervisor).iter().all(is_in))
    });
    first
}

fn is_gone(number: u32) -> bool {
    // A dead process that its new parent has not yet buried has no arguments any more.
    fs::read(format!("/proc/{number}/cmdline")).map_or(true, |arguments| arguments.is_empty())
}

/// Runs a plan in a prepared sandbox to its end and returns what it said.
fn run(prepared: Prepared, plan: &Plan) -> Result<(End, String), ControlError> {
    let (mut stdout, agent_out) = std::io::pipe().expect("a pipe");
    let null = || fs::File::options().read(true).write(true).open("/dev/null").expect("the device").into();
    let stdio = AgentStdio { stdin: null(), stdout: agent_out.into(), stderr: null() };
    let mut jail: Jail = prepared.begin(plan, stdio)?;
    let (ready, listeners) = jail.wait_ready(common::TIMEOUT)?;
    assert_eq!(listeners.extra.len(), plan.extra_ports.len());
    assert!(ready.init_pid > 1);
    let end = match jail.wait_reply(common::TIMEOUT)? {
        Reply::Exited(end) => end,
        other @ (Reply::Ready(_) | Reply::Failed(_) | Reply::Usage(_) | Reply::Checked(_)) => {
            panic!("{other:?} in place of the end")
        }
    };
    let mut said = String::new();
    stdout.read_to_string(&mut said).expect("text");
    Ok((end, said))
}

#[test]
fn it_waits_and_then_runs_its_plan_as_if_it_were_new() {
    let stage = Stage::new();
    for who in everyone() {
        let prepared = prepare(&stage, *who);
        first_process(&prepared, *who);
        std::thread::sleep(Duration::from_millis(50));
        let mut wanted = plan(&stage, &[]);
        wanted.extra_ports = vec![8443];
        wanted.argv = ["/usr/bin/sh", "-c", "uname -n; ls /; id -u"].map(str::to_owned).to_vec();
        let (end, said) = run(prepared, &wanted).expect("it runs");
        assert_eq!(end.code, Some(0), "{who:?}: {said}");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((lines.first(), lines.last()), (Some(&"sandbox"), Some(&"1000")), "{who:?}: {said}");
        assert!(lines.contains(&"space") && !lines.contains(&"home"), "{who:?}: {said}");
    }
}

#[test]
fn a_bad_plan_is_still_refused_and_leaves_nothing() {
    let stage = Stage::new();
    for who in everyone() {
        let prepared = prepare(&stage, *who);
        let (supervisor, first) = (prepared.supervisor_pid(), first_process(&prepared, *who));
        let mut wanted = plan(&stage, &["exit", "0"]);
        wanted.limits.memory_bytes = 1;
        let refused = run(prepared, &wanted).err();
        assert!(matches!(refused, Some(ControlError::Failed(_))), "{who:?}: {refused:?}");
        assert!(is_gone(first) && groups_of(supervisor).is_empty(), "{who:?}");
    }
}

#[test]
fn a_gateway_that_goes_takes_it_along() {
    let stage = Stage::new();
    for who in everyone() {
        let prepared = prepare(&stage, *who);
        let (supervisor, first) = (prepared.supervisor_pid(), first_process(&prepared, *who));
        drop(prepared);
        assert!(is_gone(first) && is_gone(supervisor), "{who:?}");
        assert_eq!(groups_of(supervisor), Vec::<PathBuf>::new(), "{who:?}");
    }
}

#[test]
fn without_its_first_process_it_says_so_and_ends() {
    let stage = Stage::new();
    for who in everyone() {
        let prepared = prepare(&stage, *who);
        let (supervisor, first) = (prepared.supervisor_pid(), first_process(&prepared, *who));
        kill_process(pid(first), Signal::KILL).expect("killed");
        eventually("no groups", || groups_of(supervisor).is_empty());
        let refused = run(prepared, &plan(&stage, &["exit", "0"])).err();
        assert!(matches!(refused, Some(ControlError::Failed(_))), "{who:?}: {refused:?}");
    }
}

#[test]
fn a_killed_supervisor_leaves_nothing_that_a_sweep_does_not_find() {
    let stage = Stage::new();
    for who in everyone() {
        let prepared = prepare(&stage, *who);
        let (supervisor, first) = (prepared.supervisor_pid(), first_process(&prepared, *who));
        kill_process(pid(supervisor), Signal::KILL).expect("killed");
        drop(prepared);
        eventually("no first process", || is_gone(first));
        if *who == As::Root {
            let swept = common::run(jail::sweep_command(&stage.folder.join("hexward-jail")));
            assert!(swept.status.success());
            let named =
                String::from_utf8_lossy(&swept.stdout).lines().any(|name| name.starts_with(&format!("jail-{supervisor}-")));
            assert!(named || groups_of(supervisor).is_empty(), "another sweep may have been there first");
        }
        assert_eq!(groups_of(supervisor), Vec::<PathBuf>::new(), "{who:?}");
    }
}
