//! A gateway that root started is nobody special: what it keeps, what its helper keeps, and how both end.

use fake::{Fake, FakeConfig};
use gate_tests::{Process, ProgramSetup, control_group_of, control_groups, eventually};
use serde_json::Value;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

const KEY: &str = "sk-ant-api03-of-this-test-alone";
const AURORA: &str = "Create a tile called Aurora to the north-east";
const OWN_UID: u32 = 1_990_000;
const NOBODY: u32 = 65534;

/// Without root there is nothing to give up, and everything here holds for another reason.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("hexward-privileges-").tempdir().unwrap()
}

async fn scripted() -> Fake {
    Fake::start(FakeConfig::for_tests(KEY)).await.unwrap()
}

/// A line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().trim().to_owned()
}

/// Real, effective, saved and file system's.
fn ids(pid: u32, name: &str) -> Vec<u32> {
    status(pid, name).split_ascii_whitespace().map(|id| id.parse().unwrap()).collect()
}

fn capabilities(pid: u32) -> [u64; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|name| u64::from_str_radix(&status(pid, name), 16).unwrap())
}

/// The privileged helper of a gateway, told by its arguments.
fn helper(gateway: u32) -> Option<Process> {
    let is_helper = |process: &Process| {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        arguments.split(|byte| *byte == 0).nth(1) == Some(b"serve") && process.parent() == Some(gateway)
    };
    gate_tests::descendants(gateway).into_iter().find(is_helper)
}

#[tokio::test(flavor = "multi_thread")]
async fn root_is_given_up_before_anybody_can_connect_and_agents_run_all_the_same() {
    if !is_root() {
        return;
    }
    let (folder, fake) = (folder(), scripted().await);
    let program = ProgramSetup::new(folder.path(), &fake.url(), KEY).start();
    let pid = program.pid();
    assert_eq!((ids(pid, "Uid"), ids(pid, "Gid")), (vec![OWN_UID; 4], vec![OWN_UID; 4]));
    assert_eq!((status(pid, "Groups").as_str(), status(pid, "NoNewPrivs").as_str()), ("", "1"));
    assert_eq!(capabilities(pid), [0; 5]);
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let thread = thread.file_name().to_string_lossy().parse().unwrap();
        assert_eq!((ids(thread, "Uid"), capabilities(thread)), (vec![OWN_UID; 4], [0; 5]), "every thread");
    }
    let helper = helper(pid).expect("somebody makes the sandboxes");
    assert_eq!((ids(helper.pid, "Uid"), status(helper.pid, "NoNewPrivs").as_str()), (vec![0; 4], "1"));
    assert_eq!(std::fs::read(format!("/proc/{}/environ", helper.pid)).unwrap(), b"", "no secret is in its environment");
    for entry in std::fs::read_dir(format!("/proc/{}/fd", helper.pid)).unwrap().flatten() {
        let held = std::fs::read_link(entry.path()).unwrap_or_default().display().to_string();
        let is_own = ["/dev/null", "socket:", "pipe:", "anon_inode:[pidfd]"].iter().any(|kind| held.starts_with(kind));
        assert!(is_own || held.ends_with("/log"), "the helper holds {held}");
    }
    for entry in std::fs::read_dir(folder.path().join("state")).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().uid(), OWN_UID, "{}", entry.path().display());
    }
    let ada = program.person().await;
    let conversation = ada.conversation().await;
    let events = ada.run(&conversation, AURORA, true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?} {}", program.log());
    assert_eq!(ada.tiles().await, ["Aurora"]);
    assert!(program.log().contains("root given up"), "{}", program.log());
    // A follow-up goes to the same agent, whose network the helper's supervisor tried for the gateway before.
    assert_eq!(ada.run(&conversation, "What is on my map?", true).await.last().unwrap()["outcome"], "finished");
    assert!(program.log().contains("network checked") && !program.log().contains("failed its check"), "{}", program.log());
    let agents: Vec<_> = program.descendants().iter().map(|process| ids(process.pid, "Uid")[0]).filter(|uid| *uid != 0).collect();
    assert!(agents.iter().all(|uid| (2_000_000..2_200_000).contains(uid)) && !agents.is_empty(), "{agents:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_helper_was_killed_says_so_and_its_next_life_is_whole() {
    if !is_root() {
        return;
    }
    let (folder, fake) = (folder(), scripted().await);
    let setup = ProgramSetup::new(folder.path(), &fake.url(), KEY);
    let setup = ProgramSetup { config: setup.config.clone() + "[runs]\nwarm_agents_max = 0\nidle_secs = 0\n", ..setup };
    let mut program = setup.start();
    let ada = program.person().await;
    let conversation = ada.conversation().await;
    assert_eq!(ada.run(&conversation, AURORA, true).await.last().unwrap()["outcome"], "finished");
    let helper = helper(program.pid()).unwrap();
    let killed = std::process::Command::new("kill").arg("-KILL").arg(helper.pid.to_string()).status().unwrap();
    assert!(killed.success());
    // What it had prepared is used up first.
    let mut last = Value::Null;
    for _ in 0..4 {
        last = ada.run(&conversation, "What is on my map?", true).await.pop().unwrap();
        if last["outcome"] != "finished" {
            break;
        }
    }
    assert_eq!((&last["outcome"], &last["code"]), (&"failed".into(), &"sandbox.unavailable".into()), "{last}");
    assert!(program.log().contains("the privileged helper is gone"), "{}", program.log());
    program.signal("TERM");
    assert!(program.wait().success(), "{}", program.log());
    let again = setup.start();
    let ada = ada.at(again.address);
    assert_eq!(ada.run(&conversation, "What is on my map?", true).await.last().unwrap()["outcome"], "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_was_killed_is_cleaned_up_after() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let fake = Fake::start(FakeConfig { event_delay_ms: 150, ..FakeConfig::for_tests(KEY) }).await.unwrap();
    let program = ProgramSetup::new(folder.path(), &fake.url(), KEY).start();
    let ada = program.person().await;
    let conversation = ada.conversation().await;
    let run = ada.say(&conversation, AURORA, true).await;
    let mut watch = ada.watch(&run).await;
    watch.until("text_delta").await;
    let helper = helper(program.pid()).unwrap();
    let groups: Vec<_> = program.descendants().iter().filter_map(|process| control_group_of(*process)).collect();
    assert!(!groups.is_empty());
    for supervisor in gate_tests::descendants(helper.pid).iter().filter(|process| process.parent() == Some(helper.pid)) {
        let _gone = std::process::Command::new("kill").arg("-KILL").arg(supervisor.pid.to_string()).status().unwrap();
    }
    let last = watch.rest().await.pop().unwrap();
    assert_eq!(last["outcome"], "failed", "{last}");
    for group in &groups {
        eventually("its control groups are gone", Duration::from_secs(5), async || control_groups(group).is_empty()).await;
    }
    let events = ada.run(&conversation, "What is on my map?", true).await;
    assert_eq!(events.last().unwrap()["outcome"], "finished", "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_root_becomes_is_configured_and_never_root_or_a_sandbox() {
    if !is_root() {
        return;
    }
    let (folder, fake) = (folder(), scripted().await);
    let named = |user: &str| {
        let setup = ProgramSetup::new(folder.path(), &fake.url(), KEY);
        ProgramSetup { config: format!("[gateway]\nuser = \"{user}\"\n{}", setup.config), ..setup }
    };
    for (user, reason) in
        [("root", "must not be root"), ("0", "must not be root"), ("2000001", "users of sandboxes"), ("no-one-here", "no user")]
    {
        let said = String::from_utf8_lossy(&named(user).refused().stderr).into_owned();
        assert!(said.contains(reason) && said.contains("gateway.user"), "{user}: {said}");
    }
    let program = named("nobody").start();
    assert_eq!(ids(program.pid(), "Uid"), [NOBODY; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_port_takes_one_capability_and_no_more() {
    if !is_root() {
        return;
    }
    const NET_BIND_SERVICE: u64 = 1 << 10;
    let (folder, fake) = (folder(), scripted().await);
    let free = (700..1024).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap();
    let setup = ProgramSetup::new(folder.path(), &fake.url(), KEY);
    let config = setup.config.replace("people = \"127.0.0.1:0\"", &format!("people = \"127.0.0.1:{free}\""));
    let program = ProgramSetup { config, ..setup }.start();
    assert_eq!(capabilities(program.pid()), [0, NET_BIND_SERVICE, NET_BIND_SERVICE, 0, 0]);
    assert_eq!(ids(program.pid(), "Uid"), [OWN_UID; 4]);
}

/// A state folder of root's own goes over with what is in it, and no link in it leads out.
#[tokio::test(flavor = "multi_thread")]
async fn what_root_kept_goes_over_to_the_gateway_and_nothing_else_does() {
    if !is_root() {
        return;
    }
    let (folder, fake) = (folder(), scripted().await);
    let (state, outside) = (folder.path().join("state"), folder.path().join("outside"));
    std::fs::create_dir_all(state.join("below")).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(state.join("below/kept"), "kept").unwrap();
    std::fs::write(&outside, "root's").unwrap();
    std::os::unix::fs::symlink(&outside, state.join("link")).unwrap();
    let setup = ProgramSetup::new(folder.path(), &fake.url(), KEY);
    drop(setup.start());
    let owner = |path: &Path| std::fs::symlink_metadata(path).unwrap().uid();
    assert_eq!([&state, &state.join("below"), &state.join("below/kept")].map(|path| owner(path)), [OWN_UID; 3]);
    assert_eq!(owner(&outside), 0, "what a link leads to is not handed over");
    // Somebody else's is not taken from them.
    chown(&state, Some(NOBODY), None).unwrap();
    let said = String::from_utf8_lossy(&setup.refused().stderr).into_owned();
    assert!(said.contains("--state-dir") && owner(&state) == NOBODY, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_gateway_s_user_can_t_go_production_does_not_start() {
    if !is_root() {
        return;
    }
    let (folder, fake) = (folder(), scripted().await);
    let setup = ProgramSetup::new(folder.path(), &fake.url(), KEY);
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let production = ProgramSetup { config: format!("deployment = \"production\"\n{}", setup.config), ..setup };
    let said = String::from_utf8_lossy(&production.refused().stderr).into_owned();
    assert!(said.contains("is closed to others") && said.contains(&folder.path().display().to_string()), "{said}");
    let development = ProgramSetup { config: production.config.replace("production", "development"), ..production };
    let program = development.start();
    assert_eq!(ids(program.pid(), "Uid"), [0; 4]);
    assert!(program.log().contains("this gateway keeps root"), "it is said loudly: {}", program.log());
}

/// Starts the rest of its arguments as a shell at a terminal does, with a file of root's open, and types Ctrl-C when told to.
const TERMINAL: &str = r#"
import os, pty, signal, subprocess, sys, time
leader, terminal = pty.fork()
if leader == 0:
    secret = os.open("/etc/shadow", os.O_RDONLY)
    os.dup2(secret, 9)
    child = subprocess.Popen(sys.argv[1:], pass_fds=(9,))
    print("started", child.pid, flush=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os._exit(child.wait())
text = b""
while b"ready: http" not in text:
    text += os.read(terminal, 4096)
print(text.split(b"started ")[1].split()[0].decode(), flush=True)
sys.stdin.readline()
os.write(terminal, b"\x03")
end = time.time() + 30
while time.time() < end:
    try:
        if not os.read(terminal, 4096): break
    except OSError: break
print(os.waitstatus_to_exitcode(os.waitpid(leader, 0)[1]), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_root_s_terminal_or_files_goes_along() {
    use std::io::{BufRead, BufReader, Write};
    if !is_root() {
        return;
    }
    let folder = folder();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut python = std::process::Command::new("python3")
        .args(["-c", TERMINAL])
        .arg(gate_tests::hexward())
        .args(["demo", "--listen", "127.0.0.1:0", "--agent"])
        .arg(gate_tests::agent())
        .arg("--state-dir")
        .arg(folder.path().join("state"))
        .current_dir(folder.path())
        .env_clear()
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
    let pid: u32 = lines.next().unwrap().unwrap().trim().parse().unwrap();
    assert_eq!(ids(pid, "Uid"), [OWN_UID; 4]);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let terminal = stat.rsplit(')').next().unwrap().split_ascii_whitespace().nth(4).unwrap().to_owned();
    assert_eq!(terminal, "0", "it has no terminal to type into");
    let held = |fd: u32| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default().display().to_string();
    assert_eq!(held(0), "/dev/null");
    assert!(held(1).starts_with("/dev/pts/"), "what it says still appears: {}", held(1));
    for fd in [1, 2] {
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
        assert_eq!(u32::from_str_radix(&flags, 8).unwrap() & 0o3, 1, "{fd} can't be read from");
    }
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    assert!(!files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|path| path.ends_with("shadow")));
    let helper = helper(pid).unwrap();
    let files = std::fs::read_dir(format!("/proc/{}/fd", helper.pid)).unwrap().flatten();
    assert!(!files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|path| path.ends_with("shadow")));
    python.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap().trim(), "0", "its keys still end it in order");
    assert!(python.wait().unwrap().success());
    eventually("the helper's end", Duration::from_secs(5), async || !helper.is_alive()).await;
}

#[test]
fn root_does_not_do_as_somebody_else_s_folder_says() {
    if !is_root() {
        return;
    }
    let folder = folder();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let demo = |state: &Path| {
        let mut command = std::process::Command::new(gate_tests::hexward());
        command.args(["demo", "--once", AURORA, "--agent"]).arg(gate_tests::agent()).arg("--state-dir").arg(state);
        let output = command.current_dir(folder.path()).env_clear().output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let env = folder.path().join(".env");
    // Root's own is believed, also one that nobody else can read.
    std::fs::write(&env, "HEXWARD_ENV=development\n").unwrap();
    std::fs::set_permissions(&env, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (done, said) = demo(&folder.path().join("state"));
    assert!(done && said.contains("root given up"), "{said}");
    std::fs::write(&env, "USE_SANDBOX=false\n").unwrap();
    chown(&env, Some(NOBODY), None).unwrap();
    let (done, said) = demo(&folder.path().join("state"));
    assert!(!done && said.contains(".env") && said.contains("others than root"), "{said}");
    std::fs::remove_file(&env).unwrap();
    // A state folder below somebody else's, who could put a link in its place.
    let theirs = folder.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(NOBODY), None).unwrap();
    let (done, said) = demo(&theirs.join("state"));
    assert!(!done && said.contains("theirs") && !theirs.join("state").exists(), "{said}");
}
