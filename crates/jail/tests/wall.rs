//! The list of system calls and the rules on files, seen from inside.

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use common::{As, Sandbox, Stage, everyone, plan, start};
use jail::{Calls, Isolation, Plan};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

const LEVELS: [Calls; 2] = [Calls::Agent, Calls::Code];

fn at(calls: Calls, stage: &Stage, words: &[&str]) -> Plan {
    Plan { calls, ..plan(stage, words) }
}

fn network_only(stage: &Stage, words: &[&str]) -> Plan {
    let argv = [stage.probe().to_string_lossy().into_owned()].into_iter().chain(words.iter().map(|word| (*word).to_owned()));
    let isolation = Isolation::NetworkOnly;
    Plan { isolation, mounts: Vec::new(), host_uid: None, cwd: "/".into(), argv: argv.collect(), ..plan(stage, words) }
}

#[test]
fn calls_that_are_not_listed_are_refused() {
    let stage = Stage::new();
    for who in everyone() {
        for level in LEVELS {
            for wanted in [at(level, &stage, &["calls"]), Plan { calls: level, ..network_only(&stage, &["calls"]) }] {
                let answer = start(&stage, *who, &wanted).answer();
                for (part, least, errno) in
                    [("refused", 50, libc::EPERM), ("absent", 10, libc::ENOSYS), ("judged", 8, libc::EPERM)]
                {
                    let results = answer.get(part).and_then(Value::as_object).expect("an object");
                    assert!(results.len() >= least, "{part}: {}", results.len());
                    for (call, result) in results {
                        assert_eq!(result, &json!(errno), "{who:?}: {level:?}: {:?}: {part} {call}", wanted.isolation);
                    }
                }
            }
        }
    }
}

#[test]
fn a_plan_that_does_not_say_gets_the_fewer_calls() {
    let stage = Stage::new();
    let mut plan = serde_json::to_value(at(Calls::Code, &stage, &[])).expect("a plan is a value");
    assert_eq!(plan.as_object_mut().and_then(|fields| fields.remove("calls")), Some(json!("code")));
    let plan: Plan = serde_json::from_value(plan).expect("a plan without the field");
    assert_eq!(plan.calls, Calls::Agent);
}

/// Opens a local socket by an abstract name in a sandbox's network, as somebody who is not in the sandbox. Takes root.
fn listen_in_network_of(sandbox: &Sandbox) -> Option<UnixListener> {
    if !common::tests_run_as_root() {
        return None;
    }
    let network = std::fs::File::open(format!("/proc/{}/ns/net", sandbox.ready.init_pid)).expect("it lives");
    let listen = move || {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(LinkNameSpaceType::Network)).expect("root enters it");
        UnixListener::bind_addr(&SocketAddr::from_abstract_name("outside").expect("a name")).expect("a socket")
    };
    Some(std::thread::spawn(listen).join().expect("listens"))
}

fn files(stage: &Stage, who: As, wanted: &Plan) -> (Value, bool) {
    let mut sandbox = start(stage, who, wanted);
    let told: Vec<&String> = sandbox.ready.downgrades.iter().filter(|text| text.contains("Landlock")).collect();
    assert!(told.is_empty(), "these tests need a kernel with all of Landlock that is used: {told:?}");
    let listener = listen_in_network_of(&sandbox);
    sandbox.stdin.write_all(b"go\n").expect("the probe waits");
    (sandbox.answer(), listener.is_some())
}

#[test]
fn rules_on_files_and_signals_hold_whatever_the_mounts_allow() {
    let stage = Stage::new();
    for who in everyone() {
        for level in LEVELS {
            let (answer, listened) = files(&stage, *who, &at(level, &stage, &["files", "/space"]));
            let is = |what: &str, expected: Value| assert_eq!(answer.get(what), Some(&expected), "{who:?}: {level:?}: {what}");
            for allowed in
                ["write_folder", "truncate", "move_to_other_folder", "link", "pipe", "shared_memory", "write_null", "spawn"]
            {
                is(allowed, json!("done"));
            }
            let own_programs = if level == Calls::Code { json!("done") } else { json!(libc::EACCES) };
            // The executable that has tools only serves nobody.
            is("local_socket", if level == Calls::Code { json!("done") } else { json!(libc::ENOSYS) });
            is("execute_own", own_programs.clone());
            is("execute_shared_memory", own_programs);
            is("write_proc", json!(libc::EACCES));
            is("signal_first", json!(libc::EPERM));
            is("abstract_socket", json!(if listened { libc::EPERM } else { libc::ECONNREFUSED }));
        }
    }
}

#[test]
fn signals_and_abstract_sockets_are_kept_in_without_own_files_too() {
    let stage = Stage::new();
    for who in everyone() {
        let (answer, listened) = files(&stage, *who, &network_only(&stage, &["files", "/nowhere"]));
        assert_eq!(answer.get("signal_first"), Some(&json!(libc::EPERM)), "{who:?}");
        let socket = if listened { libc::EPERM } else { libc::ECONNREFUSED };
        assert_eq!(answer.get("abstract_socket"), Some(&json!(socket)), "{who:?}");
        assert_eq!(answer.get("write_proc"), Some(&json!("done")), "{who:?}: files are not ruled");
    }
}

/// What code needs runs to its end with `code`: the list is long enough.
#[test]
fn shell_git_python_and_node_work() {
    const SCRIPT: &str = "set -e; export HOME=/space PATH=/usr/bin:/bin; cd /space
        # Otherwise git asks for the host's domain, and here nobody answers.
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        mkdir d; echo x | tee d/a > /dev/null; cp -a d e; mv e/a e/b; test \"$(cat e/b)\" = x; sleep 0.01 & wait; rm -r e
        if command -v git > /dev/null; then git init -q r; cd r; echo 1 > f; git add f
          git commit -qm one; git checkout -qb other; git gc -q; git clone -q . ../c; cd ..; fi
        if test -x /usr/bin/python3; then /usr/bin/python3 -c 'import subprocess, threading, socket, tempfile, multiprocessing as m
t = threading.Thread(target=lambda: None); t.start(); t.join()
assert subprocess.run([\"true\"]).returncode == 0
q = m.get_context(\"fork\").Queue(); p = m.get_context(\"fork\").Process(target=q.put, args=(1,)); p.start(); assert q.get() == 1; p.join()'; fi
        if test -x /usr/bin/node; then node -e 'const {execSync} = require(\"child_process\"), {Worker} = require(\"worker_threads\");
new Worker(\"0\", {eval: true}); execSync(\"true\"); require(\"fs\").watch(\".\").close()'; fi
        echo complete";
    let stage = Stage::new();
    for who in everyone() {
        let mut wanted = at(Calls::Code, &stage, &[]);
        wanted.argv = ["/usr/bin/bash", "-c", SCRIPT].map(str::to_owned).to_vec();
        wanted.limits.memory_bytes = 1 << 30;
        if let Some(jail::Mount::Tmpfs { inodes, .. }) = wanted.mounts.last_mut() {
            *inodes = 1024;
        }
        let mut sandbox = start(&stage, *who, &wanted);
        let end = sandbox.end();
        let [out, err] = [&mut sandbox.stdout as &mut dyn std::io::Read, &mut sandbox.stderr]
            .map(|stream| std::io::read_to_string(stream).expect("text"));
        assert_eq!((out.as_str(), end.code), ("complete\n", Some(0)), "{who:?}: {err}");
    }
}
