//! Time as the house keeps it.

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

const MICROS_PER_DAY: i64 = 86_400_000_000;

impl Timestamp {
    /// The later moment, saturating at the end of time.
    #[must_use]
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// The later moment.
    #[must_use]
    pub const fn plus_secs(self, secs: i64) -> Self {
        self.plus_micros(secs.saturating_mul(1_000_000))
    }

    /// Milliseconds since 1970, for clients.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// As RFC 3339 in UTC, in whole seconds, rounded up: nothing that is said to begin then begins later.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let seconds = self.0.div_euclid(1_000_000) + i64::from(self.0.rem_euclid(1_000_000) > 0);
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let mut text = date_of_day(day);
        for (before, value) in [('T', second / 3600), (':', second / 60 % 60), (':', second % 60)] {
            text.push(before);
            push_digits(&mut text, value, 2);
        }
        text.push('Z');
        text
    }

    /// Seconds until the next UTC day, at least one.
    #[must_use]
    pub const fn secs_to_next_day(self) -> i64 {
        (MICROS_PER_DAY - self.0.rem_euclid(MICROS_PER_DAY)).div_euclid(1_000_000) + 1
    }

    /// The UTC day as a number; budgets per day roll over with it.
    #[must_use]
    pub const fn utc_day(self) -> i64 {
        self.0.div_euclid(MICROS_PER_DAY)
    }

    /// The first moment of a UTC day.
    #[must_use]
    pub const fn of_utc_day(day: i64) -> Self {
        Self(day.saturating_mul(MICROS_PER_DAY))
    }

    /// Whole seconds until the next UTC day begins, when budgets per day are new: at least 1.
    #[must_use]
    pub const fn secs_to_next_utc_day(self) -> i64 {
        let left = MICROS_PER_DAY - self.0.rem_euclid(MICROS_PER_DAY);
        (left + 999_999) / 1_000_000
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) const fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a UTC day, as `YYYY-MM-DD`.
#[must_use]
pub fn date_of_day(day: i64) -> String {
    let shifted = day.saturating_add(719_468);
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let mut text = String::with_capacity("YYYY-MM-DDThh:mm:ssZ".len());
    push_digits(&mut text, year, 4);
    for value in [month, day] {
        text.push('-');
        push_digits(&mut text, value, 2);
    }
    text
}

/// At least so many digits. It stands in every answer to callers, so it is made without the machinery of formats.
fn push_digits(text: &mut String, value: i64, digits: u32) {
    if !(0..10_i64.pow(digits)).contains(&value) {
        text.push_str(&value.to_string());
        return;
    }
    for place in (0..digits).rev() {
        let digit = value / 10_i64.pow(place) % 10;
        text.extend(u32::try_from(digit).ok().and_then(|digit| char::from_digit(digit, 10)));
    }
}

/// The UTC day of a date written as `YYYY-MM-DD`, if there is one.
#[must_use]
pub fn day_of_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-').map(|part| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok())?);
    let (Some(year), Some(month), Some(day), None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    // One spelling for each date, and none for the thirtieth of February.
    Some(day_of(year, month, day)).filter(|found| (1..=12).contains(&month) && date_of_day(*found) == text)
}

/// Where the time comes from. The binary brings the system's; tests bring their own.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_belong_together() {
        assert_eq!((day_of(1970, 1, 1), day_of(2026, 10, 7), day_of(2024, 2, 29)), (0, 20_733, 19_782));
        for day in -100_000..100_000 {
            assert_eq!(day_of_date(&date_of_day(day)), Some(day));
        }
        for wrong in ["", "2026", "2026-02-30", "2026-13-01", "2026-00-10", "2026-1-1", "26-01-01", "2026-01-01-", "+026-01-01"] {
            assert_eq!(day_of_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_day_ends_at_midnight_utc() {
        let midnight = Timestamp::of_utc_day(20_000);
        assert_eq!((Timestamp(midnight.0 - 1).utc_day(), midnight.utc_day()), (19_999, 20_000));
        assert_eq!((midnight.secs_to_next_utc_day(), Timestamp(midnight.0 - 1).secs_to_next_utc_day()), (86_400, 1));
        assert_eq!((Timestamp(-1).utc_day(), Timestamp(-1).secs_to_next_utc_day()), (-1, 1));
    }

    #[test]
    fn moments_are_written_as_others_read_them() {
        let at = |secs: i64| Timestamp(secs * 1_000_000).to_rfc3339();
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_709_164_800), "2024-02-29T00:00:00Z");
        assert_eq!(at(1_798_761_599), "2026-12-31T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(Timestamp(1).to_rfc3339(), "1970-01-01T00:00:01Z");
        assert_eq!(Timestamp(-1).to_rfc3339(), "1970-01-01T00:00:00Z");
        assert!(!Timestamp(i64::MAX).to_rfc3339().is_empty() && !Timestamp(i64::MIN).to_rfc3339().is_empty());
    }
}
