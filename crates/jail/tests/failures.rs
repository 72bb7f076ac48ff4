//! When there is no sandbox, the answer says what failed and what to do, and nothing is left.

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use common::{As, Stage, everyone, plan, try_start};
use jail::{Failure, Filled, Inbox, Mount, Outbox, Plan, Reply, Step};

/// Spoils a good plan and returns the jail's answer.
fn refusal(stage: &Stage, who: As, spoil: impl Fn(&mut Plan)) -> Failure {
    let mut wanted = plan(stage, &["exit", "0"]);
    spoil(&mut wanted);
    let failure = match try_start(stage, who, &wanted) {
        Ok(mut sandbox) => {
            let end = sandbox.end();
            let said = std::io::read_to_string(&mut sandbox.stderr).unwrap_or_default();
            panic!("{who:?}: {:?} in {} runs, ends with {end:?} and says {said:?}", wanted.argv, wanted.cwd.display())
        }
        Err(failure) => failure,
    };
    common::eventually("no group without its supervisor", || common::orphaned_groups().is_empty());
    failure
}

fn bind(source: impl AsRef<Path>, target: &str) -> Mount {
    Mount::BindRo { source: source.as_ref().into(), target: target.into() }
}

#[test]
fn a_program_that_cannot_run_is_named() {
    let stage = Stage::new();
    let garbage = stage.folder.join("garbage");
    fs::write(&garbage, [0x7f, 1, 2, 3]).expect("written");
    fs::set_permissions(&garbage, fs::Permissions::from_mode(0o755)).expect("set");
    for who in everyone() {
        let missing = refusal(&stage, *who, |plan| plan.argv = vec!["/absent".into()]);
        assert_eq!((missing.step, missing.errno), (Step::Exec, Some(libc::ENOENT)), "{who:?}");
        assert!(missing.message.contains("/absent") && missing.message.contains("add a mount"), "{missing}");
        let foreign = refusal(&stage, *who, |plan| {
            plan.mounts.push(bind(&garbage, "/garbage"));
            plan.argv = vec!["/garbage".into()];
        });
        assert_eq!((foreign.step, foreign.errno), (Step::Exec, Some(libc::ENOEXEC)), "{who:?}");
        let text = refusal(&stage, *who, |plan| {
            plan.mounts.push(Mount::File { target: "/text".into(), content: "echo".into(), mode: 0o644 });
            plan.argv = vec!["/text".into()];
        });
        assert_eq!((text.step, text.errno), (Step::Exec, Some(libc::EACCES)), "{who:?}");
        let cwd = refusal(&stage, *who, |plan| plan.cwd = "/absent".into());
        assert_eq!((cwd.step, cwd.errno), (Step::Exec, Some(libc::ENOENT)), "{who:?}");
    }
}

#[test]
fn a_source_that_is_not_plainly_there_is_named() {
    let stage = Stage::new();
    symlink(&stage.folder, stage.folder.join("link")).expect("linked");
    for who in everyone() {
        let missing = refusal(&stage, *who, |plan| plan.mounts.push(bind("/absent/source", "/data")));
        assert_eq!((missing.step, missing.errno), (Step::Mount, Some(libc::ENOENT)), "{who:?}");
        assert!(missing.message.contains("/absent/source"), "{missing}");
        let linked = refusal(&stage, *who, |plan| plan.mounts.push(bind(stage.folder.join("link/probe"), "/data")));
        assert_eq!((linked.step, linked.errno), (Step::Mount, Some(libc::ELOOP)), "{who:?}");
        assert!(linked.message.contains("symbolic link"), "{linked}");
    }
}

#[test]
fn a_target_below_a_bound_link_is_refused() {
    let stage = Stage::new();
    fs::create_dir(stage.folder.join("bound")).expect("a folder");
    symlink("/space", stage.folder.join("bound/away")).expect("linked");
    for who in everyone() {
        let led_away = refusal(&stage, *who, |plan| {
            plan.mounts.push(bind(stage.folder.join("bound"), "/bound"));
            plan.mounts.push(Mount::File { target: "/bound/away/file".into(), content: String::new(), mode: 0o644 });
        });
        assert_eq!(led_away.step, Step::Mount, "{who:?}: {led_away}");
    }
}

#[test]
fn a_bad_plan_is_refused_in_words() {
    let stage = Stage::new();
    for who in everyone() {
        let escaping = refusal(&stage, *who, |plan| plan.cwd = "relative".into());
        assert_eq!((escaping.step, escaping.errno), (Step::Plan, None), "{who:?}");
        assert!(escaping.message.contains("cwd"), "{escaping}");
    }
}

#[test]
fn without_a_filter_there_is_no_sandbox() {
    let stage = Stage::new();
    let probe = stage.probe().to_string_lossy().into_owned();
    for who in everyone() {
        let refused = common::launch(&stage, *who, &plan(&stage, &["exit", "0"]), &[&probe, "forbid-filters"]);
        let failure = refused.err().unwrap_or_else(|| panic!("{who:?}: it runs"));
        assert_eq!((failure.step, failure.errno), (Step::Identity, Some(libc::EPERM)), "{who:?}: {failure}");
        assert!(failure.message.contains("seccomp"), "{failure}");
    }
}

/// Root is above this limit; its own is the control group that the gateway is in.
#[test]
fn a_host_without_room_for_processes_is_named() {
    let stage = Stage::new();
    let launcher = ["/usr/bin/prlimit", "--nproc=0:0"];
    let refused = common::launch(&stage, As::User, &plan(&stage, &["exit", "0"]), &launcher);
    let failure = refused.err().expect("no process can be made");
    assert_eq!((failure.step, failure.errno), (Step::Namespace, Some(libc::EAGAIN)), "{failure}");
    assert!(failure.message.contains("ulimit -u") && failure.message.contains("pids.max"), "{failure}");
}

#[test]
fn root_must_name_the_agents_user() {
    if common::tests_run_as_root() {
        let stage = Stage::new();
        let unnamed = refusal(&stage, As::Root, |plan| plan.host_uid = None);
        assert_eq!(unnamed.step, Step::Plan);
        assert!(unnamed.message.contains("host_uid"), "{unnamed}");
    }
}

#[test]
fn something_that_is_no_plan_is_answered() {
    let stage = Stage::new();
    for (message, streams) in [(r#"{"id":"a"}"#, 3), ("not a plan", 3), ("{}", 0)] {
        let (control, theirs) = jail::control_pair().expect("a socket pair");
        let mut child = common::spawn_alone(&stage, theirs);
        let value: serde_json::Value = serde_json::from_str(message).unwrap_or_else(|_| message.into());
        let null = || fs::File::open("/dev/null").expect("the device").into();
        let fds = std::iter::repeat_with(null).take(streams).collect();
        Outbox::new(&value, fds).expect("fits").flush(&control).expect("sent");
        let mut inbox = Inbox::default();
        while inbox.fill(&control).expect("an answer") == Filled::Bytes {}
        let Ok(Some(Reply::Failed(failure))) = inbox.take() else { panic!("{message}: no failure") };
        assert_eq!(failure.step, Step::Plan);
        assert!(child.wait().expect("it ends").success());
    }
}
