//! Keys as people see them. A token is not among what can be shown.

use policy::Timestamp;
use serde_json::{Value, json};
use store::{KeyRow, KeySource};

/// One line for each key.
pub(super) fn table(rows: &[KeyRow], now: Timestamp) -> String {
    let mut lines = vec![["ID", "PURPOSE", "PRINCIPAL", "NAME", "STATE", "CREATED", "LAST USED"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.id.to_string(),
            row.purpose.as_str().to_owned(),
            row.principal.clone(),
            row.name.clone(),
            state(row, now),
            moment(row.created_at),
            row.used_at.map_or_else(|| "never".to_owned(), moment),
        ]
    }));
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let shown = |line: &[String; 7]| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(shown).collect()
}

/// Everything about one key.
pub(super) fn details(row: &KeyRow, now: Timestamp) -> Value {
    json!({
        "id": row.id,
        "purpose": row.purpose.as_str(),
        "made_by": row.made_by,
        "generation": row.generation,
        "principal": row.principal,
        "user": row.user,
        "name": row.name,
        "state": state(row, now),
        "source": match row.source { KeySource::Made => "made", KeySource::Environment => "environment" },
        "scope": row.scope,
        "created_at": moment(row.created_at),
        "expires_at": row.expires_at.map(moment),
        "revoked_at": row.revoked_at.map(moment),
        "last_used_at": row.used_at.map(moment),
    })
}

fn state(row: &KeyRow, now: Timestamp) -> String {
    let over = |moment: Option<Timestamp>| moment.is_some_and(|moment| now >= moment);
    match (row.revoked_at, row.expires_at) {
        (revoked, _) if over(revoked) => "revoked".to_owned(),
        (_, expires) if over(expires) => "expired".to_owned(),
        _ if row.scope.is_none() => "not understood by this version".to_owned(),
        (Some(revoked), Some(expires)) => format!("until {}", moment(revoked.min(expires))),
        (Some(end), None) | (None, Some(end)) => format!("until {}", moment(end)),
        (None, None) => "live".to_owned(),
    }
}

/// RFC 3339 in UTC, to the second. The date from the number of days is Howard Hinnant's `civil_from_days`.
fn moment(at: Timestamp) -> String {
    let secs = at.0.div_euclid(1_000_000);
    let (days, second) = (secs.div_euclid(86_400) + 719_468, secs.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_in_utc() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_800_000_000, "2027-01-15T08:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(moment(Timestamp(secs * 1_000_000)), text);
        }
    }
}
