//! `[model]`: where answers come from, and how many calls are made at once.

use super::providers::{self, ProviderFile};
use super::{Environment, Faults};
use proxy::messages::{ModelUpstream, ProviderConfig};
use serde::Deserialize;

pub(super) const PROVIDER: &str = "https://api.anthropic.com";
const CALLS_MAX_MAX: usize = 100_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ModelFile {
    pub(super) upstream: Option<String>,
    /// Model calls at the same time, of everybody.
    calls_max: Option<usize>,
    pub(super) providers: Vec<ProviderFile>,
}

/// What was said of it.
pub(super) struct Model {
    pub(super) upstream: String,
    pub(super) providers: Vec<ProviderConfig>,
    pub(super) calls_max: usize,
}

pub(super) fn read(file: &ModelFile, environment: &Environment, faults: &mut Faults) -> Model {
    let upstream = file.upstream.clone().unwrap_or_else(|| PROVIDER.to_owned());
    if let Err(error) = ModelUpstream::check(&upstream) {
        faults.add("model.upstream", &error.to_string());
    }
    let providers = providers::read(&file.providers, environment, faults);
    let calls_max = file.calls_max.unwrap_or(proxy::CALLS_MAX);
    if !(1..=CALLS_MAX_MAX).contains(&calls_max) {
        faults.add("model.calls_max", &format!("must be between 1 and {CALLS_MAX_MAX}"));
    }
    if file.upstream.is_some() && !providers.is_empty() {
        faults.add("model.upstream", "is not used beside [[model.providers]]; remove it");
    }
    Model { upstream, providers, calls_max }
}
