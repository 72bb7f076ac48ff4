//! The agent's installation: what is wrong is said, nothing is ever half in use, and what was changed is not started.

use gate_tests::{Setup, TestGate, agent, agent_folder, hexward};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

const PINNED: &str = include_str!("../../../scripts/agent.version");

/// What a command said, and whether it succeeded.
struct Said {
    ok: bool,
    text: String,
}

fn said(command: &mut Command) -> Said {
    let output = command.env_remove("HEXWARD_LOG").stdin(Stdio::null()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Said { ok: output.status.success(), text }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(hexward());
    command.args(["agent", "--folder"]).arg(folder).args(arguments);
    command
}

fn told(folder: &Path, arguments: &[&str]) -> Said {
    said(&mut command(folder, arguments))
}

/// A copy of the real installation, to be damaged.
fn installed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copied =
        Command::new("cp").args(["-a", "--reflink=auto"]).arg(agent_folder().join(".")).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    folder
}

/// An unpacked package of a version, with some program as the agent.
fn package(version: &str, program: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let description = json!({"name": format!("@anthropic-ai/claude-agent-sdk-linux-{machine}"), "version": version});
    std::fs::write(folder.path().join("package.json"), description.to_string()).unwrap();
    std::fs::copy(program, folder.path().join("claude")).unwrap();
    folder
}

fn path(folder: &TempDir) -> &str {
    folder.path().to_str().unwrap()
}

fn current(folder: &TempDir) -> PathBuf {
    std::fs::read_link(folder.path().join("current")).unwrap()
}

fn pinned() -> PathBuf {
    Path::new("versions").join(PINNED.trim())
}

#[test]
fn an_upgrade_keeps_the_version_before_and_a_failed_one_changes_nothing() {
    let folder = installed();
    // What an interrupted install left is neither used nor kept.
    std::fs::create_dir_all(folder.path().join("staging/9.9.7/image")).unwrap();
    let newer = package("9.9.8", &agent());
    let upgraded = told(folder.path(), &["upgrade", "9.9.8", "--package", path(&newer)]);
    assert!(upgraded.ok, "{}", upgraded.text);
    for evidence in ["a turn with a tool completes: finished", "only the model and the tools were reached for", "inert \"/model"]
    {
        assert!(upgraded.text.contains(evidence), "{evidence}: {}", upgraded.text);
    }
    assert!(upgraded.text.contains("knows none for 9.9.8"), "{}", upgraded.text);
    assert_eq!(current(&folder), Path::new("versions/9.9.8"));
    assert!(!folder.path().join("staging").exists(), "nothing is left of the staging");
    // A program that is no agent fails the checks; the one in use stays.
    let broken = package("9.9.9", Path::new("/bin/true"));
    let refused = told(folder.path(), &["upgrade", "9.9.9", "--package", path(&broken)]);
    assert!(!refused.ok && refused.text.contains("failed its checks and is not used"), "{}", refused.text);
    assert_eq!(current(&folder), Path::new("versions/9.9.8"));
    assert!(!folder.path().join("versions/9.9.9").exists() && !folder.path().join("staging").exists());
    let back = told(folder.path(), &["rollback"]);
    assert!(back.ok, "{}", back.text);
    assert_eq!(current(&folder), pinned());
    assert!(told(folder.path(), &["install"]).text.contains("is installed"));
}

#[test]
fn an_installed_agent_that_was_changed_is_not_started() {
    let folder = installed();
    let executable = folder.path().join(hexward::CURRENT_EXECUTABLE);
    let image = folder.path().join("current/image");
    let state = tempfile::tempdir().unwrap();
    let started = || {
        let mut command = Command::new(hexward());
        command.args(["demo", "--once", "Hello", "--agent"]).arg(&executable).arg("--state-dir").arg(state.path().join("state"));
        said(command.env("HEXWARD_LOG", "error").current_dir(state.path()))
    };
    let refuses = |what: &str| {
        let (checked, started) = (told(folder.path(), &["check"]), started());
        for said in [checked, started] {
            assert!(!said.ok && said.text.contains(what) && said.text.contains("hexward agent install"), "{what}: {}", said.text);
        }
    };
    let library = image.join(if cfg!(target_arch = "aarch64") {
        "lib/aarch64-linux-gnu/libc.so.6"
    } else {
        "lib/x86_64-linux-gnu/libc.so.6"
    });
    let kept = std::fs::read(&library).unwrap();
    std::fs::write(&library, [kept.as_slice(), b"x"].concat()).unwrap();
    refuses("was changed after it was installed");
    std::fs::write(&library, &kept).unwrap();
    std::fs::set_permissions(&library, Permissions::from_mode(0o777)).unwrap();
    refuses("could be changed by others");
    std::fs::set_permissions(&library, Permissions::from_mode(0o755)).unwrap();
    std::fs::write(image.join("lib/extra.so"), "x").unwrap();
    refuses("not in its lock");
    std::fs::remove_file(image.join("lib/extra.so")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", image.join("lib/link")).unwrap();
    refuses("neither a file nor a folder");
    std::fs::remove_file(image.join("lib/link")).unwrap();
    let lock = folder.path().join("current/agent.lock");
    let text = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, "version = ").unwrap();
    refuses("is damaged");
    std::fs::remove_file(&lock).unwrap();
    refuses("not completely installed");
    std::fs::write(&lock, text.replacen("\"opt/agent/agent\" = \"", "\"opt/agent/agent\" = \"0", 1)).unwrap();
    refuses("was changed after it was installed");
    std::fs::write(&lock, text).unwrap();
    assert!(told(folder.path(), &["install"]).text.contains("is installed"), "all of it is as it was");
}

/// Another byte in the executable, where neither its head nor its size tells.
fn change_a_byte(executable: &Path) {
    let file = std::fs::File::options().read(true).write(true).open(executable).unwrap();
    let at = file.metadata().unwrap().len() - 1;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_in_the_agent_is_found_before_any_agent_starts() {
    let folder = installed();
    let executable = folder.path().join(hexward::CURRENT_EXECUTABLE);
    change_a_byte(&executable);
    // The door is open while the image is compared, and agents are wanted ahead of need; none may start.
    let mut setup = Setup { agent: Some(executable.clone()), ..Setup::default() };
    setup.runs.warm_agents_max = 2;
    let gate = TestGate::start(setup).await;
    let ada = gate.person().await;
    let conversation = ada.conversation().await;
    let said = ada.try_say(&conversation, "Hello", false).await;
    if said.status == 503 {
        assert!(said.text().contains("agent.missing"), "{}", said.text());
    } else {
        let run = said.json()["run_id"].as_str().unwrap().to_owned();
        let end = ada.watch(&run).await.rest().await.last().unwrap().clone();
        assert!(end["outcome"] == "failed" && end["code"] == "agent.missing", "{end}");
    }
    let error = hexward::gateway::verified(&gate.gateway.runs).await.unwrap_err().to_string();
    assert!(error.contains("was changed after it was installed") && error.contains("hexward agent install"), "{error}");
    let refused = ada.try_say(&conversation, "Hello again", false).await;
    assert!(refused.status == 503 && refused.text().contains("agent.missing"), "{}", refused.text());
    assert_eq!((gate.sandboxes_made(), gate.provider_saw().len()), (0, 0));
    gate.finish().await;
    // A gateway that people rely on does not stay to refuse them.
    let state = tempfile::tempdir().unwrap();
    let mut command = Command::new("timeout");
    command.arg("60").arg(hexward()).args(["demo", "--listen", "127.0.0.1:0", "--agent"]).arg(&executable);
    let ended = self::said(command.arg("--state-dir").arg(state.path().join("state")).current_dir(state.path()));
    assert!(!ended.ok && ended.text.contains("was changed after it was installed"), "{}", ended.text);
}

#[test]
fn production_starts_only_an_installed_agent() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[listen]\npeople = '127.0.0.1:0'\n[model]\nupstream = 'http://127.0.0.1:9'\n";
    std::fs::write(folder.path().join("hexward.toml"), config).unwrap();
    let started = |environment: &str| {
        let mut command = Command::new("timeout");
        command.args(["--preserve-status", "10"]).arg(hexward()).args([
            "serve",
            "--config",
            "hexward.toml",
            "--agent",
            "/bin/true",
        ]);
        command.args(["--state-dir", "state"]).current_dir(folder.path()).env("HEXWARD_ENV", environment);
        said(command.env("ANTHROPIC_API_KEY", "sk-ant-api03-x").env("AUTH_SECRET", "0a1b2c3d".repeat(8)))
    };
    let production = started("production");
    assert!(!production.ok && production.text.contains("agent.path: /bin/true has no lock"), "{}", production.text);
    assert!(!production.text.contains("hexward ready"), "{}", production.text);
    let development = started("development");
    assert!(development.ok && development.text.contains("hexward ready"), "{}", development.text);
    assert!(development.text.contains("/bin/true was not installed by"), "{}", development.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_replaced_under_a_running_gateway_is_not_started() {
    let folder = installed();
    let executable = folder.path().join(hexward::CURRENT_EXECUTABLE);
    let gate = TestGate::start(Setup { agent: Some(executable.clone()), ..Setup::default() }).await;
    let ada = gate.person().await;
    let end = |events: Vec<Value>| events.last().unwrap().clone();
    assert_eq!(end(ada.run(&ada.conversation().await, "Hello", false).await)["outcome"], "finished");
    let copy = folder.path().join("copy");
    std::fs::copy(&executable, &copy).unwrap();
    std::fs::rename(&copy, executable.canonicalize().unwrap()).unwrap();
    let refused = ada.try_say(&ada.conversation().await, "Hello", false).await;
    assert!(refused.status == 503 && refused.text().contains("agent.missing"), "{}", refused.text());
    assert_eq!(gate.sandboxes_started(), 1);
    gate.finish().await;
}

#[test]
fn what_can_t_be_had_is_said_and_leaves_what_is_in_use() {
    let folder = installed();
    let empty = tempfile::tempdir().unwrap();
    let refused = |command: &mut Command, what: &str| {
        let said = said(command);
        assert!(!said.ok && said.text.contains(what), "{what}: {}", said.text);
        assert_eq!(current(&folder), pinned());
        assert!(!folder.path().join("staging").exists(), "{what}: the staging is left");
    };
    refused(command(folder.path(), &["upgrade", "9.9.9"]).env("PATH", empty.path()), "npm is not installed");
    let mut offline = command(folder.path(), &["upgrade", "9.9.9"]);
    // The discard port of the loopback: nobody listens there.
    offline.env("npm_config_registry", "http://127.0.0.1:9/").env("npm_config_fetch_retries", "0");
    refused(offline.env("npm_config_cache", empty.path()).env("HOME", empty.path()), "npm could not get");
    refused(&mut command(folder.path(), &["upgrade", "latest"]), "is not a version");
    refused(&mut command(folder.path(), &["upgrade", "../../x"]), "is not a version");
    let other = package("9.9.8", Path::new("/bin/true"));
    refused(&mut command(folder.path(), &["upgrade", "9.9.9", "--package", path(&other)]), "9.9.8, not");
    refused(&mut command(folder.path(), &["upgrade", "9.9.9", "--package", path(&empty)]), "no unpacked package");
    let script = package("9.9.9", Path::new("/etc/passwd"));
    refused(&mut command(folder.path(), &["upgrade", "9.9.9", "--package", path(&script)]), "is not a program");
    refused(&mut command(folder.path(), &["rollback"]), "no version before");
    // The pinned version with another executable than the one that is known to be it.
    let tampered = package(PINNED.trim(), Path::new("/bin/true"));
    let fresh = tempfile::tempdir().unwrap();
    let said = told(fresh.path(), &["install", "--package", path(&tampered)]);
    if cfg!(target_arch = "x86_64") {
        assert!(!said.ok && said.text.contains("tampered with or damaged"), "{}", said.text);
    }
    assert!(!fresh.path().join("current").exists() && !fresh.path().join("staging").exists());
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_half() {
    let (small, package) = (tempfile::tempdir().unwrap(), package(PINNED.trim(), &agent()));
    let script = r#"mount -t tmpfs -o size=16m,mode=755 small "$1" && { "$2" agent --folder "$1" install --package "$3"; echo "code $?"; ls "$1"; }"#;
    // In namespaces of its own: the small file system is gone with the command, also without root.
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    let said = said(command.arg(small.path()).arg(hexward()).arg(package.path()));
    assert!(said.text.contains("No space left on device") && said.text.contains("code 1"), "{}", said.text);
    let left: Vec<&str> =
        said.text.lines().skip_while(|line| *line != "code 1").skip(1).filter(|line| !line.starts_with("hexward")).collect();
    assert_eq!(left, ["lock"], "{}", said.text);
}
