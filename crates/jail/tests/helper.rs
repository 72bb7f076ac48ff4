//! The privileged helper, spoken to as a gateway does.

#![expect(clippy::indexing_slicing, reason = "a test that looks beside what is there shall fail")]

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use common::ordered::{Ordered, children, order, start, templates, uid_of, write};
use common::{Stage, TIMEOUT, eventually};
use jail::HOST_UID_FIRST;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

#[test]
fn an_order_gets_a_sandbox_of_its_template_and_leaves_nothing() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 8).expect("it starts");
    let mut asked = order(&["facts"]);
    asked.env.insert("SAID".into(), "so".into());
    asked.files.insert("note".into(), "a note".into());
    let said = Ordered::place(&helper, &asked).said();
    assert_eq!(said["env"], json!({"ONLY": "this=1", "SAID": "so"}), "{said}");
    eventually("an end without a rest", || children(&helper).is_empty());
}

#[test]
fn users_differ_among_the_living_and_no_more_live_than_was_said() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 2).expect("it starts");
    let mut both: Vec<_> = (0..2).map(|_| Ordered::place(&helper, &order(&["sleep"]))).collect();
    let uids: Vec<_> = both.iter_mut().map(|one| uid_of(one.ready().init_pid)).collect();
    if common::tests_run_as_root() {
        assert!(uids.iter().all(|uid| *uid >= HOST_UID_FIRST) && uids[0] != uids[1], "{uids:?}");
    }
    let refusal = Ordered::place(&helper, &order(&["facts"])).refused();
    assert!(refusal.message.contains("2 sandboxes already"), "{refusal:?}");
    both.pop();
    eventually("the end of one", || children(&helper).len() == 1);
    Ordered::place(&helper, &order(&["facts"])).said();
}

#[test]
fn a_helper_that_is_killed_takes_its_sandboxes_along() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 4).expect("it starts");
    let mut living = Ordered::place(&helper, &order(&["sleep"]));
    let ready = living.ready();
    kill_process(Pid::from_raw(i32::try_from(helper.pid()).expect("a number")).expect("a process"), Signal::KILL)
        .expect("it runs");
    while living.reply().is_some() {}
    eventually("an end in order", || ready.cgroups.iter().all(|folder| !folder.exists()));
}

/// The gateway is gone, but somebody else holds every socket of it.
#[test]
fn what_a_killed_supervisor_left_is_removed_without_being_asked() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 4).expect("it starts");
    let mut killed = Ordered::place(&helper, &order(&["sleep"]));
    let ready = killed.ready();
    let supervisor = children(&helper)[0];
    kill_process(supervisor, Signal::KILL).expect("it runs");
    assert_eq!(killed.reply(), None, "its death closes the socket");
    let mut over = helper.sweep().expect("the helper listens");
    over.set_read_timeout(Some(TIMEOUT)).expect("set");
    assert_eq!(over.read(&mut [0]).expect("it ends"), 0);
    eventually("an end without a rest", || ready.cgroups.iter().all(|folder| !folder.exists()) && children(&helper).is_empty());
}

#[test]
fn it_outlives_its_gateway_by_its_sandboxes_and_no_longer() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 4).expect("it starts");
    let mut last = Ordered::place(&helper, &order(&["sleep"]));
    let ready = last.ready();
    let (pid, ending) = (helper.pid(), std::thread::spawn(move || drop(helper)));
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(Path::new(&format!("/proc/{pid}")).exists() && !ending.is_finished(), "a sandbox still lives");
    drop(last);
    ending.join().expect("it ends");
    assert!(ready.cgroups.iter().all(|folder| !folder.exists()));
}

#[test]
fn templates_that_others_could_write_are_not_taken() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let folder = templates(&stage);
    let file = folder.join("probe.json");
    let text = fs::read_to_string(&file).expect("text");
    let starts = || start(&stage, &folder, 1).is_ok();
    let change = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    assert!(starts());
    for path in [&folder, &file] {
        for mode in [0o777, 0o775, 0o757] {
            change(path, mode);
            assert!(!starts(), "{} with mode {mode:o}", path.display());
        }
        change(path, 0o755);
    }
    if common::tests_run_as_root() {
        for path in [&folder, &file] {
            std::os::unix::fs::chown(path, Some(65534), None).expect("given away");
            assert!(!starts(), "{} of nobody", path.display());
            std::os::unix::fs::chown(path, Some(0), None).expect("taken back");
        }
    }
    for (name, content) in [("probe.json", "{}"), ("probe.json", "garbage"), ("notes.txt", &text), ("Upper.json", &text)] {
        write(&folder.join(name), content);
        assert!(!starts(), "{name}: {content}");
        fs::remove_file(folder.join(name)).expect("removed");
        write(&file, &text);
    }
    write(&file, &text.replace("/probe\"", "probe\""));
    assert!(!starts(), "an invalid template");
    let elsewhere = stage.folder.join("elsewhere.json");
    write(&elsewhere, &text);
    fs::remove_file(&file).expect("removed");
    symlink(&elsewhere, &file).expect("linked");
    assert!(!starts(), "a link");
    let linked = stage.folder.join("linked");
    fs::remove_file(&file).expect("removed");
    write(&file, &text);
    symlink(&folder, &linked).expect("linked");
    assert!(start(&stage, &linked, 1).is_err(), "a linked folder");
    assert!(starts(), "and as it was");
}

#[test]
fn it_keeps_no_more_power_than_sandboxes_take() {
    if !common::tests_run_as_root() {
        return; // A helper is what root leaves behind.
    }
    let stage = Stage::new();
    let helper = start(&stage, &templates(&stage), 1).expect("it starts");
    let status = fs::read_to_string(format!("/proc/{}/status", helper.pid())).expect("it runs");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).expect("a field").to_owned();
    let effective = u64::from_str_radix(&field("CapEff:"), 16).expect("hexadecimal");
    // Modules, raw devices, the clock, rebooting, auditing, packet sockets, BPF.
    for capability in [16, 17, 25, 22, 29, 30, 13, 39, 38, 27] {
        assert_eq!(effective & (1 << capability), 0, "capability {capability}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    if common::tests_run_as_root() {
        assert_eq!(fs::read(format!("/proc/{}/environ", helper.pid())).expect("readable for root"), b"");
    }
}
