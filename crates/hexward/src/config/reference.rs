//! What each key and each variable means: the reference that `hexward config reference` prints, and what a start says of the
//! environment. Which keys there are, and their types, is asked of the code ([`trace`]); that bounds and defaults are those that
//! hold is tried by the tests beside this.

use super::File;
use super::trace::{self, Part};
use std::fmt::Write as _;

/// What is said of one key.
pub(super) struct Key {
    /// `egress[].host`, `map.tiers.NAME.maps_max`.
    pub(super) name: &'static str,
    /// As it would be written; empty where leaving it out is something of its own.
    pub(super) default: &'static str,
    pub(super) bounds: Bounds,
    /// One sentence.
    pub(super) text: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Its type says it.
    Type,
    /// From, to.
    Within(i64, i64),
    /// More than 0, at most 1,000,000.
    Dollars,
    /// In words.
    Said(&'static str),
}

/// What may be shown of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Plain,
    /// The beginning of its digest.
    Secret,
    /// But for its password.
    Address,
}

/// A name of the environment.
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) shown: Shown,
    /// What it does where it is set.
    pub(super) effect: &'static str,
}

const fn key(name: &'static str, default: &'static str, bounds: Bounds, text: &'static str) -> Key {
    Key { name, default, bounds, text }
}

/// In the order in which they are read.
const KEYS: &[Key] = &[
    key(
        "deployment",
        "\"development\"",
        Bounds::Type,
        "`production` refuses whatever weakens: direct mode, private addresses, an agent or a host that is not as it should be.",
    ),
    key(
        "gateway.name",
        "\"\"",
        Bounds::Said("at most 64 characters"),
        "Names this gateway in the database; two gateways on one database need two. Left out, one is made at the first start and kept in the state folder.",
    ),
    key(
        "gateway.user",
        "\"\"",
        Bounds::Said("a name or number of the host, never root"),
        "Whom a gateway that root started becomes before it opens a port. Left out: the user `hexward`, or number 1990000.",
    ),
    key(
        "listen.people",
        "\"127.0.0.1:7410\"",
        Bounds::Said("an address with a port"),
        "Where people connect. Port 0 takes any free one.",
    ),
    key(
        "listen.callers",
        "\"127.0.0.1:7412\"",
        Bounds::Said("an address with a port"),
        "Where remote callers connect, if they may.",
    ),
    key("callers.enabled", "false", Bounds::Type, "Opens the callers' listener also without `INTERNAL_PROXY_SECRET`."),
    key(
        "callers.internal_day_usd",
        "",
        Bounds::Dollars,
        "What the principal `internal` may spend in a UTC day. Left out: `budget.day_usd`.",
    ),
    key(
        "callers.internal_networks[]",
        "",
        Bounds::Said("networks like `10.1.0.0/16`"),
        "From where the internal secret may be used. Left out: anywhere.",
    ),
    key("agent.path", "", Bounds::Said("a file"), "The agent's executable. Left out: where `hexward agent install` puts it."),
    key("agent.jail", "", Bounds::Said("a file"), "The program that confines. Left out: `hexward-jail` beside this program."),
    key("agent.runtime", "", Bounds::Said("a folder"), "The runtime for code, as `hexward runtime-build` leaves it."),
    key("agent.base_url", "true", Bounds::Type, "`false` leaves agents to dial the provider's own name, which is intercepted."),
    key(
        "model.upstream",
        "\"https://api.anthropic.com\"",
        Bounds::Said("`https://HOST`, or `http://` on loopback; no path"),
        "The model's provider, where there is only one.",
    ),
    key("model.calls_max", "2048", Bounds::Within(1, 100_000), "Model calls at the same time, of everybody."),
    key("model.providers[].name", "", Bounds::Said("1 to 32 of a-z, 0-9 and -"), "The provider's name."),
    key("model.providers[].address", "", Bounds::Said("`https://HOST`, or `http://` on loopback; no path"), "Where it is."),
    key("model.providers[].key_env", "", Bounds::Said("a variable's name"), "The variable with its key."),
    key("model.providers[].keys[].env", "", Bounds::Said("a variable's name"), "The variable with a further key."),
    key("model.providers[].keys[].weight", "1", Bounds::Said("at least 1"), "The further key's share."),
    key("model.providers[].models[]", "", Bounds::Said("exact ids"), "The models it is asked for; none are all."),
    key("model.providers[].order", "0", Bounds::Said("at least 0"), "Smaller is tried first."),
    key("model.providers[].weight", "1", Bounds::Said("at least 1"), "Its share among those of the same order."),
    key("budget.run_usd", "1.0", Bounds::Dollars, "What one run may cost."),
    key("budget.day_usd", "5.0", Bounds::Dollars, "What everybody together may spend in a UTC day."),
    key("budget.user_day_usd", "", Bounds::Dollars, "What one user may spend in a UTC day. Left out: no level of its own."),
    key("budget.tiers.NAME.day_usd", "", Bounds::Dollars, "What all people of a tier may spend in a UTC day."),
    key(
        "budget.tiers.NAME.output_tokens_max",
        "",
        Bounds::Said("at least 1"),
        "Output tokens of one call, within the app's manifest.",
    ),
    key(
        "budget.tiers.NAME.context_tokens_max",
        "",
        Bounds::Said("at least 1"),
        "Tokens of one prompt, by its bytes: four to a token.",
    ),
    key("budget.apps.NAME.day_usd", "", Bounds::Dollars, "What all runs of an app may spend in a UTC day."),
    key("prices[].model", "", Bounds::Said("a model's id"), "Whose price it is."),
    key("prices[].from", "", Bounds::Said("a day like `2026-12-01`"), "The first UTC day. Left out: always."),
    key("prices[].input", "", Bounds::Said("at most three decimals"), "USD per million tokens of a prompt."),
    key("prices[].output", "", Bounds::Said("at most three decimals"), "USD per million tokens of an answer."),
    key("prices[].cache_read", "", Bounds::Said("at most three decimals"), "USD per million. Left out: as much as `input`."),
    key("prices[].cache_write_5m", "", Bounds::Said("at most three decimals"), "USD per million. Left out: twice `input`."),
    key("prices[].cache_write_1h", "", Bounds::Said("at most three decimals"), "USD per million. Left out: twice `input`."),
    key(
        "prices[].above.tokens",
        "",
        Bounds::Said("at least 1"),
        "From this many prompt tokens on, the whole call costs what follows.",
    ),
    key("prices[].above.input", "", Bounds::Said("at most three decimals"), "As above, of a large prompt."),
    key("prices[].above.output", "", Bounds::Said("at most three decimals"), "As above, of a large prompt."),
    key("prices[].above.cache_read", "", Bounds::Said("at most three decimals"), "As above, of a large prompt."),
    key("prices[].above.cache_write_5m", "", Bounds::Said("at most three decimals"), "As above, of a large prompt."),
    key("prices[].above.cache_write_1h", "", Bounds::Said("at most three decimals"), "As above, of a large prompt."),
    key("runs.wall_clock_secs", "300", Bounds::Said("at least 1"), "How long one run may take."),
    key("runs.concurrent_max", "16", Bounds::Within(1, 10_000), "Runs at the same time."),
    key("runs.queue_max", "100", Bounds::Within(0, 10_000), "Runs that wait for a place; 0 lets nobody wait."),
    key("runs.queue_wait_secs", "60", Bounds::Within(1, 3_600), "How long they wait."),
    key("runs.idle_secs", "600", Bounds::Type, "How long an agent waits for the next message of its conversation."),
    key("runs.idle_agents_max", "16", Bounds::Type, "How many agents may wait."),
    key("runs.warm_agents_max", "4", Bounds::Type, "Agents started before anybody needs them, at most."),
    key(
        "runs.confirmation_wait_secs",
        "45",
        Bounds::Within(0, 50),
        "How long a call waits for its person's yes before its agent is told that it waits.",
    ),
    key("limits.inactive_secs", "120", Bounds::Within(1, 86_400), "How long an agent may do nothing in the middle of a run."),
    key("limits.cpu_secs", "180", Bounds::Within(1, 86_400), "Processor time of a run, all its processes together."),
    key("limits.output_mb", "256", Bounds::Within(1, 4_096), "What an agent may print in a run."),
    key("limits.connections_max", "64", Bounds::Within(1, 1_024), "Connections that it has open at once."),
    key("limits.connections_per_minute", "3000", Bounds::Within(1, 1_000_000), "Connections that it makes within a minute."),
    key("limits.requests_per_minute", "3000", Bounds::Within(1, 1_000_000), "Requests and name questions within a minute."),
    key("rates.address_per_minute", "10", Bounds::Within(1, 1_000_000), "Messages from one address (IPv4, or an IPv6 /64)."),
    key("rates.address_per_hour", "100", Bounds::Within(1, 1_000_000), "The same in an hour."),
    key("rates.address_per_day", "1000", Bounds::Within(1, 1_000_000), "The same in a day."),
    key("rates.network56_times", "4", Bounds::Within(1, 65_536), "A /56 may send so many times as much."),
    key("rates.network48_times", "16", Bounds::Within(1, 65_536), "A /48 may send so many times as much."),
    key("rates.messages_per_minute", "300", Bounds::Within(1, 1_000_000), "Messages of everybody."),
    key("rates.tool_calls_per_hour", "200", Bounds::Within(1, 1_000_000), "Tool calls of one user's agents."),
    key("rates.key_per_hour", "10000", Bounds::Within(1, 1_000_000_000), "Model calls with one key of the callers' listener."),
    key("rates.calls_per_minute", "3000", Bounds::Within(1, 1_000_000), "Model calls with all of them."),
    key("rates.edits_per_minute", "240", Bounds::Within(1, 1_000_000), "What one person does in an app's page by hand."),
    key("rates.danger_any_user_rate", "false", Bounds::Type, "Allows `user_per_hour` outside of 50 to 200."),
    key("rates.tiers.anonymous.user_per_hour", "100", Bounds::Within(50, 200), "Messages of one anonymous person."),
    key("rates.tiers.anonymous.together_per_minute", "200", Bounds::Within(1, 1_000_000), "Messages of all of them."),
    key("rates.tiers.anonymous.weight", "1", Bounds::Within(1, 1_000), "Their share while others wait too."),
    key("rates.tiers.signed-in.user_per_hour", "200", Bounds::Within(50, 200), "Messages of one person who signed in."),
    key("rates.tiers.signed-in.together_per_minute", "300", Bounds::Within(1, 1_000_000), "Messages of all of them."),
    key("rates.tiers.signed-in.weight", "2", Bounds::Within(1, 1_000), "Their share while others wait too."),
    key(
        "rates.behaviour.hasty",
        "50",
        Bounds::Said("1 to 1,000,000, below `suspicious`"),
        "Points from which on an agent's calls are slowed down.",
    ),
    key(
        "rates.behaviour.suspicious",
        "100",
        Bounds::Said("below `hostile`"),
        "Points from which on they wait for a word of the person.",
    ),
    key("rates.behaviour.hostile", "200", Bounds::Said("at most 1,000,000"), "Points at which the run ends."),
    key("egress[].host", "", Bounds::Said("a name; no address, wildcard or scheme"), "A host that sandboxes may reach."),
    key("egress[].port", "443", Bounds::Said("1 to 65535; 16 ports beside 80 and 443"), "At this port."),
    key("egress[].scheme", "", Bounds::Said("fixed for ports 80 and 443"), "`https` unless said otherwise."),
    key("egress[].methods[]", "", Bounds::Said("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"), "With these methods."),
    key("egress[].paths[]", "", Bounds::Said("exact, or all below with `/*` at the end"), "Under these paths."),
    key(
        "egress[].credential.env",
        "",
        Bounds::Said("a variable's name; at least 16 characters in it"),
        "The credential that the gateway adds.",
    ),
    key("egress[].credential.header", "\"authorization\"", Bounds::Type, "In this header."),
    key("egress[].credential.prefix", "\"\"", Bounds::Type, "After this text."),
    key(
        "egress[].danger_allow_private",
        "false",
        Bounds::Said("refused in production"),
        "Accepts that the name leads to loopback or a private network.",
    ),
    key(
        "hosts[].id",
        "",
        Bounds::Said("1 to 64 letters, digits, `-`, `_` and `.`"),
        "A web application with users of its own; no other's id.",
    ),
    key(
        "hosts[].issuer",
        "",
        Bounds::Said("1 to 300 characters; no other's"),
        "Who says who a user is: `iss` of its assertions.",
    ),
    key("hosts[].audience", "\"hexward\"", Bounds::Said("1 to 300 characters"), "`aud` of its assertions."),
    key(
        "hosts[].jwks_url",
        "",
        Bounds::Said("`https://...`; this or `secret_env`"),
        "Where it publishes the keys that it signs with.",
    ),
    key(
        "hosts[].secret_env",
        "",
        Bounds::Said("a variable's name; at least 32 bytes in it"),
        "Instead: the variable with the secret that it signs with (HS256).",
    ),
    key(
        "hosts[].algorithms[]",
        "",
        Bounds::Said("public ones with `jwks_url`, `HS256` with `secret_env`"),
        "How it may sign. Left out: all that fit.",
    ),
    key("hosts[].tier_claim", "", Bounds::Said("a claim's name"), "The claim of an assertion that says the user's tier."),
    key("hosts[].tiers.NAME", "", Bounds::Said("`anonymous` or `signed-in`"), "What a value of that claim is here."),
    key("hosts[].apps[]", "", Bounds::Said("apps' ids"), "The apps that its users have."),
    key("hosts[].origins[]", "", Bounds::Said("exact origins; http for loopback only"), "From where its pages may use tickets."),
    key("hosts[].day_usd", "", Bounds::Dollars, "What its users may spend together in a UTC day."),
    key("hosts[].user_day_usd", "", Bounds::Dollars, "What each of them may spend in a UTC day."),
    key("hosts[].messages_per_hour", "", Bounds::Said("1 to 1000000000"), "Messages of its users together."),
    key("hosts[].webhooks[].id", "", Bounds::Said("1 to 32 of a-z, 0-9 and -"), "Where it is told what happened; its name."),
    key("hosts[].webhooks[].url", "", Bounds::Said("`https://...`; http only with `danger_allow_private`"), "Its address."),
    key(
        "hosts[].webhooks[].secret_env",
        "",
        Bounds::Said("a variable's name; at least 24 bytes in it"),
        "The variable with the secret that deliveries are signed with.",
    ),
    key(
        "hosts[].webhooks[].previous_secret_env",
        "",
        Bounds::Said("a variable's name; at least 24 bytes in it"),
        "A second secret that is signed with too, while the first one changes.",
    ),
    key(
        "hosts[].webhooks[].events[]",
        "",
        Bounds::Said("`run.finished`, `confirmation.pending`, `budget.threshold`, `anomaly`"),
        "What it is told.",
    ),
    key(
        "hosts[].webhooks[].danger_allow_private",
        "false",
        Bounds::Said("refused in production"),
        "Accepts that the address leads to loopback or a private network.",
    ),
    key("apps[].path", "", Bounds::Said("a folder with `app.toml`"), "An app beside those that come with the gateway."),
    key(
        "apps[].credential_env",
        "",
        Bounds::Said("a variable's name"),
        "The variable with the credential for its tools' server.",
    ),
    key("apps[].user_secrets", "", Bounds::Said("a folder"), "Instead: a private file for each user."),
    key("magic.enabled", "", Bounds::Type, "Switches the Magic assistant on. Left out: only a demo has it."),
    key("map.tiles_max", "20000", Bounds::Within(1, 1_000_000), "Tiles of one person, in all their maps."),
    key("map.text_mb_max", "32", Bounds::Within(1, 4_096), "Their text, in MiB."),
    key("map.maps_max", "5", Bounds::Within(1, 500), "Their maps."),
    key("map.versions_mb_max", "32", Bounds::Within(1, 4_096), "Earlier versions of tiles, in MiB; the oldest go."),
    key("map.tiers.NAME.tiles_max", "", Bounds::Within(1, 1_000_000), "What is different for a tier."),
    key("map.tiers.NAME.text_mb_max", "", Bounds::Within(1, 4_096), "What is different for a tier."),
    key("map.tiers.NAME.maps_max", "", Bounds::Within(1, 500), "What is different for a tier."),
    key("map.tiers.NAME.versions_mb_max", "", Bounds::Within(1, 4_096), "What is different for a tier."),
    key("page.app", "\"hexmap\"", Bounds::Said("an app's id"), "The app that people get."),
];

/// All that are read, but for those that the file names itself.
pub(super) const VARIABLES: &[Variable] = &[
    Variable { name: "ANTHROPIC_API_KEY", shown: Shown::Secret, effect: "the model provider's key" },
    Variable {
        name: "ANTHROPIC_API_KEY_ORIGINAL",
        shown: Shown::Secret,
        effect: "the model provider's key, before ANTHROPIC_API_KEY, as a host platform keeps the real one there",
    },
    Variable {
        name: "AUTH_SECRET",
        shown: Shown::Secret,
        effect: "keys the digests of session tokens; another one ends all sessions",
    },
    Variable { name: "DATABASE_URL", shown: Shown::Address, effect: "the database" },
    Variable {
        name: "INTERNAL_PROXY_SECRET",
        shown: Shown::Secret,
        effect: "opens the callers' listener and is a key of the principal `internal`",
    },
    Variable {
        name: "HEXFRAME_API_BASE_URL",
        shown: Shown::Plain,
        effect: "the address people use: its host is answered to, and with https cookies are Secure",
    },
    Variable {
        name: "USE_SANDBOX",
        shown: Shown::Plain,
        effect: "true confines agents, false runs them in direct mode, for development only",
    },
    Variable {
        name: "USE_ANTHROPIC_PROXY",
        shown: Shown::Plain,
        effect: "true is all that there is: every model call goes through the gateway",
    },
    Variable {
        name: "VERCEL_OIDC_TOKEN",
        shown: Shown::Secret,
        effect: "refused: there is no Vercel Sandbox backend in this version",
    },
    Variable {
        name: "NODE_ENV",
        shown: Shown::Plain,
        effect: "the value production marks the deployment as production, any other does nothing",
    },
    Variable {
        name: "VERCEL_ENV",
        shown: Shown::Plain,
        effect: "the value production marks the deployment as production, any other does nothing",
    },
    Variable {
        name: "HEXWARD_ENV",
        shown: Shown::Plain,
        effect: "the value production marks the deployment as production, any other does nothing",
    },
];

/// What is said of a key.
pub(super) fn key_of(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The reference, as Markdown.
pub(crate) fn text() -> String {
    let mut text = HEAD.to_owned();
    let mut table = None;
    for known in trace::keys_of::<File>() {
        let name = trace::written(&known.path);
        let first = name.split(['.', '[']).next().unwrap_or_default().to_owned();
        if table.as_ref() != Some(&first) {
            let _ = writeln!(text, "\n## {first}\n\n| key | type | default | bounds | what it is |\n|---|---|---|---|---|");
            table = Some(first);
        }
        let Some(Key { default, bounds, text: what, .. }) = key_of(&name) else {
            let _ = writeln!(text, "| `{name}` | {} | | | |", known.kind);
            continue;
        };
        let is_needed = !known.optional && matches!(known.path.last(), Some(Part::Name(_)));
        let default = match (default.is_empty(), is_needed) {
            (true, true) => "needed".to_owned(),
            (true, false) => String::new(),
            (false, _) => format!("`{default}`"),
        };
        let _ = writeln!(text, "| `{name}` | {} | {default} | {} | {what} |", known.kind, bounds.said());
    }
    text.push_str("\n## Environment\n\n| variable | shown | what it does |\n|---|---|---|\n");
    for Variable { name, shown, effect } in VARIABLES {
        let shown = match shown {
            Shown::Plain => "as it is",
            Shown::Secret => "whether it is set",
            Shown::Address => "without its password",
        };
        let _ = writeln!(text, "| `{name}` | {shown} | {effect} |");
    }
    text
}

const HEAD: &str = "# Reference of the configuration

Written by `hexward config reference` from the types that read the file; a test compares this page with it. `[]` stands for the
entries of a list (`[[egress]]`), `NAME` for a name of your own. What belongs together is told in [configure.md](configure.md).
";

impl Bounds {
    fn said(self) -> String {
        match self {
            Self::Type => String::new(),
            Self::Within(from, to) => format!("{from} to {to}"),
            Self::Dollars => "more than 0, at most 1000000".to_owned(),
            Self::Said(text) => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;
    use crate::config::tests::loaded;

    /// `map.tiers.NAME.x` with a name that can stand there.
    fn concrete(name: &str) -> String {
        name.replace("budget.apps.NAME", "budget.apps.hexmap").replace("NAME", "free")
    }

    #[test]
    fn every_key_that_is_read_is_in_the_reference_and_no_other() {
        let read: Vec<_> = trace::keys_of::<File>().iter().map(|known| trace::written(&known.path)).collect();
        let missing: Vec<_> = read.iter().filter(|name| key_of(name).is_none()).collect();
        assert!(missing.is_empty(), "say in config/reference.rs what these are: {missing:?}");
        let gone: Vec<_> = KEYS.iter().filter(|key| !read.iter().any(|name| name == key.name)).map(|key| key.name).collect();
        assert!(gone.is_empty(), "nothing reads these any more: {gone:?}");
        assert!(KEYS.iter().all(|key| !key.text.is_empty()));
    }

    #[test]
    fn each_default_is_the_one_that_holds() {
        let usual = format!("{:?}", File::default());
        let mut tried = 0;
        for known in trace::keys_of::<File>() {
            let name = trace::written(&known.path);
            let Some(key) = key_of(&name).filter(|key| !key.default.is_empty() && !name.contains("[]")) else { continue };
            let source = Source::parse(&format!("{name} = {}", key.default), "t").unwrap_or_else(|faults| panic!("{faults}"));
            assert!(source.faults.is_empty(), "{name}: {}", source.faults);
            if !known.optional {
                assert_eq!(format!("{:?}", source.file), usual, "{name}");
                tried += 1;
            }
        }
        assert!(tried > 30, "{tried}");
        // Where leaving out is decided later, the number is looked up there.
        let (rules, map) = (policy::RateRules::default(), hexmap::map::Limits::default());
        for (name, value) in [
            ("model.calls_max", proxy::CALLS_MAX.to_string()),
            ("rates.tiers.anonymous.user_per_hour", rules.anonymous.user_per_hour.to_string()),
            ("rates.tiers.anonymous.together_per_minute", rules.anonymous.together_per_minute.to_string()),
            ("rates.tiers.anonymous.weight", rules.anonymous.weight.to_string()),
            ("rates.tiers.signed-in.user_per_hour", rules.signed_in.user_per_hour.to_string()),
            ("rates.tiers.signed-in.together_per_minute", rules.signed_in.together_per_minute.to_string()),
            ("rates.tiers.signed-in.weight", rules.signed_in.weight.to_string()),
            ("rates.behaviour.hasty", rules.behaviour.hasty.to_string()),
            ("rates.behaviour.suspicious", rules.behaviour.suspicious.to_string()),
            ("rates.behaviour.hostile", rules.behaviour.hostile.to_string()),
            ("map.tiles_max", map.tiles_max.to_string()),
            ("map.maps_max", map.maps_max.to_string()),
            ("map.text_mb_max", (map.bytes_max >> 20).to_string()),
            ("map.versions_mb_max", (map.version_bytes_max >> 20).to_string()),
        ] {
            assert_eq!(key_of(name).map(|key| key.default), Some(value.as_str()), "{name}");
        }
    }

    #[test]
    fn each_bound_is_the_one_that_holds() {
        let faulty = |name: &str, value: &str| {
            let text = loaded(&format!("{} = {value}", concrete(name)), &[]).err();
            text.is_some_and(|text| text.contains(&concrete(name)))
        };
        let mut tried = 0;
        for key in KEYS.iter().filter(|key| !key.name.contains("[]")) {
            let (good, bad) = match key.bounds {
                Bounds::Within(from, to) => ([from.to_string(), to.to_string()], [(from - 1).to_string(), (to + 1).to_string()]),
                Bounds::Dollars => (["0.000001".to_owned(), "1000000".to_owned()], ["0".to_owned(), "1000000.1".to_owned()]),
                Bounds::Type | Bounds::Said(_) => continue,
            };
            tried += 1;
            good.iter().for_each(|value| assert!(!faulty(key.name, value), "{} = {value}", key.name));
            bad.iter().for_each(|value| assert!(faulty(key.name, value), "{} = {value}", key.name));
        }
        assert!(tried > 35, "{tried}");
    }

    #[test]
    fn the_page_is_as_the_code_says() {
        let page = include_str!("../../../../docs/configuration-reference.md");
        assert!(page == text(), "docs/configuration-reference.md: write it anew with `hexward config reference`");
    }
}
