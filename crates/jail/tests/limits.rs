//! Limits hold for a sandbox as a whole.

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{As, Stage, eventually, everyone, plan, start, tests_run_as_root};
use jail::{Calls, Plan, Ready, Usage};
use serde_json::{Value, json};

fn number(answer: &Value, name: &str) -> u64 {
    answer.get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("{name} is not in {answer}"))
}

#[test]
fn memory_beyond_the_limit_kills_and_is_told() {
    if !tests_run_as_root() {
        return without_root_the_missing_memory_limit_is_told();
    }
    let stage = Stage::new();
    let mut wanted = plan(&stage, &["allocate", "400"]);
    wanted.limits.memory_bytes = 64 << 20;
    let mut sandbox = start(&stage, As::Root, &wanted);
    let end = sandbox.end();
    assert_eq!((end.signal, end.oom_killed), (Some(libc::SIGKILL), true));

    let mut enough = plan(&stage, &["allocate", "20"]);
    enough.limits.memory_bytes = 64 << 20;
    let mut sandbox = start(&stage, As::Root, &enough);
    let end = sandbox.end();
    assert_eq!((end.code, end.oom_killed), (Some(0), false));
}

#[test]
fn without_root_the_missing_memory_limit_is_told() {
    let stage = Stage::new();
    let sandbox = start(&stage, As::User, &plan(&stage, &["exit", "0"]));
    let told = sandbox.ready.downgrades.iter().any(|text| text.contains("memory limit is not enforced"));
    assert_eq!(told, sandbox.ready.cgroups.is_empty(), "{:?}", sandbox.ready.downgrades);
}

#[test]
fn with_root_nothing_is_downgraded() {
    if tests_run_as_root() {
        let stage = Stage::new();
        let mut wanted = plan(&stage, &["sleep"]);
        wanted.limits.cpu_percent = Some(50);
        let sandbox = start(&stage, As::Root, &wanted);
        // What an older kernel's Landlock lacks is told; that nothing of it lacks here, the tests in `wall.rs` insist.
        let told: Vec<_> = sandbox.ready.downgrades.iter().filter(|text| !text.starts_with("Landlock ")).collect();
        assert_eq!(told, Vec::<&String>::new());
        assert!(!sandbox.ready.cgroups.is_empty());
        for folder in sandbox.ready.cgroups.iter().flat_map(|folder| [Some(folder.as_path()), folder.parent()]).flatten() {
            let mode = fs::metadata(folder).expect("a folder").permissions().mode();
            assert_eq!(mode & 0o022, 0, "{} can be written to by others", folder.display());
        }
        let quota = sandbox.ready.cgroups.iter().find_map(|folder| {
            fs::read_to_string(folder.join("cpu.cfs_quota_us")).or_else(|_| fs::read_to_string(folder.join("cpu.max"))).ok()
        });
        assert!(quota.is_some_and(|text| text.starts_with("50000")));
    }
}

#[test]
fn a_loop_of_forks_is_held() {
    let stage = Stage::new();
    for who in everyone() {
        let mut wanted = plan(&stage, &["processes", "200"]);
        wanted.limits.pids = 20;
        let answer = start(&stage, *who, &wanted).answer();
        let made = number(&answer, "made");
        assert!((15..=20).contains(&made), "{who:?}: {made} processes");
        assert_eq!(answer.get("errno"), Some(&json!(libc::EAGAIN)));
    }
}

#[test]
fn a_writer_stops_at_the_folders_size() {
    let stage = Stage::new();
    for who in everyone() {
        let answer = start(&stage, *who, &plan(&stage, &["fill", "/space/file", "64"])).answer();
        assert!(number(&answer, "written") <= 8, "{who:?}: {answer}");
        assert_eq!(answer.get("errno"), Some(&json!(libc::ENOSPC)));
        let answer = start(&stage, *who, &plan(&stage, &["fill", "/dev/shm/file", "128"])).answer();
        assert_eq!(answer.get("errno"), Some(&json!(libc::ENOSPC)), "{who:?}");
        let answer = start(&stage, *who, &plan(&stage, &["create", "/space", "1000"])).answer();
        assert!(number(&answer, "made") < 64, "{who:?}: {answer}");
        assert_eq!(answer.get("errno"), Some(&json!(libc::ENOSPC)));
    }
}

#[test]
fn a_file_stops_at_its_size() {
    let stage = Stage::new();
    for who in everyone() {
        let mut wanted = plan(&stage, &["fill", "/space/file", "6"]);
        wanted.limits.file_size_bytes = Some(2 << 20);
        let end = start(&stage, *who, &wanted).end();
        assert_eq!(end.signal, Some(libc::SIGXFSZ), "{who:?}");
    }
}

/// Version 1 of control groups counts sockets apart; only there a sandbox goes on when they have used up their part.
fn sockets_are_counted_apart(ready: &Ready) -> bool {
    let limits = ready.cgroups.iter().filter_map(|folder| fs::read_to_string(folder.join(SOCKETS_LIMIT)).ok());
    let limits: Vec<String> = limits.collect();
    assert!(limits.iter().all(|limit| limit.trim() == (32_u64 << 20).to_string()), "{limits:?}");
    !limits.is_empty()
}

/// Fills sockets, which takes calls that only code has: it accepts its own connections.
fn hoard(stage: &Stage, kind: &str, megabytes: &str) -> Plan {
    Plan { calls: Calls::Code, ..plan(stage, &["hoard", kind, megabytes]) }
}

const SOCKETS_LIMIT: &str = "memory.kmem.tcp.limit_in_bytes";

#[test]
fn what_sockets_keep_together_is_bounded() {
    let stage = Stage::new();
    if !tests_run_as_root() || !sockets_are_counted_apart(&start(&stage, As::Root, &plan(&stage, &["exit", "0"])).ready) {
        return what_a_connection_keeps_is_bounded();
    }
    for kind in ["tcp", "tcp_wide", "udp"] {
        let answer = start(&stage, As::Root, &hoard(&stage, kind, "400")).answer();
        let kept = number(&answer, "kept");
        assert!((20 << 20..64 << 20).contains(&kept), "{kind}: {answer}");
    }
}

#[test]
fn what_local_sockets_keep_counts_as_memory() {
    if tests_run_as_root() {
        let stage = Stage::new();
        let mut wanted = hoard(&stage, "unix", "400");
        wanted.limits.memory_bytes = 64 << 20;
        let end = start(&stage, As::Root, &wanted).end();
        assert_eq!((end.signal, end.oom_killed), (Some(libc::SIGKILL), true));
    }
}

#[test]
fn what_a_connection_keeps_is_bounded() {
    let stage = Stage::new();
    for who in everyone() {
        let answer = start(&stage, *who, &hoard(&stage, "tcp", "20")).answer();
        let most = number(&answer, "most");
        assert!((64 << 10..1 << 20).contains(&most), "{who:?}: {answer}");
    }
}

/// What one sandbox uses is counted for it alone, by its control groups, which only root can make here.
#[test]
fn what_a_sandbox_uses_is_told_from_outside_and_not_charged_to_its_neighbour() {
    if tests_run_as_root() {
        let stage = Stage::new();
        let (mut idle, mut busy) =
            (start(&stage, As::Root, &plan(&stage, &["sleep"])), start(&stage, As::Root, &plan(&stage, &["burn"])));
        eventually("processor time is counted", || busy.usage().cpu_us.is_some_and(|used| used > 500_000));
        assert!(idle.usage().cpu_us.is_some_and(|used| used < 250_000), "{:?}", idle.usage());
        let none = |usage: Usage| Usage { cpu_us: None, ..usage };
        let nothing = Usage { oom_kills: Some(0), forks_refused: Some(0), ..Usage::default() };
        assert_eq!((none(idle.usage()), none(busy.usage())), (nothing.clone(), nothing.clone()));

        let mut wanted = plan(&stage, &["processes", "200"]);
        wanted.limits.pids = 20;
        assert!(start(&stage, As::Root, &wanted).end().usage.forks_refused.is_some_and(|refused| refused > 0));
        let mut wanted = plan(&stage, &["allocate", "400"]);
        wanted.limits.memory_bytes = 64 << 20;
        assert!(start(&stage, As::Root, &wanted).end().usage.oom_kills.is_some_and(|kills| kills > 0));
        assert_eq!(none(idle.usage()), nothing);
    }
}

#[test]
fn a_folder_that_is_full_is_told_from_outside() {
    let stage = Stage::new();
    for who in everyone() {
        let full = |words: &[&str]| start(&stage, *who, &plan(&stage, words)).end().usage.full;
        assert_eq!(full(&["fill", "/space/file", "64"]), ["/space"], "{who:?}: bytes");
        assert_eq!(full(&["create", "/space", "1000"]), ["/space"], "{who:?}: files");
        assert_eq!(full(&["fill", "/dev/shm/file", "128"]), ["/dev/shm"], "{who:?}");
        assert_eq!(full(&["fill", "/space/file", "6"]), [""; 0], "{who:?}: there is still room");
    }
}
