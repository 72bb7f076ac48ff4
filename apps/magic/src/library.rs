//! What was imported, in the database and in memory.
//!
//! Invariant: a set is one row that names a generation of pieces. Pieces are written under a generation that no row names yet, and the
//! row is exchanged in one commit, so a reader sees all of the old set or all of the new one. What is in memory is built beside the
//! old and exchanged as a whole.

use crate::card::{Card, Ruling};
use crate::catalog::Catalog;
use crate::import::{ImportError, KeptRuling, scryfall_card};
use crate::rules::{Entry, Rules};
use policy::{Clock, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Row, Store, StoreError, Value};
use tokio::sync::watch;

/// How soon a running gateway notices what was imported.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// How long a call waits for data that is being read.
const READY_WAIT: Duration = Duration::from_secs(20);
/// Pieces of an import that was broken off are removed by another one after so long.
const ABANDONED_SECS: i64 = 24 * 3600;

const INVENTED_CARDS: &str = include_str!("../data/cards.json");
const INVENTED_RULES: &str = include_str!("../data/rules.txt");

store::statements! { STATEMENTS:
    LIST = "SELECT kind, generation, format, as_of, items, pieces, imported_at FROM magic_sets ORDER BY kind";
    /// 1 generation, 2 number.
    READ = "SELECT body FROM magic_pieces WHERE generation = ?1 AND number = ?2";
    /// 1 generation, 2 number, 3 kind, 4 now, 5 body.
    PUT = "INSERT INTO magic_pieces (generation, number, kind, begun_at, body) VALUES (?1, ?2, ?3, ?4, ?5)";
    /// 1 generation.
    COUNT = "SELECT COUNT(*) FROM magic_pieces WHERE generation = ?1";
    /// 1 kind, 2 generation, 3 format, 4 as of, 5 items, 6 pieces, 7 now.
    PUT_IN_PLACE = "INSERT INTO magic_sets (kind, generation, format, as_of, items, pieces, imported_at)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                    ON CONFLICT (kind) DO UPDATE SET generation = excluded.generation, format = excluded.format,
                    as_of = excluded.as_of, items = excluded.items, pieces = excluded.pieces, imported_at = excluded.imported_at";
    /// 1 generation.
    DROP = "DELETE FROM magic_pieces WHERE generation = ?1";
    /// 1 kind, 2 begun before. What nothing names: replaced sets, and imports that were broken off.
    SWEEP = "DELETE FROM magic_pieces WHERE kind = ?1 AND begun_at < ?2
             AND generation NOT IN (SELECT generation FROM magic_sets)";
    /// 1 kind.
    FORGET = "DELETE FROM magic_sets WHERE kind = ?1";
    /// 1 kind.
    GENERATION = "SELECT generation FROM magic_sets WHERE kind = ?1";
}

/// What sets there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cards.
    Cards,
    /// What was said about them.
    Rulings,
    /// The rules of the game.
    Rules,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cards, Self::Rulings, Self::Rules];

    /// As it stands in the database, and as people say it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cards => "cards",
            Self::Rulings => "rulings",
            Self::Rules => "rules",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A set that was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRow {
    /// Of what.
    pub kind: Kind,
    /// Its name; another one after each import.
    pub generation: String,
    /// Which file it was: `scryfall`, `mtgjson`...
    pub format: String,
    /// The date that the file has, or that its maker gave it.
    pub as_of: String,
    /// How many cards, rulings or rules.
    pub items: i64,
    pieces: i64,
    /// When it was imported.
    pub imported_at: Timestamp,
}

impl SetRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let kind = Kind::from_word(&row.text(0)?);
        Ok(Self {
            kind: kind.ok_or_else(|| StoreError::Statement("a set in the database is of no known kind".to_owned()))?,
            generation: row.text(1)?,
            format: row.text(2)?,
            as_of: row.text(3)?,
            items: row.int(4)?,
            pieces: row.int(5)?,
            imported_at: Timestamp(row.int(6)?),
        })
    }

    /// Whole days since it was imported.
    #[must_use]
    pub fn age_days(&self, now: Timestamp) -> i64 {
        now.utc_day().saturating_sub(self.imported_at.utc_day()).max(0)
    }
}

/// What was imported.
///
/// # Errors
/// The database's.
pub async fn sets(store: &Store) -> Result<Vec<SetRow>, StoreError> {
    store.read(|tx| tx.query(LIST, &[])?.iter().map(SetRow::read).collect::<Result<Vec<_>, StoreError>>()).await
}

/// Forgets what was imported of a kind, so that the invented set is back; whether there was any.
///
/// # Errors
/// The database's.
pub async fn forget(store: &Store, kind: Kind) -> Result<bool, StoreError> {
    store
        .write(move |tx| {
            let word = [Value::from(kind.word())];
            let Some(row) = tx.query_opt(GENERATION, &word)? else { return Ok(false) };
            let generation = row.text(0)?;
            tx.execute(FORGET, &word)?;
            tx.execute(DROP, &[generation.into()])?;
            Ok::<bool, StoreError>(true)
        })
        .await
}

/// Writes the pieces of a set that is not in place yet.
pub(crate) struct Writer {
    store: Store,
    generation: String,
    pieces: i64,
    now: Timestamp,
}

impl Writer {
    pub(crate) fn new(store: Store, now: Timestamp) -> Self {
        Self { store, generation: uuid::Uuid::now_v7().to_string(), pieces: 0, now }
    }

    pub(crate) async fn put(&mut self, kind: Kind, body: String) -> Result<(), StoreError> {
        let params: [Value; 5] =
            [self.generation.clone().into(), self.pieces.into(), kind.word().into(), self.now.0.into(), body.into()];
        self.store.write(move |tx| tx.execute(PUT, &params).map(drop)).await?;
        self.pieces += 1;
        Ok(())
    }

    /// In one commit: the new set is what there is, and the old one's pieces are gone.
    pub(crate) async fn put_in_place(self, kind: Kind, format: &str, as_of: &str, items: i64) -> Result<SetRow, ImportError> {
        let (generation, pieces, imported_at) = (self.generation, self.pieces, self.now);
        let (format, as_of) = (format.to_owned(), as_of.to_owned());
        let set = SetRow { kind, generation, format, as_of, items, pieces, imported_at };
        let row = set.clone();
        self.store
            .write(move |tx| {
                let generation = Value::from(&row.generation);
                if tx.query_one(COUNT, std::slice::from_ref(&generation))?.int(0)? != row.pieces {
                    return Err(ImportError::Overtaken);
                }
                let before = tx.query_opt(GENERATION, &[kind.word().into()])?.map(|row| row.text(0)).transpose()?;
                let (format, as_of) = (Value::from(&row.format), Value::from(&row.as_of));
                let counts = [row.items, row.pieces, row.imported_at.0].map(Value::from);
                let [items, pieces, at] = counts;
                tx.execute(PUT_IN_PLACE, &[kind.word().into(), generation, format, as_of, items, pieces, at])?;
                if let Some(before) = before {
                    tx.execute(DROP, &[before.into()])?;
                }
                let abandoned = row.imported_at.plus_secs(-ABANDONED_SECS);
                tx.execute(SWEEP, &[kind.word().into(), abandoned.0.into()])?;
                Ok(())
            })
            .await?;
        Ok(set)
    }

    /// Nothing was imported: what was written goes again.
    pub(crate) async fn give_up(self) {
        let generation = Value::from(self.generation);
        let dropped = self.store.write(move |tx| tx.execute(DROP, std::slice::from_ref(&generation)).map(drop)).await;
        if let Err(error) = dropped {
            // A later import sweeps it away.
            tracing::warn!(%error, "magic: pieces of an import that failed are left");
        }
    }
}

/// Cards and rules as one moment's tools see them.
#[derive(Debug)]
pub struct Data {
    /// The cards.
    pub catalog: Catalog,
    /// The rules.
    pub rules: Rules,
    /// What of it was imported; what is not is invented.
    pub sets: Vec<SetRow>,
}

impl Data {
    /// The set of a kind, if it was imported.
    #[must_use]
    pub fn set(&self, kind: Kind) -> Option<&SetRow> {
        self.sets.iter().find(|set| set.kind == kind)
    }

    /// What comes with the gateway.
    ///
    /// # Errors
    /// What is wrong with it, which the tests find.
    pub fn invented() -> Result<Self, String> {
        Ok(Self { catalog: invented_cards()?, rules: invented_rules()?, sets: Vec::new() })
    }
}

fn invented_cards() -> Result<Catalog, String> {
    let all: Vec<serde_json::Value> = serde_json::from_str(INVENTED_CARDS).map_err(|error| error.to_string())?;
    let cards = all.iter().map(scryfall_card).collect::<Result<Vec<_>, _>>()?;
    let said: Vec<KeptRuling> = all.iter().flat_map(invented_rulings).collect();
    Ok(Catalog::new(cards, by_card(said)))
}

/// In our own file, rulings stand with their card.
fn invented_rulings(card: &serde_json::Value) -> Vec<KeptRuling> {
    let text =
        |value: &serde_json::Value, field: &str| value.get(field).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    let rulings = card.get("hexward_rulings").and_then(|rulings| rulings.as_array());
    let kept = |ruling| KeptRuling { id: text(card, "oracle_id"), date: text(ruling, "date"), text: text(ruling, "text") };
    rulings.into_iter().flatten().map(kept).collect()
}

fn invented_rules() -> Result<Rules, String> {
    let mut rules = Rules::default();
    let effective = crate::rules::parse(INVENTED_RULES.as_bytes(), &mut |entry| {
        rules.add(entry);
        Ok(())
    });
    rules.effective = effective.map_err(|error| error.to_string())?;
    Ok(rules.ready())
}

fn by_card(rulings: impl IntoIterator<Item = KeptRuling>) -> HashMap<String, Vec<Ruling>> {
    let mut all: HashMap<String, Vec<Ruling>> = HashMap::new();
    for KeptRuling { id, date, text } in rulings {
        all.entry(id).or_default().push(Ruling { date, text });
    }
    all
}

/// What the tools look into. Cheap to clone.
#[derive(Clone)]
pub struct Library {
    store: Store,
    clock: Arc<dyn Clock>,
    data: watch::Sender<Option<Arc<Data>>>,
}

/// The data can't be had at the moment.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The database failed: our fault.
    #[error("the cards can't be read at the moment")]
    Store(#[from] StoreError),
    /// A set was exchanged while it was read; looked for again.
    #[error("a set was exchanged meanwhile")]
    Exchanged,
    /// What stands in the database can't be read.
    #[error("the {0} in the database can't be read: {1}")]
    Broken(&'static str, String),
}

impl Library {
    /// The store must have been opened with [`crate::SCHEMA`]. Nothing is read before [`Library::keep_fresh`].
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, data: watch::Sender::new(None) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What there is; waits a while where it is still being read.
    pub async fn data(&self) -> Option<Arc<Data>> {
        let mut data = self.data.subscribe();
        let ready = tokio::time::timeout(READY_WAIT, data.wait_for(Option::is_some)).await;
        ready.ok()?.ok()?.clone()
    }

    /// Reads what was imported, and again whenever that changes, until `stop`.
    pub async fn keep_fresh(self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            if let Err(error) = self.refresh().await {
                tracing::error!(%error, "magic: what was imported could not be read; it is tried again");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_PAUSE) => {}
                () = &mut stop => return,
            }
        }
    }

    /// Looks once; whether there was something new.
    ///
    /// # Errors
    /// [`LibraryError`]; what there was stays.
    pub async fn refresh(&self) -> Result<bool, LibraryError> {
        let sets = sets(&self.store).await?;
        if self.data.borrow().as_ref().is_some_and(|data| data.sets == sets) {
            return Ok(false);
        }
        let data = self.load(sets).await?;
        self.data.send_replace(Some(Arc::new(data)));
        Ok(true)
    }

    async fn load(&self, sets: Vec<SetRow>) -> Result<Data, LibraryError> {
        let of = |kind: Kind| sets.iter().find(|set| set.kind == kind);
        let rulings: Vec<KeptRuling> = self.entries(of(Kind::Rulings)).await?;
        let cards: Option<Vec<Card>> = match of(Kind::Cards) {
            Some(set) => Some(self.entries(Some(set)).await?),
            None => None,
        };
        let mut rules = None;
        if let Some(set) = of(Kind::Rules) {
            let mut read = Rules::default();
            read.effective.clone_from(&set.as_of);
            self.entries::<Entry>(Some(set)).await?.into_iter().for_each(|entry| read.add(entry));
            rules = Some(read);
        }
        let built = tokio::task::spawn_blocking(move || {
            let catalog = match cards {
                Some(cards) => Ok(Catalog::new(cards, by_card(rulings))),
                None => invented_cards(),
            };
            Ok::<_, String>((catalog?, rules.map_or_else(invented_rules, |rules| Ok(rules.ready()))?))
        });
        let broken = |why: String| LibraryError::Broken("cards", why);
        let (catalog, rules) = built.await.map_err(|error| broken(error.to_string()))?.map_err(broken)?;
        Ok(Data { catalog, rules, sets })
    }

    /// A set's entries, piece by piece: no transaction is open for long.
    async fn entries<T: serde::de::DeserializeOwned>(&self, set: Option<&SetRow>) -> Result<Vec<T>, LibraryError> {
        let Some(set) = set else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        for number in 0..set.pieces {
            let key = [Value::from(&set.generation), number.into()];
            let row = self.store.read(move |tx| tx.query_opt(READ, &key)).await?.ok_or(LibraryError::Exchanged)?;
            for line in row.text(0)?.lines() {
                let broken = |error: serde_json::Error| LibraryError::Broken(set.kind.word(), error.to_string());
                entries.push(serde_json::from_str(line).map_err(broken)?);
            }
        }
        Ok(entries)
    }
}
