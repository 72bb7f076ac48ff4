//! `hexward run` as a developer types it: the real programs, as root where the tests run as root, and always as an
//! ordinary user.

mod hosts;
mod project;
mod server;

use project::{As, NOBODY, Project, everyone, is_root, told};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_commands_code_is_kept_and_bad_input_has_its_own() {
    for &who in everyone() {
        let project = Project::new(who);
        project.write("plain", "no program");
        for (code, command) in [
            (0, &["true"][..]),
            (7, &["sh", "-c", "exit 7"]),
            (143, &["sh", "-c", "kill -TERM $$"]),
            (127, &["no-such-command"]),
            (127, &["./no-such-file"]),
            (126, &["./plain"]),
        ] {
            let arguments: Vec<&str> = ["--discard", "--"].iter().chain(command).copied().collect();
            let (got, _, err) = project.run(&arguments);
            assert_eq!(got, Some(code), "{who:?} {command:?}: {err}");
        }
        let mut home = project.command(&["--", "true"]);
        let (code, _, err) = told(&home.env("HOME", &project.folder).output().expect("it runs"));
        assert!(code == Some(125) && err.contains("home folder"), "{err}");
        for folder in ["/", "/usr/bin"] {
            let (code, _, err) = told(&project.command(&["--", "true"]).current_dir(folder).output().expect("it runs"));
            assert!(code == Some(125) && err.contains("not a project"), "{folder}: {err}");
        }
    }
}

#[test]
fn a_signal_ends_the_command_with_everything_it_started() {
    for &who in everyone() {
        let project = Project::new(who);
        let mut child = project.command(&["--discard", "--", "sh", "-c", "sleep 300 & echo go; wait"]);
        let mut child = child.stdout(Stdio::piped()).spawn().expect("it runs");
        let mut said = [0; 3];
        child.stdout.as_mut().expect("piped").read_exact(&mut said).expect("it speaks");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).expect("alive");
        assert_eq!(child.wait().expect("it ends").code(), Some(130), "{who:?}");
    }
}

#[test]
fn bytes_pass_through_pipes_unbroken_both_ways() {
    const BYTES: usize = 10_000_000;
    for &who in everyone() {
        let project = Project::new(who);
        let mut child = project.command(&["--", "cat"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let sent: Vec<u8> = (0..BYTES).map(|i| u8::try_from(i % 251).expect("small")).collect();
        let (mut stdin, to_send) = (child.stdin.take().expect("piped"), sent.clone());
        let writer = std::thread::spawn(move || stdin.write_all(&to_send));
        let mut got = Vec::new();
        child.stdout.take().expect("piped").read_to_end(&mut got).expect("read");
        writer.join().expect("no panic").expect("all was taken");
        assert!(child.wait().expect("it ends").success());
        assert!(got == sent, "{who:?}: {} bytes came back", got.len());
    }
}

const CHANGES: &str = "echo after > changed; rm gone; rm -r folder; mkdir folder; echo y > folder/other; echo new > new; \
     chmod 4755 new; mkdir -p .git/hooks .github/workflows; echo evil > .git/hooks/pre-commit; echo evil > .github/workflows/x; \
     echo evil > .envrc; ln -s /etc/passwd out; mkfifo pipe";

#[test]
fn nothing_is_applied_without_being_asked_for() {
    for &who in everyone() {
        let project = Project::new(who);
        for option in ["--list", "--discard", "--env=NOTHING"] {
            let (code, _, err) = project.shell(option, CHANGES);
            assert_eq!(code, Some(0), "{err}");
            assert_eq!(project.read("changed").as_deref(), Some("before"), "{option}");
            assert_eq!(project.read("folder/deep/file").as_deref(), Some("deep"), "{option}");
            assert!(project.read("new").is_none() && project.read("gone").is_some(), "{option}");
            assert_eq!(err.contains("~ changed  6 bytes"), option != "--discard", "{err}");
        }
        let (_, _, err) = project.shell("--env=NOTHING", CHANGES);
        assert!(err.contains("without a terminal"), "it is said: {err}");
    }
}

#[test]
fn changes_are_applied_but_dangerous_ones_only_when_named() {
    for &who in everyone() {
        let project = Project::new(who);
        let (code, _, err) = project.shell("--apply", CHANGES);
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(project.read("changed").as_deref(), Some("after\n"));
        assert_eq!((project.read("new").as_deref(), project.read("kept").as_deref()), (Some("new\n"), Some("kept")));
        assert!(project.read("gone").is_none() && project.read("folder/deep/file").is_none(), "{err}");
        assert_eq!(project.read("folder/other").as_deref(), Some("y\n"));
        let mode = fs::metadata(project.folder.join("new")).expect("there").permissions().mode();
        assert_eq!(mode & 0o7700, 0o700, "executable, and not as somebody else");
        for dangerous in [".git/hooks/pre-commit", ".github/workflows/x", ".envrc"] {
            assert!(project.read(dangerous).is_none(), "{dangerous} was applied");
            assert!(err.contains(dangerous), "{dangerous} was not told: {err}");
        }
        assert!(fs::symlink_metadata(project.folder.join("out")).is_err(), "a link out of the project was applied");
        assert!(fs::symlink_metadata(project.folder.join("pipe")).is_err(), "a pipe was applied");
        let (code, _, err) = project.shell("--apply-dangerous", CHANGES.replace("rm gone; ", "").as_str());
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(project.read(".git/hooks/pre-commit").as_deref(), Some("evil\n"));
        assert_eq!(fs::read_link(project.folder.join("out")).expect("a link"), Path::new("/etc/passwd"));
    }
}

#[test]
fn a_link_of_the_real_folder_is_never_written_through() {
    for &who in everyone() {
        let project = Project::new(who);
        let outside = Project::new(who);
        symlink(&outside.folder, project.folder.join("link")).expect("a link");
        project.own();
        let (_, _, err) = project.shell("--apply", "rm link; mkdir link; echo evil > link/kept");
        assert_eq!(outside.read("kept").as_deref(), Some("kept"), "{err}");
        assert_eq!(outside.read("changed").as_deref(), Some("before"), "{err}");
    }
}

#[test]
fn what_somebody_else_changed_meanwhile_is_left_alone() {
    for &who in everyone() {
        let project = Project::new(who);
        let mut child =
            project.command(&["--apply", "--", "sh", "-c", "echo mine > changed; echo mine > new; echo go; read line"]);
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("it runs");
        let mut said = [0; 3];
        child.stdout.as_mut().expect("piped").read_exact(&mut said).expect("it speaks");
        project.write("changed", "theirs");
        project.write("new", "theirs");
        child.stdin.take().expect("piped").write_all(b"\n").expect("it listens");
        let (code, _, err) = told(&child.wait_with_output().expect("it ends"));
        assert_eq!(project.read("changed").as_deref(), Some("theirs"), "{err}");
        assert_eq!(project.read("new").as_deref(), Some("theirs"), "{err}");
        assert!(code == Some(125) && err.contains("conflict: changed"), "{code:?} {err}");
    }
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    for &who in everyone() {
        let project = Project::new(who);
        let (_, _, err) = project.shell("--apply", "touch \"$(printf 'a\\033[2J\\nb')\" \"$(printf '\\377')\" -- -rf '*'");
        assert!(!err.contains('\u{1b}') && err.contains("a\\u{1b}[2J\\u{a}b") && err.contains("\\xff"), "{err}");
        assert!(project.read("a\u{1b}[2J\nb").is_some(), "it is a file like any other");
    }
}

#[test]
fn neither_secrets_nor_sockets_nor_the_rest_of_the_host_are_inside() {
    for &who in everyone() {
        let project = Project::new(who);
        let beside = Project::new(who);
        let script = format!(
            "env; ls /run /var/run /root /home/* {} /etc/shadow /sys 2>&1; echo; ls -A ~; test -w /usr || echo read-only",
            beside.folder.display()
        );
        let (_, out, err) = project.shell("--discard", &script);
        assert!(!out.contains("s3cret") && !out.contains("kept") && out.contains("read-only"), "{out}{err}");
        for missing in ["'/run'", "'/var/run'", "'/root'", "'/etc/shadow'", "'/sys'"] {
            assert!(out.contains(&format!("{missing}: No such file")), "{missing}: {out}");
        }
        let (_, out, _) = project.run(&["--discard", "--env", "SECRET_OF_MINE", "--", "env"]);
        assert!(out.contains("SECRET_OF_MINE=s3cret"), "what was named is passed on");
    }
}

#[test]
fn the_network_is_denied_and_what_was_wanted_is_told() {
    for &who in everyone() {
        let project = Project::new(who);
        let (code, _, err) = project.shell("--discard", "getent hosts secret.attacker.example");
        assert_ne!(code, Some(0));
        assert!(err.contains("denied:") && err.contains("secret.attacker.example"), "{err}");
    }
}

#[test]
fn a_full_quota_ends_the_writing_and_not_the_host() {
    for &who in everyone() {
        let project = Project::new(who);
        let (code, _, err) = project.shell(
            "--discard",
            "i=0; while [ $i -lt 40 ]; do truncate -s 0 f; i=$((i+1)); done; \
             fallocate -l 2G big 2>&1; df -k . | tail -1",
        );
        assert_eq!(code, Some(0), "{err}");
        assert!(!project.folder.join("big").exists());
        let (_, out, _) = project.shell("--discard", "fallocate -l 2G big 2>&1");
        assert!(out.contains("No space left"), "{out}");
        let (_, _, err) = project.shell("--discard", "head -c 80M /dev/zero >/var/tmp/big 2>&1");
        assert!(err.contains("limit reached: nothing more fits into /var/tmp\n"), "{err}");
        let (_, _, err) = project.shell("--discard", "head -c 8M /dev/zero >/var/tmp/big 2>&1");
        assert!(!err.contains("limit reached"), "{err}");
    }
}

#[test]
fn with_a_terminal_the_command_has_one_of_its_own_and_the_changes_are_asked_about() {
    for &who in everyone() {
        let project = Project::new(who);
        let inner = "test -t 0 && test -t 1 && echo has-a-terminal; echo new > new; echo evil > .envrc; read word; exit 3";
        let line = format!("{} run -- sh -c '{inner}'", project.programs.0.join("hexward").display());
        let mut command = Command::new("script");
        command
            .args(["-qec", &line, "/dev/null"])
            .current_dir(&project.folder)
            .env("HOME", "/nonexistent")
            .env("SHELL", "/bin/sh");
        if is_root() && who == As::User {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is installed");
        let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut seen = String::new();
        for (until, answer) in [("has-a-terminal", "word\n"), ("[y/N]", "y\n"), ("Type yes:", "no\n")] {
            let mut byte = [0];
            while !seen.contains(until) {
                assert_eq!(stdout.read(&mut byte).expect("readable"), 1, "{who:?}: ended before {until}: {seen}");
                seen.push(char::from(byte[0]));
            }
            stdin.write_all(answer.as_bytes()).expect("it listens");
        }
        let _rest = stdout.read_to_string(&mut seen);
        assert_eq!(child.wait().expect("it ends").code(), Some(3), "{seen}");
        assert_eq!(project.read("new").as_deref(), Some("new\n"), "{seen}");
        assert!(project.read(".envrc").is_none(), "{seen}");
    }
}
