//! `[map]`: how much one person may keep on the hexagonal map, for everybody and by tier.

use super::Faults;
use hexmap::map::{Limits, LimitsByTier};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A million tiles with twenty versions each is what the map was measured with.
const TILES_MAX: i64 = 1_000_000;
const MB_MAX: i64 = 4_096;
const MAPS_MAX: i64 = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MapFile {
    tiles_max: Option<i64>,
    text_mb_max: Option<i64>,
    maps_max: Option<i64>,
    versions_mb_max: Option<i64>,
    tiers: BTreeMap<String, TierFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TierFile {
    tiles_max: Option<i64>,
    text_mb_max: Option<i64>,
    maps_max: Option<i64>,
    versions_mb_max: Option<i64>,
}

/// What a tier leaves out is as for everybody.
pub(super) fn read(file: &MapFile, faults: &mut Faults) -> LimitsByTier {
    let MapFile { tiles_max, text_mb_max, maps_max, versions_mb_max, tiers } = file;
    let (tiles_max, text_mb_max, maps_max, versions_mb_max) = (*tiles_max, *text_mb_max, *maps_max, *versions_mb_max);
    let usual = TierFile { tiles_max, text_mb_max, maps_max, versions_mb_max }.over(Limits::default(), "map", faults);
    let tiers = tiers.iter().map(|(name, tier)| (name.clone(), tier.over(usual, &format!("map.tiers.{name}"), faults)));
    LimitsByTier { usual, tiers: tiers.collect() }
}

impl TierFile {
    fn over(&self, limits: Limits, place: &str, faults: &mut Faults) -> Limits {
        let mut within = |key: &str, value: Option<i64>, max: i64| {
            if let Some(value) = value
                && !(1..=max).contains(&value)
            {
                faults.add(&format!("{place}.{key}"), &format!("is {value} and must be between 1 and {max}"));
            }
            value.map(|value| value.clamp(1, max))
        };
        let tiles = within("tiles_max", self.tiles_max, TILES_MAX);
        let text = within("text_mb_max", self.text_mb_max, MB_MAX);
        let maps = within("maps_max", self.maps_max, MAPS_MAX);
        let versions = within("versions_mb_max", self.versions_mb_max, MB_MAX);
        Limits {
            tiles_max: tiles.unwrap_or(limits.tiles_max),
            bytes_max: text.map_or(limits.bytes_max, |mb| mb << 20),
            maps_max: maps.unwrap_or(limits.maps_max),
            version_bytes_max: versions.map_or(limits.version_bytes_max, |mb| mb << 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_says_what_is_different_and_numbers_have_bounds() {
        let read = |text: &str| {
            let mut faults = Faults::default();
            let limits = read(&toml::from_str(text).expect("the form"), &mut faults);
            if faults.is_empty() { Ok(limits) } else { Err(faults.to_string()) }
        };
        assert_eq!(read(""), Ok(LimitsByTier::default()));
        let limits = read("tiles_max = 500\n[tiers.paid]\ntext_mb_max = 64").expect("good");
        assert_eq!((limits.of(None).tiles_max, limits.of(Some("paid")).tiles_max), (500, 500));
        assert_eq!((limits.of(Some("paid")).bytes_max, limits.of(None).bytes_max), (64 << 20, Limits::default().bytes_max));
        for (text, place) in [
            ("tiles_max = 0", "map.tiles_max"),
            ("tiles_max = 1000001", "map.tiles_max"),
            ("[tiers.a]\nmaps_max = -1", "map.tiers.a.maps_max"),
            ("versions_mb_max = 5000", "map.versions_mb_max"),
        ] {
            assert!(read(text).is_err_and(|faults| faults.contains(place)), "{text}");
        }
        assert!(toml::from_str::<MapFile>("tiles = 3").is_err(), "an unknown key");
    }
}
