//! The life of a configuration, with the real program: made, checked, shown, started; and what it says of its environment.

use fake::{Fake, FakeConfig};
use gate_tests::{ProgramSetup, hexward};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

struct Said {
    code: Option<i32>,
    text: String,
}

fn said(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(hexward());
    command.args(arguments).current_dir(folder).env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Said { code: output.status.code(), text }
}

#[test]
fn an_installation_is_made_once_passes_its_check_and_prints_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "sk-ant-api03-of-the-operator\n").unwrap();
    let asked = said(folder.path(), &["init"], &[]);
    assert!(asked.code == Some(1) && asked.text.contains("not a terminal") && asked.text.contains("--yes"), "{}", asked.text);
    let password = said(folder.path(), &["init", "--yes", "--database", "postgres://u:hunter2@db/x"], &[]);
    assert!(password.code == Some(1) && password.text.contains("--database-file"), "{}", password.text);
    let bad = said(folder.path(), &["init", "--yes", "--day-usd", "0"], &[]);
    assert!(
        bad.code == Some(1) && bad.text.contains("nothing was written") && bad.text.contains("budget.day_usd"),
        "{}",
        bad.text
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");

    let arguments = ["init", "--yes", "--dir", "gate", "--api-key-file", "key", "--day-usd", "7", "--deployment", "production"];
    let made = said(folder.path(), &arguments, &[]);
    assert_eq!(made.code, Some(0), "{}", made.text);
    let gate = folder.path().join("gate");
    let secrets = std::fs::read_to_string(gate.join(".env.local")).unwrap();
    let secret = secrets.lines().find_map(|line| line.strip_prefix("AUTH_SECRET='")).unwrap().trim_end_matches('\'');
    assert!(secret.len() == 64 && made.text.contains("gate/.env.local") && !made.text.contains("Still missing"), "{}", made.text);
    let modes = [".", ".env.local", "hexward.toml"].map(|name| gate.join(name).metadata().unwrap().permissions().mode() & 0o777);
    assert_eq!(modes, [0o700, 0o600, 0o600]);

    let check = said(&gate, &["config", "check", "--config", "hexward.toml"], &[]);
    assert!(check.code == Some(0) && check.text.contains("the configuration is good"), "{}", check.text);
    let show = said(&gate, &["config", "show", "--config", "hexward.toml"], &[]);
    assert!(
        show.code == Some(0) && show.text.contains("hexward.toml, line ") && show.text.contains(".env.local, line "),
        "{}",
        show.text
    );
    for text in [&made.text, &check.text, &show.text] {
        assert!(!text.contains(secret) && !text.contains("of-the-operator"), "{text}");
    }
    let again = said(folder.path(), &arguments, &[]);
    assert!(again.code == Some(1) && again.text.contains("was not touched"), "{}", again.text);
    assert_eq!(std::fs::read_to_string(gate.join(".env.local")).unwrap(), secrets);

    std::fs::write(gate.join("hexward.toml"), "[runs]\nconcurrent_max = 0\nqueue = 1\n").unwrap();
    let faulty = said(&gate, &["config", "check", "--config", "hexward.toml"], &[("AUTH_SECRET", "short")]);
    assert_eq!(faulty.code, Some(1), "{}", faulty.text);
    for line in [
        "hexward.toml, line 2, column 1: runs.concurrent_max",
        "hexward.toml, line 3, column 1: runs.queue",
        "environment: AUTH_SECRET",
    ] {
        assert!(faulty.text.contains(line), "{line}: {}", faulty.text);
    }
    assert!(!gate.join(".hexward").exists(), "a check writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_says_of_each_name_where_it_is_from_and_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let key = format!("sk-ant-api03-{}", "k".repeat(40));
    let fake = Fake::start(FakeConfig::for_tests(&key)).await.unwrap();
    let mut setup =
        ProgramSetup::new(folder.path(), &fake.url(), &key).with("USE_SANDBOX", "true").with("HEXWARD_ENV", "development");
    setup.environment.retain(|(name, _)| name != "AUTH_SECRET");
    let secret = "0123456789abcdef".repeat(4);
    std::fs::write(folder.path().join(".env"), "AUTH_SECRET=too-short-to-be-taken\nUSE_ANTHROPIC_PROXY=true\n").unwrap();
    std::fs::write(folder.path().join(".env.local"), format!("# own\nAUTH_SECRET='{secret}'\n")).unwrap();
    let program = setup.start();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    for said in [
        "(.env.local, line 2): keys the digests of session tokens",
        "USE_ANTHROPIC_PROXY = \"true\" (.env, line 2): true is all that there is",
        "USE_SANDBOX = \"true\" (environment): true confines agents",
        "ANTHROPIC_API_KEY = set (sha256 ",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert!(!log.contains(&secret) && !log.contains(&key), "no secret in the log");
    drop(program);
    let vercel = setup.with("VERCEL_OIDC_TOKEN", "a-token-of-the-platform").refused();
    let text = String::from_utf8_lossy(&vercel.stderr);
    assert!(
        !vercel.status.success() && text.contains("environment: VERCEL_OIDC_TOKEN: is set, but there is no Vercel Sandbox"),
        "{text}"
    );
    assert!(!text.contains("a-token-of-the-platform"), "{text}");
}
