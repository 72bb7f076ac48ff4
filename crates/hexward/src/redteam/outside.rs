//! What the outside saw: the audit log, the provider, the host's files and listeners, and that nothing is left.

use super::booth::Answers;
use super::report::Report;
use super::stage::{Left, Stage};
use anyhow::Result;
use policy::RunId;
use std::path::Path;
use std::time::Duration;

/// Refusals of one run that are written down at most (the proxy's own bound), with a few entries of other kinds.
const ENTRIES_MAX: usize = 300;
const END_WAIT: Duration = Duration::from_secs(5);
/// What no request that reached the provider may carry.
const MARK: &[u8] = b"hexward-attack";

/// The other sandbox goes on as before.
pub(crate) fn neighbour(needs: &Answers, report: &mut Report) {
    let passed = needs.rows.iter().filter(|row| row.pass).count();
    let whole = needs.done && passed > 0 && passed == needs.rows.len();
    report.add(
        "outside.neighbour",
        "the sandbox beside works on after the attacks on it",
        "all that an agent needs works there",
        whole,
        format!("{passed} of {}", needs.rows.len()),
    );
}

/// While the gateway still runs.
pub(crate) async fn look(stage: &Stage, report: &mut Report) -> Result<()> {
    audit(stage, report).await?;
    provider(stage, report);
    allowed_host(stage, report);
    bounds(stage, report).await?;
    host(stage, report);
    let mut last = stage.open("last").await?;
    let facts = stage.facts(last.init_pid);
    let needs = last.ask("needs", &facts).await;
    last.close().await;
    let passed = needs.rows.iter().filter(|row| row.pass).count();
    let whole = needs.done && passed > 0 && passed == needs.rows.len();
    let observed = format!("{passed} of {}", needs.rows.len());
    report.add("outside.gateway", "a new sandbox after all attacks", "all that an agent needs works there", whole, observed);
    Ok(())
}

async fn entries(stage: &Stage, run: Option<RunId>) -> Result<Vec<String>> {
    let Some(run) = run else { return Ok(Vec::new()) };
    let entries = stage.gateway.store.audit_of_run(run).await?;
    Ok(entries.into_iter().filter(|(kind, _)| kind == "denied").map(|(_, detail)| detail).collect())
}

/// What was wanted stands in the audit log, with the run it was wanted in.
async fn audit(stage: &Stage, report: &mut Report) -> Result<()> {
    let wanted = [
        ("http", "egress.host", "169.254.169.254"),
        ("http", "egress.host", "evil.example"),
        ("http", "egress.host", "intranet"),
        ("http", "egress.host", "(no single Host header)"),
        ("requests", "model.path", "/v1/files"),
        ("requests", "tool.not_emitted", "getCurrentUser"),
        ("tls", "egress.tls", "evil.example"),
        ("tls", "egress.tls", "(no server name)"),
        ("https", "egress.host", "evil.example over TLS for api.anthropic.com"),
        ("http2", "egress.host", "evil.example as api.anthropic.com"),
        ("hosts", "egress.rule", "/closed/x"),
        ("names", "egress.host", "c2stYW50LWhleHdhcmQtc3RvbGVu.hexward-attack.example"),
    ];
    for (group, code, what) in wanted {
        let found = entries(stage, stage.run_of(group)).await?;
        let entry = found.iter().find(|entry| entry.contains(code) && entry.contains(what));
        let id = format!("outside.audit.{code}.{}", what.trim_matches(['(', ')', '/']).replace([' ', '/'], "_"));
        let observed = entry.cloned().unwrap_or_else(|| format!("not among {} entries", found.len()));
        report.add(&id, "what was wanted stands in the audit log", &format!("{code} {what}"), entry.is_some(), observed);
    }
    Ok(())
}

fn provider(stage: &Stage, report: &mut Report) {
    let all = stage.fake.requests();
    let strange: Vec<&str> = all.iter().map(|exchange| exchange.path.as_str()).filter(|path| *path != "/v1/messages").collect();
    report.add(
        "outside.paths",
        "paths that reached the provider",
        "/v1/messages only",
        strange.is_empty(),
        format!("{strange:?}"),
    );
    let attacks = all.iter().filter(|exchange| holds(&exchange.body, MARK)).count();
    let observed = format!("{attacks} of {} requests", all.len());
    report.add("outside.attacks", "refused requests that reached the provider all the same", "none", attacks == 0, observed);
    let key = |exchange: &fake::Exchange| {
        exchange.headers.get("x-api-key").is_some_and(|key| key.as_bytes() == stage.api_key.as_bytes())
    };
    let foreign = all.iter().filter(|exchange| !key(exchange) || exchange.headers.contains_key("authorization")).count();
    let observed = format!("{foreign} of {} with another", all.len());
    report.add(
        "outside.key",
        "whose key reached the provider",
        "the gateway's, nobody else's",
        foreign == 0 && !all.is_empty(),
        observed,
    );
    let stolen = all.iter().filter(|exchange| holds(&exchange.body, b"with-a-stolen-key")).count();
    report.add(
        "outside.stolen_key",
        "the request with a stolen key",
        "sent once, with the gateway's key",
        stolen == 1,
        format!("{stolen}"),
    );
    let odd = ["cookie", "x-forwarded-for", "proxy-authorization", "forwarded"];
    let passed: Vec<&str> =
        odd.into_iter().filter(|name| all.iter().any(|exchange| exchange.headers.contains_key(*name))).collect();
    report.add(
        "outside.headers",
        "headers of the agent's that reached the provider",
        "none that steer",
        passed.is_empty(),
        format!("{passed:?}"),
    );
}

/// The host that a rule names got what the rule names, with the operator's credential and no other.
fn allowed_host(stage: &Stage, report: &mut Report) {
    let heads = stage.host.heads();
    let path = |head: &String| head.split(' ').nth(1).unwrap_or_default().to_owned();
    let other: Vec<String> = heads.iter().map(path).filter(|path| !path.starts_with("/open/")).collect();
    let whole = other.is_empty() && !heads.is_empty();
    let observed = format!("{} requests, of which {other:?}", heads.len());
    report.add("outside.host_paths", "paths that reached the allowed host", "those of its rule only", whole, observed);
    let own = format!("authorization: Bearer {}", stage.host.secret);
    let good = |head: &&String| head.matches(&own).count() == 1 && !head.contains("hexward-stolen");
    let count = heads.iter().filter(good).count();
    let observed = format!("{count} of {} requests", heads.len());
    let whole = count == heads.len() && count > 0;
    report.add("outside.host_key", "whose key reached the allowed host", "the operator's alone, each time", whole, observed);
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

async fn bounds(stage: &Stage, report: &mut Report) -> Result<()> {
    let floods = entries(stage, stage.run_of("floods")).await?.len();
    let id = "outside.entries";
    report.add(
        id,
        "audit entries that a flood of refusals made",
        "bounded",
        (1..=ENTRIES_MAX).contains(&floods),
        format!("{floods}"),
    );
    let runs: Vec<(String, RunId)> = stage.runs.lock().clone();
    let mut calls = Vec::new();
    for (group, run) in runs {
        calls.extend(stage.gateway.store.tool_calls_of(run).await?.into_iter().map(|(_, tool, _)| format!("{group}: {tool}")));
    }
    report.add("outside.tools", "tools called without being asked for", "none", calls.is_empty(), format!("{calls:?}"));
    let open = stage.gateway.store.open_model_calls().await?;
    report.add("outside.settled", "reservations that the attacks left open", "none", open == 0, format!("{open}"));
    Ok(())
}

/// Files and listeners of the host.
fn host(stage: &Stage, report: &mut Report) {
    let (tcp, local) = (stage.doors.tcp.accept().is_ok(), stage.doors.local.accept().is_ok());
    report.add("outside.port", "connections that arrived at a port of the host", "none", !tcp, format!("{tcp}"));
    report.add(
        "outside.abstract",
        "connections that arrived at an abstract socket of the host",
        "none",
        !local,
        format!("{local}"),
    );
    let whole = std::fs::read(stage.folder.path().join("canary")).is_ok_and(|bytes| bytes.ends_with(b"may see\n"));
    report.add("outside.canary", "a file of the host after rm -rf /", "as it was", whole, format!("as it was: {whole}"));
    let there = [".env", "state", "redteam.db"].iter().all(|name| stage.folder.path().join(name).exists());
    report.add("outside.files", "the gateway's files after rm -rf /", "there", there, format!("there: {there}"));
}

/// When the gateway has ended.
pub(crate) fn after_the_end(left: &Left, report: &mut Report) {
    let alive: Vec<u32> = left.inits.iter().copied().filter(|pid| still_runs(*pid)).collect();
    let expected = format!("none of {}", left.inits.len());
    report.add("outside.left", "first processes of sandboxes that still run", &expected, alive.is_empty(), format!("{alive:?}"));
    let scratch = left.folder.path().join("state/scratch").exists();
    report.add("outside.scratch", "folders that sandboxes left behind", "none", !scratch, format!("left: {scratch}"));
}

/// A moment is given to the kernel, which buries processes after their last word.
fn still_runs(pid: u32) -> bool {
    let running = || {
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
    };
    let begun = std::time::Instant::now();
    while running() && begun.elapsed() < END_WAIT {
        std::thread::sleep(Duration::from_millis(50));
    }
    running()
}
