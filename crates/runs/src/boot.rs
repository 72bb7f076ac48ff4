//! Starts an agent: its sandbox, its listeners served, and whatever may stand behind them at first.

use crate::Parts;
use crate::agents::{Agent, Kind};
use futures_util::FutureExt;
use policy::{RunId, SandboxId, UserId};
use proxy::egress::{HookedListener, RefusedPorts, SandboxCa, serve_hooked, serve_sandbox};
use proxy::{App, Dialogue, Expected, Gate};
use sandbox::{Claude, ClaudeOptions, Network, PastMessage, SandboxError, Usage};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// The boot arguments of an agent of this app that is told this past.
pub(crate) fn options(parts: &Parts, app: &str, writes: bool, past: Vec<PastMessage>) -> Option<ClaudeOptions> {
    let chosen = parts.apps.get(app)?;
    let (manifest, settings) = (&chosen.app.manifest, &parts.settings);
    Some(ClaudeOptions {
        model: manifest.agent.model.clone(),
        system_prompt: chosen.prompt.clone(),
        runtime: manifest.runtime(),
        tools_server: manifest.mcp.as_ref().map(|mcp| mcp.name.clone()),
        tools: manifest.tools_offered(writes).into_iter().map(str::to_owned).collect(),
        turns_max: manifest.agent.turns_max,
        budget: settings.run_budget,
        output_tokens_max: manifest.agent.output_tokens_max,
        past,
        tell_base_url: settings.tell_base_url,
    })
}

/// What an agent without a past has to be started with to do this app's work.
pub(crate) fn kind(parts: &Parts, app: &App, writes: bool) -> Kind {
    let key = app.manifest.key();
    let boot = options(parts, &key, writes, Vec::new()).map(|options| options.digest()).unwrap_or_default();
    Kind { app: key, writes, boot }
}

/// A prompt that no other person's begins like. The provider's cache is found by a prompt's beginning, so nobody can try out what
/// somebody else has asked.
pub(crate) fn prompt_of_its_own(prompt: &str, user: UserId) -> String {
    // Known to nobody outside, and new at each start; a cache does not live longer than an hour.
    static SALT: OnceLock<RunId> = OnceLock::new();
    let salt = SALT.get_or_init(RunId::random);
    let [a, b, c, d, e, f, g, h, ..] = policy::digest_bytes(format!("{salt} {user}").as_bytes());
    format!("[conversation space {:016x}]\n\n{prompt}", u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// Starts one. `bind` says what its listeners may answer from their first moment on.
pub(crate) async fn start(parts: &Parts, options: &ClaudeOptions, bind: impl FnOnce(&Gate)) -> Result<Agent, SandboxError> {
    let (id, since) = (SandboxId::random(), parts.clock.now());
    let ca = SandboxCa::generate().map_err(|error| SandboxError::Ended(error.to_string()))?;
    let mut spec = options.spec(id, ca.certificate_pem().to_owned());
    spec.extra_ports = parts.proxy.extra_ports();
    let sandbox = parts.driver.start(spec).await?;
    for downgrade in &sandbox.downgrades {
        tracing::warn!(sandbox = %id, "not enforced on this host: {downgrade}");
    }
    if !sandbox.downgrades.is_empty() && !parts.settings.danger_accept_downgrades {
        sandbox.life.destroy().await;
        return Err(SandboxError::Downgraded);
    }
    tracing::info!(sandbox = %id, setup_us = sandbox.setup_us, "sandbox ready");
    let gate = Gate::bounded(id, parts.settings.limits.traffic).with_dialogue(Arc::new(dialogue(&sandbox.cwd, options)));
    let gate = Arc::new(gate);
    bind(&gate);
    let (stop, ca) = (CancellationToken::new(), Arc::new(ca));
    let (proxy, serving_gate, until) = (Arc::clone(&parts.proxy), Arc::clone(&gate), stop.clone());
    let serving = match sandbox.network {
        Network::Captured(listeners) => {
            serve_sandbox(proxy, serving_gate, ca, captured(id, listeners, sandbox.init_pid), until).boxed()
        }
        Network::Hooked(listeners) => {
            let listeners = listeners.into_iter().map(|one| HookedListener { listener: one.listener, endpoint: one.endpoint });
            serve_hooked(proxy, serving_gate, ca, listeners.collect(), until).boxed()
        }
    };
    let served = tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "a sandbox's listeners can't be served");
        }
    });
    let claude = Claude::new(sandbox.stdin, sandbox.stdout, parts.settings.limits.output_bytes);
    Ok(Agent { claude, gate, life: sandbox.life, listeners: stop, served, used: Usage::default(), since })
}

/// The conversation that an agent which was started so can have.
fn dialogue(cwd: &Path, options: &ClaudeOptions) -> Dialogue {
    let expected = Expected {
        prompt: options.system_prompt.clone(),
        server: options.tools_server.clone(),
        cwd: cwd.display().to_string(),
        model: options.model.clone(),
        output_tokens: u64::from(options.output_tokens_max),
    };
    Dialogue::new(expected, options.past.iter().map(|message| (message.role, &message.content)))
}

fn captured(id: SandboxId, listeners: sandbox::Listeners, init_pid: u32) -> proxy::egress::Listeners {
    let sandbox::Listeners { http, tls, dns_udp, dns_tcp, extra } = listeners;
    let refused_ports = RefusedPorts::of(init_pid);
    if let Err(error) = &refused_ports {
        tracing::warn!(sandbox = %id, %error, "connections to ports that nobody has will not be counted");
    }
    proxy::egress::Listeners { http, tls, dns_udp, dns_tcp, extra, refused_ports: refused_ports.ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_person_has_a_prompt_that_begins_like_no_other() {
        let (ada, eve) = (UserId::random(), UserId::random());
        let of = |user| prompt_of_its_own("You keep a map.", user);
        assert_eq!(of(ada), of(ada), "the same person's is found again");
        assert_ne!(of(ada).get(..40), of(eve).get(..40));
        assert!(of(ada).ends_with("]\n\nYou keep a map."));
    }
}
