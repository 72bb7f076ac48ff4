//! `hexward cards`: what the Magic assistant looks into. Running gateways notice within seconds.

use crate::arguments::{CardsArgs, CardsCommand, CardsKind};
use crate::clock::SystemClock;
use crate::key;
use anyhow::{Context, Result};
use magic::library::{self, Kind};
use magic::{Counts, Imported, SetRow, notices};
use policy::{Clock, Timestamp, date_of_day};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;
use store::Store;

/// Older data is worth a word.
const AGE_DAYS_MAX: i64 = 60;

/// Carries the command out.
pub(crate) async fn command(args: CardsArgs) -> Result<ExitCode> {
    let (store, now) = (key::open(&args.state_dir).await?, SystemClock.now());
    match args.command {
        CardsCommand::Import { files } => {
            for file in &files {
                let imported =
                    import(&store, file, now).await.with_context(|| format!("{}: nothing was imported", file.display()))?;
                write!(std::io::stdout(), "{}", said(&imported))?;
            }
        }
        CardsCommand::Status => write!(std::io::stdout(), "{}", status(&library::sets(&store).await?, now))?,
        CardsCommand::Forget { kind } => {
            let kind = match kind {
                CardsKind::Cards => Kind::Cards,
                CardsKind::Rulings => Kind::Rulings,
                CardsKind::Rules => Kind::Rules,
            };
            let was_there = library::forget(&store, kind).await?;
            let word = kind.word();
            writeln!(
                std::io::stdout(),
                "{}",
                if was_there { format!("the imported {word} are forgotten") } else { format!("no {word} were imported") }
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn import(store: &Store, path: &Path, now: Timestamp) -> Result<Imported> {
    let today = date_of_day(now.utc_day());
    if path == Path::new("-") {
        return Ok(magic::import(store, std::io::stdin(), &today, now).await?);
    }
    let file = File::open(path)?;
    let modified = file.metadata()?.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified = modified.and_then(|since| i64::try_from(since.as_secs() / 86_400).ok()).map_or(today, date_of_day);
    Ok(magic::import(store, file, &modified, now).await?)
}

fn said(imported: &Imported) -> String {
    let Imported { set, counts } = imported;
    let Counts { taken, not_for_decks, foreign, again, unusable, examples } = counts;
    let mut text = format!("{taken} {} from {} as of {}\n", set.kind.word(), set.format, set.as_of);
    let others = [
        (not_for_decks, "tokens and other cards that no deck has"),
        (foreign, "in other languages"),
        (again, "further printings"),
        (unusable, "that can't be used"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| **count > 0) {
        text.push_str(&format!("  left out: {count} {what}\n"));
    }
    examples.iter().for_each(|example| text.push_str(&format!("    {example}\n")));
    text
}

fn status(sets: &[SetRow], now: Timestamp) -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        let word = kind.word();
        match sets.iter().find(|set| set.kind == kind) {
            Some(set) => {
                let age = set.age_days(now);
                let old = if age > AGE_DAYS_MAX { ": import them anew" } else { "" };
                text.push_str(&format!(
                    "{word:<8} {:>7} from {} as of {}, imported {age} days ago{old}\n",
                    set.items, set.format, set.as_of
                ));
            }
            None => text.push_str(&format!(
                "{word:<8}         invented ones for demonstration; import real ones with `hexward cards import`\n"
            )),
        }
    }
    text.push_str(&format!("\n{}\n", notices::FAN_CONTENT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_what_there_is_is_said() {
        let now = Timestamp::of_utc_day(20_000);
        assert_eq!(status(&[], now).matches("invented").count(), 3);
        assert!(status(&[], now).contains("Not approved/endorsed by Wizards"));
    }
}
