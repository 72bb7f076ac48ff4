use super::*;
use std::time::Duration;

const GOOD: [(&str, &str); 2] =
    [("ANTHROPIC_API_KEY", "sk-ant-api03-x"), ("AUTH_SECRET", "0123456789012345678901234567890123456789")];

fn defaults() -> Defaults {
    Defaults { agent_path: "a".into(), jail_path: "j".into(), runtime_path: "r".into(), state_dir: "s".into(), magic: false }
}

pub(super) fn loaded(file: &str, extra: &[(&str, &str)]) -> Result<Config, String> {
    let pairs = GOOD.iter().chain(extra).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let source = Source::parse(file, "hexward.toml").map_err(|faults| faults.to_string())?;
    checked(source, &Environment::of(pairs), defaults()).map_err(|faults| faults.to_string())
}

pub(super) fn fault(file: &str, extra: &[(&str, &str)]) -> String {
    loaded(file, extra).err().unwrap_or_else(|| "no fault".to_owned())
}

#[test]
fn an_empty_file_is_a_safe_configuration() {
    let config = loaded("", &[]).expect("usable");
    assert!(config.people.ip().is_loopback() && config.callers.is_none() && config.mode == Mode::Native);
    assert_eq!((config.runs.run_budget, config.day_limit), (Microusd::dollars(1), Microusd::dollars(5)));
    assert_eq!(config.upstream, model::PROVIDER);
    assert_eq!((config.runs.limits.idle, config.runs.limits.cpu), (Duration::from_secs(120), Duration::from_secs(180)));
    assert_eq!(config.runs.limits.traffic, proxy::TrafficLimits::default());
}

#[test]
fn every_fault_is_named_with_its_place() {
    assert!(fault("[listen]\npepole = \"x\"", &[]).contains("line 2, column 1"));
    assert!(fault("[budget]\nrun_usd = -1.0", &[]).contains("budget.run_usd"));
    assert!(fault("[runs]\nconcurrent_max = 0", &[]).contains("runs.concurrent_max"));
    assert!(
        fault("", &[("INTERNAL_PROXY_SECRET", "short")])
            .contains("INTERNAL_PROXY_SECRET: INTERNAL_PROXY_SECRET must be at least 64")
    );
    assert!(fault("", &[("VERCEL_OIDC_TOKEN", "x")]).contains("no Vercel Sandbox backend"));
    assert!(fault("", &[("USE_ANTHROPIC_PROXY", "false")]).contains("USE_ANTHROPIC_PROXY"));
    assert!(fault("", &[("USE_SANDBOX", "perhaps")]).contains("must be true or false"));
    assert!(fault("", &[("ANTHROPIC_API_KEY", "sk-ant-admin01-x")]).contains("admin key"));
    assert!(fault("", &[("HEXFRAME_API_BASE_URL", "ftp://x")]).contains("HEXFRAME_API_BASE_URL"));
    let both = fault("[budget]\nday_usd = 0.0", &[("AUTH_SECRET", "short")]);
    assert!(both.contains("budget.day_usd") && both.contains("AUTH_SECRET"), "all at once: {both}");
}

#[test]
fn every_fault_has_its_line_also_those_found_later() {
    let file = "deployment = 'nowhere'\n[listen]\npepole = 'x'\n[runs]\nconcurrent_max = 0\nqueue_max = 'many'\n[limits]\ncpu_secs = 0\n\
                [[egress]]\nhost = 'a.example'\nmethods = ['GET']\npaths = ['/']\n[[egress]]\nhost = '10.0.0.1'\nmethods = ['GET']\n\
                paths = ['/', 'x']\n  port = true\n[budget.apps.nothing]\nday_usd = 1\n[map]\ntiers = 3\n";
    let text = loaded(file, &[("AUTH_SECRET", "short")]).err().expect("faults");
    for line in [
        "hexward.toml, line 3, column 1: listen.pepole: is no key that this version knows; here are: people, callers",
        "hexward.toml, line 6, column 1: runs.queue_max: is 'many' and must be whole number",
        "hexward.toml, line 17, column 3: egress[2].port: is true or false and must be whole number",
        "hexward.toml, line 1, column 1: deployment: is 'nowhere' and must be \"development\" or \"production\"",
        "hexward.toml, line 21, column 1: map.tiers: is a whole number and must be a table",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let file = file.replace("'nowhere'", "'development'");
    let text = loaded(&file, &[("AUTH_SECRET", "short")]).err().expect("faults");
    for line in [
        "hexward.toml, line 3, column 1: listen.pepole",
        "hexward.toml, line 5, column 1: runs.concurrent_max: must be between",
        "hexward.toml, line 8, column 1: limits.cpu_secs: is 0",
        "hexward.toml, line 14, column 1: egress[2].host",
        "hexward.toml, line 18, column 14: budget.apps.nothing: is not the id of an app",
        "environment: AUTH_SECRET: must have at least 32",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let syntax = fault("[listen\n", &[]);
    assert!(syntax.contains("hexward.toml, line 1"), "{syntax}");
    let missing = fault("\n[[egress]]\nhost = 'a.example'\n", &[]);
    assert!(missing.contains("hexward.toml, line 2") && missing.contains("methods"), "{missing}");
}

#[test]
fn what_is_shown_says_where_it_is_from_and_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hexward.toml");
    let (secret, password) = ("0123456789abcdef0123456789abcdef", "hunter2hunter2");
    let text = "[runs]\nwall_clock_secs = 600\n[[egress]]\nhost = 'a.example'\nmethods = ['GET']\npaths = ['/*']\n\
                credential = { env = 'HOOK_KEY' }\n";
    std::fs::write(&file, text).expect("written");
    let local = format!("AUTH_SECRET='{secret}'\nAUTH_SECRET = '{secret}'\nHOOK_KEY={secret}\n");
    std::fs::write(folder.path().join(".env.local"), local).expect("written");
    std::fs::write(folder.path().join(".env"), "ANTHROPIC_API_KEY=shared-key-of-everybody\nUSE_SANDBOX=true\nNODE_ENV=\n")
        .expect("written");
    let process = [
        ("ANTHROPIC_API_KEY_ORIGINAL", "sk-ant-api03-original-of-a-host"),
        ("DATABASE_URL", &format!("postgres://u:{password}@db.example/x")),
        ("USE_SANDBOX", "false"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = load_environment(folder.path(), process.into_iter()).expect("loaded");
    let shown = Shown::of(Some(&file), &environment, defaults()).expect("read");
    assert!(shown.faults.is_none(), "{:?}", shown.faults.map(|faults| faults.to_string()));
    let line =
        |name: &str| shown.lines.iter().find(|line| line.name == name).map(|line| (line.value.as_str(), line.from.as_str()));
    let from_file = format!("{}, line 2, column 1", file.display());
    assert_eq!(line("runs.wall_clock_secs"), Some(("600", from_file.as_str())));
    assert_eq!(line("runs.queue_max"), Some(("100", "default")));
    assert_eq!(line("USE_SANDBOX"), Some(("\"false\"", "environment")));
    assert_eq!(line("DATABASE_URL"), Some(("\"postgres://u:***@db.example/x\"", "environment")));
    let (value, from) = line("AUTH_SECRET").expect("set");
    assert!(value.starts_with("set (sha256 ") && from == ".env.local, line 2", "the last one wins: {value} {from}");
    assert_eq!(line("HOOK_KEY").map(|(_, from)| from), Some(".env.local, line 3"));
    assert_eq!(line("NODE_ENV"), None, "set to nothing is not set");
    let (text, effects) = (shown.text(), environment.effects().join("\n"));
    for secret in [secret, password, "shared-key", "original-of"] {
        assert!(!text.contains(secret) && !effects.contains(secret), "{secret}: {text}\n{effects}");
    }
    for effect in [
        "ANTHROPIC_API_KEY = set (sha256 ",
        "(.env, line 1): not used: ANTHROPIC_API_KEY_ORIGINAL wins",
        "USE_SANDBOX = \"false\" (environment): true confines agents",
    ] {
        assert!(effects.contains(effect), "{effect}\n{effects}");
    }
}

#[test]
fn callers_are_let_in_only_when_asked_for() {
    let secret = ("INTERNAL_PROXY_SECRET", "8f3b1c0d9e7a62541f0e3d2c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978");
    assert!(loaded("[callers]\nenabled = false", &[]).expect("usable").callers.is_none());
    let without = loaded("[callers]\nenabled = true", &[]).expect("usable").callers.expect("a listener");
    assert!(without.1.secret.is_none(), "there is no default secret");
    let file = "[callers]\ninternal_day_usd = 0.5\ninternal_networks = ['10.0.0.0/8', '::1']";
    let (_, callers) = loaded(file, &[secret]).expect("usable").callers.expect("a listener");
    assert_eq!(callers.internal.day_limit_microusd, Some(Microusd(500_000)));
    assert_eq!(callers.internal.networks.map(|networks| networks.len()), Some(2));
    for (line, place) in [
        ("internal_day_usd = 0.0", "callers.internal_day_usd"),
        ("internal_networks = []", "callers.internal_networks"),
        ("internal_networks = ['10.0.0.1/8']", "callers.internal_networks"),
    ] {
        assert!(fault(&format!("[callers]\n{line}"), &[]).contains(place), "{line}");
    }
}

#[test]
fn each_limit_of_an_agent_can_be_set_within_reason() {
    let file = "[limits]\ninactive_secs = 5\ncpu_secs = 6\noutput_mb = 7\nconnections_max = 8\nconnections_per_minute = 9\n\
                requests_per_minute = 10\n";
    let limits = loaded(file, &[]).expect("usable").runs.limits;
    assert_eq!((limits.idle.as_secs(), limits.cpu.as_secs(), limits.output_bytes), (5, 6, 7 << 20));
    let traffic = limits.traffic;
    assert_eq!(
        (traffic.connections_max, traffic.connections_per_minute_max, traffic.requests_per_minute_max),
        (8, 9, 10),
        "{traffic:?}"
    );
    for line in file.lines().skip(1) {
        let name = line.split(' ').next().expect("a name");
        for value in ["0", "4000000000"] {
            let fault = fault(&format!("[limits]\n{name} = {value}"), &[]);
            assert!(fault.contains(&format!("limits.{name}: is {value} and must be between 1 and")), "{fault}");
        }
        assert!(fault(&format!("[limits]\n{name} = -1"), &[]).contains("line 2"), "{name}");
    }
}

#[test]
fn rates_and_the_queue_can_be_set_within_reason() {
    let usual = loaded("", &[]).expect("usable").runs;
    assert_eq!(usual.rates, policy::RateRules::default());
    assert_eq!((usual.rates.address_per_minute, usual.rates.address_per_hour, usual.rates.address_per_day), (10, 100, 1000));
    assert_eq!((usual.rates.anonymous.user_per_hour, usual.queue.waiting_max, usual.queue.wait.as_secs()), (100, 100, 60));
    let file = "[rates]\naddress_per_minute = 1\naddress_per_hour = 2\naddress_per_day = 3\nnetwork56_times = 4\n\
                network48_times = 5\nmessages_per_minute = 6\nkey_per_hour = 7\ncalls_per_minute = 8\n";
    let rates = loaded(file, &[]).expect("usable").runs.rates;
    let numbers = [
        rates.address_per_minute,
        rates.address_per_hour,
        rates.address_per_day,
        rates.network56_times,
        rates.network48_times,
        rates.messages_per_minute,
        rates.key_per_hour,
        rates.calls_per_minute,
    ];
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    for line in file.lines().skip(1) {
        let name = line.split(' ').next().expect("a name");
        for value in ["0", "4000000000"] {
            let fault = fault(&format!("[rates]\n{name} = {value}"), &[]);
            assert!(fault.contains(&format!("rates.{name}: is {value} and must be between 1 and")), "{fault}");
        }
    }
    let tier = loaded("[rates.tiers.signed-in]\nuser_per_hour = 150\nweight = 9", &[]).expect("usable").runs.rates;
    assert_eq!((tier.signed_in.user_per_hour, tier.signed_in.weight, tier.anonymous.weight), (150, 9, 1));
    let few = "[rates.tiers.anonymous]\nuser_per_hour = 49";
    assert!(fault(few, &[]).contains("rates.tiers.anonymous.user_per_hour: is 49 and should be between 50 and 200"));
    assert!(loaded(&format!("[rates]\ndanger_any_user_rate = true\n{few}"), &[]).is_ok());
    assert!(fault("[rates.tiers.gold]\nweight = 1", &[]).contains("line 1"), "there are two tiers");
    assert!(fault("[runs]\nqueue_max = 20000\nqueue_wait_secs = 0", &[]).contains("runs.queue_max: is 20000"));
    assert!(fault("[runs]\nqueue_wait_secs = 0", &[]).contains("runs.queue_wait_secs"));
    assert_eq!(loaded("[runs]\nqueue_max = 0", &[]).expect("usable").runs.queue.waiting_max, 0, "nobody waits");
}

#[test]
fn egress_rules_are_checked_with_their_secrets() {
    let file = "[[egress]]\nhost = 'API.example.com'\nmethods = ['GET', 'POST']\npaths = ['/v1/*', '/x']\n\
                credential = { env = 'HOOK_KEY', header = 'Authorization', prefix = 'Bearer ' }\n\
                [[egress]]\nhost = 'localhost'\nport = 8443\nmethods = ['GET']\npaths = ['/*']\ndanger_allow_private = true\n";
    let key = ("HOOK_KEY", "0123456789abcdef");
    let config = loaded(file, &[key]).expect("usable");
    assert_eq!(config.egress.rules.extra_ports(), [8443]);
    let slots = config.egress.rules.credential_slots();
    assert!(slots.iter().all(|slot| slot.header == "authorization") && slots.len() == 1);
    assert!(config.egress.secrets.contains_key("HOOK_KEY"));
    assert!(loaded("", &[]).expect("usable").egress.rules.extra_ports().is_empty(), "none by default");
    assert!(fault(file, &[]).contains("HOOK_KEY: is not set, but egress[1].credential names it"));
    assert!(fault(file, &[("HOOK_KEY", "short")]).contains("HOOK_KEY: must have at least 16"));
    let production = fault(&format!("deployment = 'production'\n{file}"), &[key]);
    assert!(production.contains("egress[2].danger_allow_private"), "{production}");
    let one = |rest: &str| fault(&format!("[[egress]]\n{rest}"), &[]);
    assert!(one("host = '*.example.com'\nmethods = ['GET']\npaths = ['/*']").contains("egress[1].host"));
    assert!(one("host = '10.0.0.1'\nmethods = ['GET']\npaths = ['/*']").contains("egress[1].host"));
    assert!(one("host = 'a.example'\nmethods = ['CONNECT']\npaths = ['/*']").contains("egress[1]: a method must be one of"));
    assert!(one("host = 'a.example'\nmethods = ['GET']\npaths = ['x']").contains("egress[1].paths"));
    assert!(one("host = 'a.example'\nmethods = ['GET']\npaths = []").contains("egress[1]: a path must begin with /"));
    assert!(
        one("host = 'a.example'\nport = 80\nscheme = 'https'\nmethods = ['GET']\npaths = ['/']").contains("egress[1].scheme")
    );
    assert!(
        one("host = 'api.anthropic.com'\nmethods = ['POST']\npaths = ['/*']").contains("gateway's own or the model provider's")
    );
    assert!(one("host = 'a.example'\nmethod = ['GET']\npaths = ['/']").contains("line 3, column 1"));
    assert!(one("host = 'a.example'\nport = 70000\nmethods = ['GET']\npaths = ['/']").contains("line 3"));
}

#[test]
fn direct_mode_is_for_development_on_loopback() {
    assert_eq!(loaded("", &[("USE_SANDBOX", "false")]).expect("usable").mode, Mode::Direct);
    assert!(fault("deployment = \"production\"", &[("USE_SANDBOX", "false")]).contains("production"));
    assert!(fault("", &[("USE_SANDBOX", "false"), ("NODE_ENV", "production")]).contains("production"));
    assert!(fault("[listen]\npeople = \"0.0.0.0:80\"", &[("USE_SANDBOX", "0")]).contains("loopback"));
    let under = |origin| loaded("", &[("USE_SANDBOX", "false"), ("HEXFRAME_API_BASE_URL", origin)]);
    assert!(under("https://map.example.org").err().expect("refused").to_string().contains("behind a proxy"));
    assert!(
        under("http://localhost:7410").is_ok() && under("http://127.0.0.1").is_ok() && under("http://127.0.0.1.example").is_err()
    );
}

#[test]
fn an_original_key_is_the_real_one() {
    use secrecy::ExposeSecret;
    let config = loaded("", &[("ANTHROPIC_API_KEY_ORIGINAL", "sk-ant-api03-original")]).expect("usable");
    assert_eq!(config.api_key.expose_secret(), "sk-ant-api03-original");
}

#[test]
fn three_layers_of_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(".env"), "A=shared\nB=shared\nC=shared\n").expect("written");
    std::fs::write(folder.path().join(".env.local"), "B=local\nC=local\n").expect("written");
    let environment = load_environment(folder.path(), [("C".to_owned(), "process".to_owned())].into_iter()).expect("loaded");
    assert_eq!(["A", "B", "C"].map(|name| environment.text(name)), [Some("shared"), Some("local"), Some("process")]);
    std::fs::write(folder.path().join(".env"), "SECRET sk-ant-api03-quoted\n").expect("written");
    let fault = load_environment(folder.path(), std::iter::empty()).err().expect("a fault").to_string();
    assert!(fault.contains(".env") && !fault.contains("quoted"), "a line that can't be understood may hold a secret: {fault}");
}

#[test]
fn what_a_tool_server_is_shown_is_there_and_a_fixture_is_none_of_production() {
    let folder = tempfile::tempdir().expect("a folder");
    let app = |mcp: &str, more: &str| {
        let text = format!("id = 'helper'\ntitle = 'H'\ngreeting = 'g'\n[agent]\nmodel = 'm'\n[mcp]\nname = 'h'\n{mcp}");
        std::fs::write(folder.path().join("app.toml"), text).expect("written");
        std::fs::write(folder.path().join("prompt.md"), "You help.").expect("written");
        format!("[[apps]]\npath = '{}'\n{more}\n", folder.path().display())
    };
    let (far, of_users) = ("server = 'https://tools.example/mcp'\n", "credential = { secret = 'user' }\n");
    let secrets = format!("user_secrets = '{}'", folder.path().display());
    let token = [("TOKEN", "x")];
    let config = loaded(&app(&format!("{far}{of_users}"), &secrets), &[]).expect("usable");
    assert!(config.apps.iter().all(|app| app.credential.is_none() && app.extras.user_secrets.is_some()));
    for (mcp, more, reason) in [
        (format!("{far}{of_users}"), "", "user_secrets must name the folder"),
        (format!("{far}{of_users}"), "user_secrets = '/nowhere/at/all'", "is not a folder"),
        (format!("{far}{of_users}"), "credential_env = 'TOKEN'", "user_secrets must name the folder"),
        (far.to_owned(), secrets.as_str(), "credential_env must name"),
        ("server = 'stdio'\ncommand = ['x']\n".to_owned(), "credential_env = 'TOKEN'", "mcp.credential.variable must say"),
        ("server = 'stdio'\n".to_owned(), "", "mcp.command must say"),
    ] {
        let fault = fault(&app(&mcp, more), &token);
        assert!(fault.contains(reason), "{mcp} {more}: {fault}");
    }
    let program = "server = 'stdio'\ncommand = ['python3']\n";
    assert!(loaded(&app(program, ""), &[]).is_ok(), "a program needs no secret");
    let fixture = app(&format!("{far}danger_without_provenance = true\n"), "credential_env = 'TOKEN'");
    assert!(loaded(&fixture, &token).is_ok());
    let production = fault(&format!("deployment = 'production'\n{fixture}"), &token);
    assert!(production.contains("danger_without_provenance is for fixtures"), "{production}");
}

#[test]
fn apps_are_folders_that_are_checked_with_their_credentials() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(&path).expect("made");
        std::fs::write(path.join("app.toml"), text).expect("written");
        std::fs::write(path.join("prompt.md"), "You help.").expect("written");
        path.display().to_string()
    };
    let text = "id = 'helper'\ntitle = 'H'\ngreeting = 'g'\n[agent]\nmodel = 'claude-sonnet-5-5'\n";
    let server = "[mcp]\nname = 'h'\nserver = 'https://tools.example/mcp'\n[tools.look]\neffect = 'read'\n";
    let (plain, remote) = (manifest("plain", text), manifest("remote", &format!("{text}{server}")));
    let apps = |paths: &[&str]| paths.iter().map(|path| format!("[[apps]]\npath = '{path}'\n")).collect::<String>();
    let config = loaded(&apps(&[&plain]), &[]).expect("usable");
    assert_eq!(
        config.apps.iter().map(|app| (app.manifest.id.as_str(), app.prompt.as_str())).collect::<Vec<_>>(),
        [("helper", "You help.")]
    );
    let with_credential = format!("{}credential_env = 'HELPER_TOKEN'\n", apps(&[&remote]));
    let config = loaded(&with_credential, &[("HELPER_TOKEN", "a-token")]).expect("usable");
    assert!(config.apps.iter().all(|app| app.credential.is_some()));

    let paged = loaded(&format!("{}[page]\napp = 'helper'\n", apps(&[&plain])), &[]).expect("usable");
    assert_eq!((config.page_app.as_str(), paged.page_app.as_str()), ("hexmap", "helper"));
    assert!(fault("[page]\napp = 'helper'\n", &[]).contains("page.app: is not the id of an app"));
    assert!(fault("[page]\napp = 'magic'\n", &[]).contains("[magic] enabled = true"));
    let magic = loaded("[magic]\nenabled = true\n[page]\napp = 'magic'\n", &[]).expect("usable");
    assert_eq!((magic.magic, config.magic, magic.page_app.as_str()), (true, false, "magic"));

    assert!(fault(&with_credential, &[]).contains("HELPER_TOKEN: is not set"));
    assert!(fault(&apps(&[&remote]), &[]).contains("apps[1]: credential_env must name"));
    assert!(fault(&format!("{}credential_env = 'X'\n", apps(&[&plain])), &[]).contains("is for an app with an [mcp] server"));
    assert!(fault(&apps(&[&plain, &plain]), &[]).contains("apps[2]: there is another app called \"helper\""));
    let map = manifest("map", &text.replace("helper", "hexmap"));
    assert!(fault(&apps(&[&map]), &[]).contains("another app called \"hexmap\""));
    let builtin = manifest("builtin", &format!("{text}{}", server.replace("https://tools.example/mcp", "builtin")));
    assert!(fault(&apps(&[&builtin]), &[]).contains("only what comes with the gateway has such a server"));
    let taken = manifest("taken", &text.replace("helper", "magic"));
    assert!(fault(&apps(&[&taken]), &[]).contains("another app called \"magic\""), "also where it is switched off");
    let both = fault(&apps(&["/nowhere/at/all", &map]), &[]);
    assert!(both.contains("apps[1]: /nowhere/at/all/app.toml") && both.contains("apps[2]"), "all at once: {both}");
    std::fs::remove_file(folder.path().join("plain/prompt.md")).expect("removed");
    assert!(fault(&apps(&[&plain]), &[]).contains("prompt.md"));
}

#[test]
fn providers_are_checked_with_their_keys() {
    let file = "[[model.providers]]\nname = 'main'\naddress = 'https://api.anthropic.com'\nkey_env = 'MAIN_KEY'\nkeys = [{ env = 'SECOND_KEY', weight = 3 }]\n\
                [[model.providers]]\nname = 'spare'\naddress = 'http://127.0.0.1:9'\nkey_env = 'SPARE_KEY'\nmodels = ['claude-x']\norder = 2\n";
    let keys = [("MAIN_KEY", "sk-ant-api03-a"), ("SECOND_KEY", "sk-ant-api03-b"), ("SPARE_KEY", "c")];
    let config = loaded(file, &keys).expect("usable");
    let seen: Vec<_> =
        config.providers.iter().map(|one| (one.name.as_str(), one.keys.len(), one.order, one.models.len())).collect();
    assert_eq!(seen, [("main", 2, 0, 0), ("spare", 1, 2, 1)]);
    assert!(loaded("", &[]).expect("usable").providers.is_empty(), "one provider needs no list");
    for (name, place) in
        [("MAIN_KEY", "MAIN_KEY: the key is an admin key"), ("SECOND_KEY", "SECOND_KEY: the key is an admin key")]
    {
        let admin = keys.map(|(known, key)| (known, if known == name { "sk-ant-admin01-x" } else { key }));
        assert!(fault(file, &admin).contains(place), "{name}");
    }
    assert!(fault(file, &keys[..2]).contains("SPARE_KEY: is not set, but model.providers[2] names it"));
    assert!(fault(&file.replace("'spare'", "'main'"), &keys).contains("model.providers[2].name: is another provider's too"));
    assert!(fault(&file.replace("'spare'", "'../x'"), &keys).contains("model.providers[2].name: must be"));
    assert!(fault(&file.replace("http://127.0.0.1:9", "http://example.com"), &keys).contains("model.providers[2].address"));
    assert!(fault(&format!("[model]\nupstream = 'https://x.example'\n{file}"), &keys).contains("model.upstream: is not used"));
}

#[test]
fn own_prices_and_budgets_of_every_level_are_read() {
    let file = "[budget]\nuser_day_usd = 0.5\n[budget.tiers.free]\nday_usd = 2.0\noutput_tokens_max = 2000\n\
                [budget.apps.hexmap]\nday_usd = 3.0\n[[prices]]\nmodel = 'house'\ninput = '0.10'\noutput = 2\n\
                above = { tokens = 1000, input = 0.2, output = 4 }\n";
    let config = loaded(file, &[]).expect("usable");
    let price = config.prices.of("house", policy::Timestamp(0));
    assert_eq!(
        (price.rates.input, price.rates.cache_read, price.rates.cache_write_1h, price.rates.output),
        (100, 100, 200, 2000)
    );
    assert_eq!(price.above.map(|tier| (tier.tokens, tier.rates.output)), Some((1000, 4000)));
    assert_eq!((config.budgets.run, config.budgets.user_day), (Microusd::dollars(1), Some(Microusd(500_000))));
    assert_eq!(config.budgets.tier("free").output_tokens_max, Some(2000));
    assert_eq!(config.budgets.apps.get("hexmap"), Some(&Microusd::dollars(3)));
    assert!(fault("[budget.apps.nothing]\nday_usd = 1.0", &[]).contains("budget.apps.nothing: is not the id of an app"));
    assert!(fault("[budget]\nuser_day_usd = -1.0", &[]).contains("budget.user_day_usd"));
    assert!(fault("[budget.tiers.free]\ncontext_tokens_max = 0", &[]).contains("budget.tiers.free.context_tokens_max"));
    let twice = "[[prices]]\nmodel = 'm'\ninput = 1\noutput = 1\n".repeat(2);
    assert!(fault(&twice, &[]).contains("prices: the price of \"m\" stands twice"));
}
