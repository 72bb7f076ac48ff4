//! `[rates]`: how many messages and calls may come in how much time.

use super::Faults;
use policy::{BehaviourRules, RateRules, TierRules};
use serde::Deserialize;

/// The range that a user's messages in an hour have to be in, unless the operator insists.
const USER_PER_HOUR: std::ops::RangeInclusive<u64> = 50..=200;
const NUMBER_MAX: u64 = 1_000_000;
const KEY_PER_HOUR_MAX: u64 = 1_000_000_000;
const TIMES_MAX: u64 = 65_536;
const WEIGHT_MAX: u32 = 1000;
const POINTS_MAX: u32 = 1_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RatesFile {
    address_per_minute: u64,
    address_per_hour: u64,
    address_per_day: u64,
    network56_times: u64,
    network48_times: u64,
    messages_per_minute: u64,
    tool_calls_per_hour: u64,
    key_per_hour: u64,
    calls_per_minute: u64,
    edits_per_minute: u64,
    lookups_per_minute: u64,
    danger_any_user_rate: bool,
    tiers: TiersFile,
    behaviour: BehaviourFile,
}

/// Points from which on an agent's conduct is called so.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BehaviourFile {
    hasty: Option<u32>,
    suspicious: Option<u32>,
    hostile: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TiersFile {
    anonymous: TierFile,
    #[serde(rename = "signed-in")]
    signed_in: TierFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TierFile {
    user_per_hour: Option<u64>,
    together_per_minute: Option<u64>,
    weight: Option<u32>,
}

impl Default for RatesFile {
    fn default() -> Self {
        let rules = RateRules::default();
        Self {
            address_per_minute: rules.address_per_minute,
            address_per_hour: rules.address_per_hour,
            address_per_day: rules.address_per_day,
            network56_times: rules.network56_times,
            network48_times: rules.network48_times,
            messages_per_minute: rules.messages_per_minute,
            tool_calls_per_hour: rules.tool_calls_per_hour,
            key_per_hour: rules.key_per_hour,
            calls_per_minute: rules.calls_per_minute,
            edits_per_minute: rules.edits_per_minute,
            lookups_per_minute: rules.lookups_per_minute,
            danger_any_user_rate: false,
            tiers: TiersFile::default(),
            behaviour: BehaviourFile::default(),
        }
    }
}

pub(super) fn read(file: &RatesFile, faults: &mut Faults) -> RateRules {
    let bounds = [
        ("rates.address_per_minute", file.address_per_minute, NUMBER_MAX),
        ("rates.address_per_hour", file.address_per_hour, NUMBER_MAX),
        ("rates.address_per_day", file.address_per_day, NUMBER_MAX),
        ("rates.network56_times", file.network56_times, TIMES_MAX),
        ("rates.network48_times", file.network48_times, TIMES_MAX),
        ("rates.messages_per_minute", file.messages_per_minute, NUMBER_MAX),
        ("rates.tool_calls_per_hour", file.tool_calls_per_hour, NUMBER_MAX),
        ("rates.key_per_hour", file.key_per_hour, KEY_PER_HOUR_MAX),
        ("rates.calls_per_minute", file.calls_per_minute, NUMBER_MAX),
        ("rates.edits_per_minute", file.edits_per_minute, NUMBER_MAX),
        ("rates.lookups_per_minute", file.lookups_per_minute, NUMBER_MAX),
    ];
    for (name, value, max) in bounds {
        within(name, value, max, faults);
    }
    let RateRules { anonymous, signed_in, .. } = RateRules::default();
    RateRules {
        address_per_minute: file.address_per_minute,
        address_per_hour: file.address_per_hour,
        address_per_day: file.address_per_day,
        network56_times: file.network56_times,
        network48_times: file.network48_times,
        anonymous: tier("anonymous", &file.tiers.anonymous, anonymous, file.danger_any_user_rate, faults),
        signed_in: tier("signed-in", &file.tiers.signed_in, signed_in, file.danger_any_user_rate, faults),
        messages_per_minute: file.messages_per_minute,
        tool_calls_per_hour: file.tool_calls_per_hour,
        key_per_hour: file.key_per_hour,
        calls_per_minute: file.calls_per_minute,
        edits_per_minute: file.edits_per_minute,
        lookups_per_minute: file.lookups_per_minute,
        behaviour: behaviour(&file.behaviour, faults),
    }
}

fn behaviour(file: &BehaviourFile, faults: &mut Faults) -> BehaviourRules {
    let usual = BehaviourRules::default();
    let rules = BehaviourRules {
        hasty: file.hasty.unwrap_or(usual.hasty),
        suspicious: file.suspicious.unwrap_or(usual.suspicious),
        hostile: file.hostile.unwrap_or(usual.hostile),
        ..usual
    };
    if !(0 < rules.hasty && rules.hasty < rules.suspicious && rules.suspicious < rules.hostile && rules.hostile <= POINTS_MAX) {
        let text = format!("must have hasty below suspicious below hostile, from 1 to {POINTS_MAX} points");
        faults.add("rates.behaviour", &text);
    }
    rules
}

fn tier(name: &str, file: &TierFile, usual: TierRules, any: bool, faults: &mut Faults) -> TierRules {
    let rules = TierRules {
        user_per_hour: file.user_per_hour.unwrap_or(usual.user_per_hour),
        together_per_minute: file.together_per_minute.unwrap_or(usual.together_per_minute),
        weight: file.weight.unwrap_or(usual.weight),
    };
    let key = |key: &str| format!("rates.tiers.{name}.{key}");
    within(&key("user_per_hour"), rules.user_per_hour, NUMBER_MAX, faults);
    if !any && !USER_PER_HOUR.contains(&rules.user_per_hour) {
        let text =
            format!("is {} and should be between 50 and 200; rates.danger_any_user_rate = true allows it", rules.user_per_hour);
        faults.add(&key("user_per_hour"), &text);
    }
    within(&key("together_per_minute"), rules.together_per_minute, NUMBER_MAX, faults);
    within(&key("weight"), rules.weight.into(), WEIGHT_MAX.into(), faults);
    rules
}

pub(super) fn within(name: &str, value: u64, max: u64, faults: &mut Faults) {
    if !(1..=max).contains(&value) {
        faults.add(name, &format!("is {value} and must be between 1 and {max}"));
    }
}
