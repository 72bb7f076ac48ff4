//! What can be said after `hexward undo`.

use clap::{ArgGroup, Args};
use policy::{CallId, RunId, Timestamp, UserId, day_of_date};
use std::path::PathBuf;

const SECS_PER_DAY: i64 = 86_400;

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["call", "run", "since"])))]
pub(crate) struct UndoArgs {
    /// One call, by its id in the journal.
    #[arg(long, value_name = "ID", value_parser = id::<CallId>)]
    pub(crate) call: Option<CallId>,
    /// Everything that a run changed.
    #[arg(long, value_name = "ID", value_parser = id::<RunId>)]
    pub(crate) run: Option<RunId>,
    /// Everything that agents changed for a user in an app since then: `90s`, `30m`, `2h` or `1d` ago, or `2026-11-27T09:30:00Z`.
    #[arg(long, value_name = "WHEN", requires = "user", value_parser = since)]
    pub(crate) since: Option<Since>,
    /// Whose, with `--since`.
    #[arg(long, value_name = "ID", requires = "since", value_parser = id::<UserId>)]
    pub(crate) user: Option<UserId>,
    /// In which app, with `--since`.
    #[arg(long, value_name = "ID", default_value = hexmap::APP)]
    pub(crate) app: String,
    /// Does again what was undone.
    #[arg(long)]
    pub(crate) redo: bool,
    /// Shows what would be tried, and changes nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// The gateway's configuration, for apps beside those that come with the gateway.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The gateway's state folder, where its database is unless `DATABASE_URL` names another.
    #[arg(long, value_name = "DIR", default_value = ".hexward/state")]
    pub(crate) state_dir: PathBuf,
}

/// A moment as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// So many seconds before now.
    Ago(i64),
    /// Then.
    At(Timestamp),
}

impl Since {
    pub(crate) const fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(secs) => now.plus_secs(-secs),
            Self::At(at) => at,
        }
    }
}

fn id<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "must be an id, like 01a2003d-4b8f-7184-956f-decd7e16b0f6".to_owned())
}

fn since(text: &str) -> Result<Since, String> {
    let wrong = || "must be a time before now, like 30m, 2h or 1d, or a moment in UTC, like 2026-11-27T09:30:00Z".to_owned();
    moment(text).map(Since::At).or_else(|| ago(text).map(Since::Ago)).ok_or_else(wrong)
}

fn ago(text: &str) -> Option<i64> {
    let number = text.strip_suffix(['s', 'm', 'h', 'd'])?;
    if !(1..=6).contains(&number.len()) || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        _ => SECS_PER_DAY,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}

/// RFC 3339, in UTC and whole seconds.
fn moment(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let day = Timestamp::of_utc_day(day_of_date(date)?);
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<i64> = time.split(':').map(|part| two_digits(part).then(|| part.parse().ok())?).collect::<Option<_>>()?;
    let [hour, minute, second] = parts.try_into().ok()?;
    let fits = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    fits.then(|| day.plus_secs(hour * 3_600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_say_them() {
        for (text, secs) in [("90s", 90), ("30m", 1_800), ("2h", 7_200), ("1d", 86_400), ("0s", 0)] {
            assert_eq!(since(text), Ok(Since::Ago(secs)), "{text}");
        }
        assert_eq!(since("2027-01-15T08:00:00Z"), Ok(Since::At(Timestamp(1_800_000_000_000_000))));
        for bad in [
            "",
            "h",
            "-1h",
            "1w",
            "1.5h",
            "1234567h",
            "now",
            "2027-01-15",
            "2027-02-30T00:00:00Z",
            "2027-01-15T24:00:00Z",
            "2027-01-15T08:00Z",
            "2027-01-15T08:00:00+01:00",
            "2027-01-15T+8:00:00Z",
        ] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
