//! Many lives in a row leave nothing. A program of its own, because it counts what this process has.

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Stage, eventually, everyone, groups_of, plan, prepare};
use jail::{AgentStdio, Prepared, Reply};

const CYCLES: usize = 200;

/// What holds a namespace is a process, a descriptor or a mount, so these are counted: descriptors of this process, its
/// mounts, and the files of the stage.
fn held(stage: &Stage) -> [usize; 3] {
    let count = |path: &Path| fs::read_dir(path).expect("a folder").count();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the list of mounts");
    [count(Path::new("/proc/self/fd")), mounts.lines().count(), count(&stage.folder)]
}

/// Processes that run a program of the stage.
fn processes(stage: &Stage) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").expect("the host's /proc").flatten().map(|entry| entry.path());
    entries.filter(|path| fs::read_link(path.join("exe")).is_ok_and(|exe| exe.starts_with(&stage.folder))).collect()
}

fn live(stage: &Stage, prepared: Prepared) {
    let null = || fs::File::options().read(true).write(true).open("/dev/null").expect("the device").into();
    let stdio = AgentStdio { stdin: null(), stdout: null(), stderr: null() };
    let mut jail = prepared.begin(&plan(stage, &["exit", "0"]), stdio).expect("the plan is taken");
    let (_ready, _listeners) = jail.wait_ready(common::TIMEOUT).expect("it runs");
    let end = jail.wait_reply(common::TIMEOUT).expect("it ends");
    assert!(matches!(&end, Reply::Exited(end) if end.code == Some(0)), "{end:?}");
}

#[test]
fn many_lives_leave_no_process_group_mount_descriptor_or_file() {
    let stage = Stage::new();
    for who in everyone() {
        let before = held(&stage);
        let mut supervisors = Vec::new();
        for cycle in 0..CYCLES {
            let prepared = prepare(&stage, *who);
            supervisors.push(prepared.supervisor_pid());
            // Some never get a plan, and end in the middle of their preparation.
            if cycle % 4 != 0 {
                live(&stage, prepared);
            }
        }
        eventually("no process of them", || processes(&stage).is_empty());
        let groups: Vec<PathBuf> = supervisors.iter().flat_map(|supervisor| groups_of(*supervisor)).collect();
        assert_eq!(groups, Vec::<PathBuf>::new(), "{who:?}");
        assert_eq!(held(&stage), before, "{who:?}: descriptors, mounts, files");
    }
}
