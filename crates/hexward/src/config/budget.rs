//! `[budget]`: what may be spent, on every level.

use super::{Faults, dollars};
use policy::{Budgets, Microusd, TierLimits};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BudgetFile {
    pub(super) run_usd: f64,
    pub(super) day_usd: f64,
    user_day_usd: Option<f64>,
    tiers: BTreeMap<String, TierFile>,
    apps: BTreeMap<String, AppFile>,
}

impl Default for BudgetFile {
    fn default() -> Self {
        Self { run_usd: 1.0, day_usd: 5.0, user_day_usd: None, tiers: BTreeMap::new(), apps: BTreeMap::new() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TierFile {
    day_usd: Option<f64>,
    output_tokens_max: Option<u64>,
    context_tokens_max: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AppFile {
    day_usd: f64,
}

/// `run` and `day` are checked already; `is_app` says whether there is an app of an id.
pub(super) fn read(
    file: &BudgetFile,
    (run, day): (Microusd, Microusd),
    is_app: impl Fn(&str) -> bool,
    faults: &mut Faults,
) -> Budgets {
    let user_day = file.user_day_usd.map(|amount| dollars("budget.user_day_usd", amount, faults));
    let mut tiers = BTreeMap::new();
    for (name, tier) in &file.tiers {
        for (key, tokens) in [("output_tokens_max", tier.output_tokens_max), ("context_tokens_max", tier.context_tokens_max)] {
            if tokens == Some(0) {
                faults.add(&format!("budget.tiers.{name}.{key}"), "must not be 0");
            }
        }
        let day = tier.day_usd.map(|amount| dollars(&format!("budget.tiers.{name}.day_usd"), amount, faults));
        let TierFile { output_tokens_max, context_tokens_max, .. } = *tier;
        tiers.insert(name.clone(), TierLimits { day, output_tokens_max, context_tokens_max });
    }
    let mut apps = BTreeMap::new();
    for (id, app) in &file.apps {
        let place = format!("budget.apps.{id}");
        if !is_app(id) {
            faults.add(&place, "is not the id of an app");
        }
        apps.insert(id.clone(), dollars(&format!("{place}.day_usd"), app.day_usd, faults));
    }
    Budgets { run, user_day, tiers, apps, day }
}
