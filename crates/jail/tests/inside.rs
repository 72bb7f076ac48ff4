//! What an agent finds inside, and what it tries in vain.

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use common::{As, Stage, everyone, plan, start};
use jail::{Isolation, Mount, Plan};
use serde_json::{Value, json};

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("{name} is not among {value}"))
}

#[test]
fn the_agent_is_nobody_with_nothing() {
    let stage = Stage::new();
    let mut probe = std::process::Command::new(stage.probe());
    probe.arg("facts");
    let outside = common::run(probe);
    let outside: Value = serde_json::from_slice(&outside.stdout).unwrap_or_else(|error| panic!("{error}: {outside:?}"));
    assert!(outside.get("keyring").and_then(Value::as_i64).is_some_and(|keyring| keyring > 0), "outside there is one");
    for who in everyone() {
        let wanted = plan(&stage, &["facts"]);
        let facts = start(&stage, *who, &wanted).answer();
        let status = facts.get("status").expect("a status");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(text(status, set), "0000000000000000", "{who:?}: {set}");
        }
        assert_eq!(facts.get("bounding"), Some(&json!(0)), "{who:?}");
        for kind in ["user", "pid", "mnt", "net", "uts", "ipc", "cgroup"] {
            let of = |facts: &Value| facts.pointer(&format!("/namespaces/{kind}")).and_then(Value::as_str).map(str::to_owned);
            assert!(of(&facts).is_some() && of(&facts) != of(&outside), "{who:?}: {kind} is the host's");
        }
        assert_eq!(text(status, "NoNewPrivs"), "1");
        assert_eq!(text(status, "Seccomp"), "2", "{who:?}: its calls are filtered");
        assert_eq!(text(status, "Uid"), "1000\t1000\t1000\t1000");
        assert_eq!(text(status, "Gid"), "1000\t1000\t1000\t1000");
        assert_eq!(text(status, "Groups"), "", "{who:?}: no supplementary groups");
        assert_eq!(text(status, "Umask"), "0077");
        assert_eq!(text(&facts, "uid_map").split_whitespace().count(), 3, "one user only");
        assert_eq!(facts.pointer("/limits/core"), Some(&json!(0)));
        assert_eq!(facts.pointer("/limits/nofile"), Some(&json!(wanted.limits.files_open)));
        assert_eq!(facts.get("session"), facts.get("pid"), "it leads its own session");
        assert_eq!(facts.get("keyring"), Some(&json!(-1)), "{who:?}: keys can't be asked for");
    }
}

#[test]
fn groups_that_only_root_could_drop_are_told() {
    if common::tests_run_as_root() {
        let stage = Stage::new();
        let told = |who| {
            let sandbox = start(&stage, who, &plan(&stage, &["exit", "0"]));
            sandbox.ready.downgrades.iter().any(|text| text.contains("supplementary groups"))
        };
        assert!(told(As::UserInGroup) && !told(As::User) && !told(As::Root));
    }
}

#[test]
fn each_first_process_is_a_user_of_its_own_on_the_host() {
    if common::tests_run_as_root() {
        let stage = Stage::new();
        let mut seen = BTreeSet::new();
        for _ in 0..2 {
            let wanted = plan(&stage, &["sleep"]);
            let sandbox = start(&stage, As::Root, &wanted);
            let status = fs::read_to_string(format!("/proc/{}/status", sandbox.ready.init_pid)).expect("it lives");
            let own = wanted.host_uid.expect("named") + 100_000;
            for kind in ["Uid", "Gid"] {
                assert!(status.contains(&format!("{kind}:\t{own}\t{own}\t{own}\t{own}\n")), "{status}");
            }
            assert!(status.contains("Groups:\t \n"), "{status}");
            assert!(seen.insert(own));
        }
    }
}

#[test]
fn no_signal_is_ignored_or_blocked_from_before() {
    let stage = Stage::new();
    for who in everyone() {
        let mut wanted = plan(&stage, &[]);
        // Not the probe: its language's start-up code ignores a signal by itself.
        wanted.argv = ["/usr/bin/cat", "/proc/self/status"].map(str::to_owned).to_vec();
        let mut sandbox = start(&stage, *who, &wanted);
        let mut status = String::new();
        sandbox.stdout.read_to_string(&mut status).expect("text");
        for set in ["SigBlk", "SigIgn"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000\n")), "{who:?}: {status}");
        }
    }
}

#[test]
fn the_agent_gets_exactly_what_the_plan_says() {
    let stage = Stage::new();
    for who in everyone() {
        let wanted = plan(&stage, &["facts"]);
        let facts = start(&stage, *who, &wanted).answer();
        assert_eq!(facts.get("env"), Some(&json!(BTreeMap::from([("ONLY", "this=1")]))), "{who:?}");
        assert_eq!(text(&facts, "cwd"), "/space");
        assert_eq!(text(&facts, "hostname"), "sandbox");
        // Descriptor 3 is the folder that the probe lists.
        assert_eq!(facts.get("fds"), Some(&json!(["0", "1", "2", "3"])), "{who:?}");
        assert_eq!(facts.get("devices_work"), Some(&json!(true)));
        let dev = json!(["fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero"]);
        assert_eq!(facts.get("dev"), Some(&dev));
        let interfaces: Vec<&str> = text(&facts, "interfaces").lines().skip(2).collect();
        assert_eq!(interfaces.len(), 1, "{who:?}: {interfaces:?}");
        assert!(interfaces.iter().all(|line| line.trim().starts_with("lo:")), "{interfaces:?}");
    }
}

#[test]
fn the_host_is_not_there() {
    let stage = Stage::new();
    for who in everyone() {
        let facts = start(&stage, *who, &plan(&stage, &["facts"])).answer();
        let present = facts.get("present").and_then(Value::as_object).expect("a list");
        assert!(present.len() >= 9 && present.values().all(|there| there == false), "{who:?}: {present:?}");
        let processes = facts.get("processes").and_then(Value::as_array).expect("a list");
        let own = facts.get("pid").map(ToString::to_string).expect("a number");
        let numbers: Vec<&str> =
            processes.iter().filter_map(Value::as_str).filter(|name| name.bytes().all(|b| b.is_ascii_digit())).collect();
        assert_eq!(numbers, [own.as_str()], "{who:?}: only itself, not even the first process");
        for line in text(&facts, "mounts").lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, _, _, _, at, options, ..] = fields.as_slice() else { panic!("{line}") };
            let writable = ["/space", "/proc", "/dev/shm"].contains(at);
            assert!(writable || options.starts_with("ro"), "{who:?}: {line}");
            assert!(options.contains("nosuid"), "{who:?}: {line}");
        }
    }
}

#[test]
fn every_attack_is_refused() {
    let stage = Stage::new();
    for who in everyone() {
        let sandbox = start(&stage, *who, &plan(&stage, &["attack"]));
        // An older kernel's Landlock leaves to namespaces what a newer one rules too.
        let about_namespaces = |text: &&String| text.contains("namespace") && !text.starts_with("Landlock ");
        assert_eq!(sandbox.ready.downgrades.iter().find(about_namespaces), None);
        let answer = sandbox.answer();
        let part = |name: &str| answer.get(name).cloned().unwrap_or_default();
        assert_odd_ways_are_barred(*who, &part("sockets"), &part("calls"));
        let results = part("attacks");
        let results = results.as_object().expect("an object");
        assert!(results.len() >= 20);
        for (attack, result) in results {
            match attack.as_str() {
                // What counts is that the sandbox lived on to answer.
                "kill_first_effect" => {}
                _ => assert!(result.is_number(), "{who:?}: {attack} gave {result}"),
            }
        }
        let errno = |attack: &str| results.get(attack).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
        assert_eq!(errno("unshare_user"), Some(libc::EPERM), "{who:?}");
        assert_eq!(errno("bind_tcp_80"), Some(libc::EACCES));
        assert_eq!(errno("write_usr"), Some(libc::EROFS));
        assert_eq!(errno("write_root"), Some(libc::EROFS));
        assert_eq!(errno("mount_tmpfs"), Some(libc::EPERM));
    }
}

/// Sockets beyond the sandbox's network, and calls around the filter that refuses them.
fn assert_odd_ways_are_barred(who: As, sockets: &Value, calls: &Value) {
    let sockets = sockets.as_object().expect("an object");
    assert!(sockets.len() >= 25);
    for (name, result) in sockets {
        assert_eq!(result, &json!(libc::EAFNOSUPPORT), "{who:?}: {name}");
    }
    assert_eq!(calls.get("io_uring"), Some(&json!(libc::ENOSYS)), "{who:?}");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(calls.get("x32"), Some(&json!(libc::SIGSYS)), "{who:?}");
        // A kernel without the old architecture's calls has another word for the same death.
        let of_old = calls.get("i386").and_then(Value::as_i64);
        assert!([libc::SIGSYS, libc::SIGSEGV].map(|signal| Some(i64::from(signal))).contains(&of_old), "{who:?}: {of_old:?}");
    }
}

#[test]
fn sockets_are_judged_in_both_isolations_and_plain_ones_work() {
    let stage = Stage::new();
    for who in everyone() {
        for wanted in [plan(&stage, &["sockets"]), network_only(&stage, &["sockets"])] {
            let answer = start(&stage, *who, &wanted).answer();
            let part = |name: &str| answer.get(name).cloned().unwrap_or_default();
            assert_odd_ways_are_barred(*who, &part("odd"), &part("calls"));
            let plain = part("plain");
            let plain = plain.as_object().expect("an object");
            assert!(plain.len() >= 8);
            for (name, result) in plain {
                assert_eq!(result, "done", "{who:?}: {:?}: {name}", wanted.isolation);
            }
        }
    }
}

#[test]
fn files_are_made_covered_and_owned_as_described() {
    let stage = Stage::new();
    fs::create_dir(stage.folder.join("bound")).expect("a folder");
    fs::write(stage.folder.join("bound/old"), "old").expect("a file");
    fs::write(stage.folder.join("bound/kept"), "kept").expect("a file");
    for who in everyone() {
        let paths = ["/etc/passwd", "/bound/old", "/bound/kept", "/space/deep/seed", "/link"];
        let mut wanted = plan(&stage, &[&["read"], paths.as_slice()].concat());
        let file = |target: &str, content: &str| Mount::File { target: target.into(), content: content.into(), mode: 0o644 };
        wanted.mounts.extend([
            file("/etc/passwd", "agent:x:1000:1000::/space:/bin/sh\n"),
            Mount::BindRo { source: stage.folder.join("bound"), target: "/bound".into() },
            file("/bound/old", "new"),
            file("/space/deep/seed", "seed"),
            Mount::Symlink { target: "/link".into(), points_to: "etc/passwd".into() },
        ]);
        let answer = start(&stage, *who, &wanted).answer();
        let part = |index: usize, name: &str| answer.get(index).and_then(|file| file.get(name)).cloned().unwrap_or_default();
        assert_eq!(part(0, "content"), "agent:x:1000:1000::/space:/bin/sh\n", "{who:?}");
        assert_eq!(part(1, "content"), "new");
        assert_eq!(part(2, "content"), "kept");
        assert_eq!(part(3, "content"), "seed");
        assert_eq!(part(4, "content"), part(0, "content"));
        for index in [0, 1, 2] {
            assert!(part(index, "append").is_number(), "{who:?}: file {index} can't be written");
        }
        assert_eq!(part(3, "append"), "done", "what stands in the agent's folder is the agent's");
        assert_eq!(part(3, "owner"), 1000);
        assert_eq!(part(3, "mode"), 0o644);
    }
    assert_eq!(fs::read_to_string(stage.folder.join("bound/old")).expect("still there"), "old");
}

#[test]
fn the_callers_file_mask_changes_nothing() {
    let stage = Stage::new();
    for who in everyone() {
        let [narrow, usual, wide] = ["077", "022", "000"].map(|mask| {
            let mut wanted = plan(&stage, &[]);
            let script =
                "read _; umask; cd /; find / -xdev -maxdepth 3 ! -path '/usr/*' ! -path '/proc/*' -printf '%m %p\\n' | sort";
            wanted.argv = ["/usr/bin/sh", "-c", script].map(str::to_owned).to_vec();
            wanted.cwd = "/".into();
            wanted.mounts.push(Mount::File { target: "/made/deep/file".into(), content: "x".into(), mode: 0o644 });
            wanted.mounts.push(Mount::Tmpfs { target: "/made/open".into(), size_bytes: 4096, inodes: 8, mode: 0o777 });
            let launcher = format!("umask {mask}; exec \"$0\"");
            let started = common::launch(&stage, *who, &wanted, &["/usr/bin/sh", "-c", &launcher]);
            let mut sandbox = started.unwrap_or_else(|failure| panic!("{who:?}: {mask}: {failure}"));
            let groups = sandbox.ready.cgroups.iter().map(|folder| fs::metadata(folder).expect("there").mode());
            let groups: Vec<u32> = groups.collect();
            sandbox.stdin.write_all(b"\n").expect("the script goes on");
            let mut seen = String::new();
            sandbox.stdout.read_to_string(&mut seen).expect("text");
            (seen, groups, sandbox.end().code)
        });
        assert!(usual.0.starts_with("0077\n") && usual.0.contains("644 /made/deep/file\n"), "{who:?}: {}", usual.0);
        assert!(usual.0.contains("755 /made/deep\n") && usual.0.contains("777 /made/open\n"), "{who:?}: {}", usual.0);
        assert_eq!((&narrow, &wide), (&usual, &usual), "{who:?}");
    }
}

#[test]
fn streams_are_the_agents_own() {
    let stage = Stage::new();
    for who in everyone() {
        let mut wanted = plan(&stage, &[]);
        wanted.argv = ["/usr/bin/sh", "-c", "cat; echo complaint >&2"].map(str::to_owned).to_vec();
        let mut sandbox = start(&stage, *who, &wanted);
        sandbox.stdin.write_all(b"hello").expect("written");
        drop(sandbox.stdin);
        let (mut out, mut err) = (String::new(), String::new());
        sandbox.stdout.read_to_string(&mut out).expect("end of file while the jail still runs");
        sandbox.stderr.read_to_string(&mut err).expect("end of file");
        assert_eq!((out.as_str(), err.as_str()), ("hello", "complaint\n"), "{who:?}");
    }
}

fn network_only(stage: &Stage, words: &[&str]) -> Plan {
    let mut wanted = plan(stage, words);
    wanted.isolation = Isolation::NetworkOnly;
    wanted.mounts.clear();
    wanted.host_uid = None;
    wanted.cwd = stage.folder.clone();
    if let Some(program) = wanted.argv.first_mut() {
        *program = stage.probe().to_string_lossy().into_owned();
    }
    wanted
}

#[test]
fn network_only_keeps_the_files_and_the_user_but_not_the_network() {
    let stage = Stage::new();
    for who in everyone() {
        let facts = start(&stage, *who, &network_only(&stage, &["facts"])).answer();
        let user = match who {
            As::Root => 0,
            As::User if common::tests_run_as_root() => 65534,
            As::User | As::UserInGroup => rustix::process::geteuid().as_raw(),
        };
        let status = facts.get("status").expect("a status");
        assert!(text(status, "Uid").starts_with(&format!("{user}\t")), "{who:?}: {}", text(status, "Uid"));
        assert_eq!(text(status, "CapEff"), "0000000000000000");
        assert_eq!(text(status, "CapBnd"), "0000000000000000");
        assert_eq!(text(status, "NoNewPrivs"), "1");
        assert_eq!(text(status, "Seccomp"), "2", "{who:?}: its calls are filtered");
        assert_eq!(facts.pointer("/present/~1sys"), Some(&json!(true)));
        assert_eq!(text(&facts, "interfaces").lines().skip(2).count(), 1, "{who:?}");
    }
}
