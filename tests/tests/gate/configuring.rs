//! The life of a configuration, with the real program: made, checked, shown, started; and what it says of its environment.

use fake::{Fake, FakeConfig};
use gate_tests::{MASTER_KEY, ProgramSetup, hexward};
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

const HOST: [&str; 8] = [
    "deployment = 'production'",
    "[callers]",
    "enabled = true",
    "[[hosts]]",
    "id = 'shop'",
    "issuer = 'https://shop.example'",
    "secret_env = 'HOST_SECRET'",
    "apps = ['hexmap']",
];
const SECRETS: [(&str, &str); 4] = [
    ("AUTH_SECRET", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    ("ANTHROPIC_API_KEY", "sk-ant-api03-of-the-operator"),
    ("HOST_SECRET", "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"),
    ("SHORT", "thirty-one-bytes-are-too-few-he"),
];

/// The file with one line replaced, or with one more at its end.
fn with_line(line: usize, text: &str) -> String {
    let mut lines = HOST.map(str::to_owned).to_vec();
    match lines.get_mut(line - 1) {
        Some(there) => *there = text.to_owned(),
        None => lines.push(text.to_owned()),
    }
    lines.join("\n") + "\n"
}

/// Each by itself, with the line and the column where it stands.
#[test]
fn what_is_wrong_with_a_host_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hexward.toml");
    let check = |text: &str, environment: &[(&str, &str)]| {
        std::fs::write(&file, text).unwrap();
        said(folder.path(), &["config", "check", "--config", "hexward.toml"], environment)
    };
    let good = check(&with_line(9, "origins = ['https://shop.example', 'http://localhost:3000']"), &SECRETS);
    assert!(good.code == Some(0) && good.text.contains("the configuration is good"), "{}", good.text);
    let jwks = |url: &str| format!("jwks_url = '{url}'");
    let (inside, private, plain) =
        (jwks("https://127.0.0.1:8443/keys"), jwks("https://10.0.0.7/keys"), jwks("http://shop.example/k"));
    let (mapped, credentials) = (jwks("https://[::ffff:169.254.169.254]/keys"), jwks("https://a:b@shop.example/keys"));
    for (line, text, at, fault) in [
        (5, "id = 'sh op'", 5, "hosts[1].id: must be 1 to 64 letters"),
        (5, "", 4, "missing field `id`"),
        (6, "issuer = ''", 6, "hosts[1].issuer: must have 1 to 300 characters"),
        (6, "", 4, "missing field `issuer`"),
        (6, "issuer = 7", 6, "hosts[1].issuer: "),
        (7, "secret_env = 'NOWHERE'", 7, "hosts[1].secret_env: names NOWHERE, which is not set"),
        (7, "", 4, "hosts[1].jwks_url: exactly one of jwks_url and secret_env"),
        (9, "jwks_url = 'https://shop.example/keys'", 9, "hosts[1].jwks_url: exactly one of jwks_url and secret_env"),
        (7, plain.as_str(), 7, "hosts[1].jwks_url: must be an https address (http for loopback only)"),
        (7, credentials.as_str(), 7, "hosts[1].jwks_url: must be an https address"),
        (7, "jwks_url = 'keys'", 7, "hosts[1].jwks_url: must be an https address"),
        (7, inside.as_str(), 7, "hosts[1].jwks_url: is a loopback address, and those are never asked over https"),
        (7, private.as_str(), 7, "hosts[1].jwks_url: is a private address, and those are never asked over https"),
        (7, mapped.as_str(), 7, "hosts[1].jwks_url: is a metadata or link-local address, and those are never asked"),
        (8, "apps = []", 8, "hosts[1].apps: is empty, so the host could do nothing"),
        (8, "apps = ['hexmap', 'nosuch']", 8, "hosts[1].apps: \"nosuch\" is not the id of an app"),
        (8, "", 4, "missing field `apps`"),
        (9, "algorithms = []", 9, "hosts[1].algorithms: is empty, so nothing could be signed"),
        (9, "algorithms = ['RS256']", 9, "hosts[1].algorithms: \"RS256\" can't be used here; choose among HS256"),
        (9, "algorithms = ['none']", 9, "hosts[1].algorithms: \"none\" can't be used here"),
        (9, "audience = ''", 9, "hosts[1].audience: must have 1 to 300 characters"),
        (9, "origins = ['https://shop.example/']", 9, "hosts[1].origins: \"https://shop.example/\" must be an origin"),
        (9, "origins = ['https://*.shop.example']", 9, "hosts[1].origins: "),
        (9, "origins = ['http://shop.example']", 9, "hosts[1].origins: "),
        (9, "  tiers = {gold = 'signed-in'}", 9, "hosts[1].tiers: say nothing without tier_claim"),
        (9, "tier_claim = 'tier'\ntiers = {gold = 'golden'}", 10, "hosts[1].tiers: \"golden\" is no tier"),
        (9, "day_usd = 0", 9, "hosts[1].day_usd: must be more than 0"),
        (9, "user_day_usd = -1.0", 9, "hosts[1].user_day_usd: must be more than 0"),
        (9, "messages_per_hour = 0", 9, "hosts[1].messages_per_hour: must be between 1 and"),
        (9, "isuer = 'x'", 9, "hosts[1].isuer"),
    ] {
        let faulty = check(&with_line(line, text), &SECRETS);
        let column = text.lines().last().map_or(0, |last| last.len() - last.trim_start().len()) + 1;
        let place = if at == 4 {
            format!("hexward.toml, line {at}, column ")
        } else {
            format!("hexward.toml, line {at}, column {column}: ")
        };
        let told = faulty.text.lines().any(|told| told.contains(&place) && told.contains(fault));
        assert!(faulty.code == Some(1) && told, "{text}: {place}{fault}: {}", faulty.text);
        assert!(!SECRETS.iter().any(|(_, secret)| faulty.text.contains(secret)), "{}", faulty.text);
    }
    let short = check(&with_line(7, "secret_env = 'SHORT'"), &SECRETS);
    assert!(short.code == Some(1) && short.text.contains("environment: SHORT: must have at least 32 bytes"), "{}", short.text);
    let closed = check(&with_line(3, "enabled = false"), &SECRETS);
    assert!(closed.text.contains("hexward.toml, line 4, column 1: hosts: need the callers' listener"), "{}", closed.text);
    let twice = HOST.join("\n")
        + "\n[[hosts]]\nid = 'shop'\nissuer = 'https://shop.example'\nsecret_env = 'HOST_SECRET'\napps = ['nosuch']\n";
    let all = check(&twice, &SECRETS);
    for fault in [
        "line 10, column 1: hosts[2].id: stands twice",
        "line 11, column 1: hosts[2].issuer: stands twice",
        "line 13, column 1: hosts[2].apps: ",
    ] {
        assert!(all.text.contains(fault), "all of them at once: {fault}: {}", all.text);
    }
}

/// A former master key alone would be read by nobody, and missed when something does not open.
#[test]
fn a_former_master_key_alone_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let key: String = MASTER_KEY.chars().rev().collect();
    let environment = [SECRETS.as_slice(), &[("HEXWARD_MASTER_KEYS_OLD", key.as_str())]].concat();
    let fault = "HEXWARD_MASTER_KEYS_OLD: is set without HEXWARD_MASTER_KEY";
    for arguments in [&["config", "check"][..], &["serve"][..]] {
        let refused = said(folder.path(), arguments, &environment);
        assert!(
            refused.code == Some(1) && refused.text.contains(&format!("environment: {fault}")),
            "{arguments:?}: {}",
            refused.text
        );
        assert!(!refused.text.contains(&key), "{}", refused.text);
    }
    let undo = said(folder.path(), &["undo", "--run", "018bcfe5-6800-7000-8000-000000000000"], &environment);
    assert!(undo.code == Some(1) && undo.text.contains("HEXWARD_MASTER_KEYS_OLD is set without"), "{}", undo.text);
    let both = [environment.as_slice(), &[("HEXWARD_MASTER_KEY", MASTER_KEY.as_str())]].concat();
    let good = said(folder.path(), &["config", "check"], &both);
    assert_eq!(good.code, Some(0), "{}", good.text);
}

#[test]
fn a_key_for_an_app_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("notes");
    std::fs::create_dir(&app).unwrap();
    let manifest = "id = 'notes'\ntitle = 'Notes'\ngreeting = 'Hello'\n[agent]\nmodel = 'claude-haiku-4-5'\n";
    std::fs::write(app.join("app.toml"), manifest).unwrap();
    std::fs::write(app.join("prompt.md"), "Take notes.").unwrap();
    std::fs::write(folder.path().join("hexward.toml"), format!("[[apps]]\npath = '{}'\n", app.display())).unwrap();
    let create = |more: &[&str]| {
        let key = ["key", "create", "backend", "--purpose", "service", "--host", "shop"];
        said(folder.path(), &[key.as_slice(), more].concat(), &[])
    };
    for (more, told) in [
        (
            &["--app", "hexmpa"][..],
            "there is no app \"hexmpa\", so no key was made; there are: hexmap, magic; those of your [[apps]]",
        ),
        (&["--app", "hexmap", "--app", "notes"][..], "there is no app \"notes\""),
        (
            &["--app", "nots", "--config", "hexward.toml"][..],
            "there is no app \"nots\", so no key was made; there are: hexmap, magic, notes",
        ),
    ] {
        let refused = create(more);
        assert!(refused.code == Some(1) && refused.text.contains(told), "{more:?}: {}", refused.text);
    }
    assert!(!folder.path().join(".hexward").exists(), "nothing was written");
    let made = create(&["--app", "hexmap", "--app", "notes", "--config", "hexward.toml"]);
    assert!(made.code == Some(0) && made.text.contains("with the apps hexmap, notes"), "{}", made.text);
    let list = said(folder.path(), &["key", "list"], &[]);
    assert_eq!(list.text.matches("backend").count(), 1, "{}", list.text);
}
