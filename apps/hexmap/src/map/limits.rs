//! How much one owner may keep. What they have is counted by the database itself (triggers), in the transaction that changes it, so
//! that no number of changes at once can go beyond.

use super::MapError;
use std::collections::BTreeMap;
use store::Tx;

store::statements! { LIMITS:
    /// 1 owner.
    USAGE = "SELECT CAST(COALESCE(SUM(tiles), 0) AS BIGINT), CAST(COALESCE(SUM(bytes), 0) AS BIGINT), CAST(COUNT(*) AS BIGINT)
             FROM hexmap_maps WHERE owner = ?1 AND tiles > 0";
}

/// What one owner may keep, in all their maps together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tiles.
    pub tiles_max: i64,
    /// Bytes of titles, contents, previews and links.
    pub bytes_max: i64,
    /// Maps.
    pub maps_max: i64,
    /// Bytes of earlier versions: the oldest go when there are more.
    pub version_bytes_max: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tiles_max: 20_000, bytes_max: 32 << 20, maps_max: 5, version_bytes_max: 32 << 20 }
    }
}

/// The limits of each tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitsByTier {
    /// Where nothing else is said.
    pub usual: Limits,
    /// By the tier's name.
    pub tiers: BTreeMap<String, Limits>,
}

impl LimitsByTier {
    /// What holds for a tier; a caller who names none has the usual limits.
    #[must_use]
    pub fn of(&self, tier: Option<&str>) -> Limits {
        tier.and_then(|tier| self.tiers.get(tier)).copied().unwrap_or(self.usual)
    }
}

/// What one owner keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tiles.
    pub tiles: i64,
    /// Bytes of their texts.
    pub bytes: i64,
    /// Maps.
    pub maps: i64,
}

impl Limits {
    /// Refuses what brought an owner above a limit. Who is above one already, because it was lowered, may still have less.
    ///
    /// # Errors
    /// [`MapError::Full`] with the limit that was reached.
    pub fn allow(&self, before: &Usage, after: &Usage) -> Result<(), MapError> {
        let above = |before: i64, after: i64, max: i64| after > before && after > max;
        if above(before.tiles, after.tiles, self.tiles_max) {
            return Err(MapError::Full(format!(
                "That would be {} tiles, and you may have {}. Delete some first, or ask for less",
                after.tiles, self.tiles_max
            )));
        }
        if above(before.bytes, after.bytes, self.bytes_max) {
            return Err(MapError::Full(format!(
                "The texts of your tiles would have {} bytes, and may have {}. Shorten or delete some first",
                after.bytes, self.bytes_max
            )));
        }
        if above(before.maps, after.maps, self.maps_max) {
            return Err(MapError::Full(format!(
                "You have {} maps already, which is as many as you may. Delete one first",
                before.maps
            )));
        }
        Ok(())
    }
}

/// What an owner keeps now.
pub(super) fn usage(tx: &mut dyn Tx, owner: &str) -> Result<Usage, MapError> {
    let row = tx.query_one(USAGE, &[owner.into()])?;
    Ok(Usage { tiles: row.int(0)?, bytes: row.int(1)?, maps: row.int(2)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_grows_above_a_limit_is_refused() {
        let limits = Limits { tiles_max: 10, bytes_max: 100, maps_max: 2, version_bytes_max: 0 };
        let usage = |tiles, bytes, maps| Usage { tiles, bytes, maps };
        let full = |before, after| limits.allow(&before, &after).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(full(usage(9, 99, 1), usage(10, 100, 2)), "");
        assert!(full(usage(10, 0, 1), usage(11, 0, 1)).contains("11 tiles, and you may have 10"));
        assert!(full(usage(1, 100, 1), usage(1, 101, 1)).contains("101 bytes, and may have 100"));
        assert!(full(usage(1, 0, 2), usage(2, 0, 3)).contains("2 maps already"));
        assert_eq!(full(usage(20, 200, 5), usage(19, 200, 5)), "", "a limit that was lowered");
        let table = LimitsByTier { usual: limits, tiers: [("large".to_owned(), Limits::default())].into() };
        assert_eq!((table.of(None), table.of(Some("none")), table.of(Some("large"))), (limits, limits, Limits::default()));
    }
}
