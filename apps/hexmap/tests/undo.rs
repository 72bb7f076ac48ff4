//! Undoing changes of a map, on SQLite and on PostgreSQL: what is undone is as it was, row by row, and nothing is undone over what came
//! later.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use hexmap::coord::{Coord, Path};
use hexmap::map::{Actor, CHANGES_MAX, Document, Limits, MapError, Maps};
use hexmap::tile::{NewTile, TileUpdate};
use policy::{Clock, Timestamp};
use proptest::prelude::*;
use std::sync::Arc;
use store::{Statement, Store, StoreError, Value};

async fn sqlite() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("map.db").display());
    (
        Store::open(&url, &[&store::CORE, &hexmap::SCHEMA])
            .await
            .unwrap()
            .with_masters(store::Masters::passing().unwrap())
            .await
            .unwrap(),
        folder,
    )
}

async fn postgres() -> Store {
    let url = tokio::task::spawn_blocking(|| testkit::Postgres::shared().fresh_database()).await.unwrap();
    Store::open(&url, &[&store::CORE, &hexmap::SCHEMA])
        .await
        .unwrap()
        .with_masters(store::Masters::passing().unwrap())
        .await
        .unwrap()
}

/// Always the same moment: nothing here may depend on times that differ.
struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000)
    }
}

macro_rules! stories {
    ($($name:ident)*) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let (store, _folder) = super::sqlite().await;
                super::story::$name(store).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::story::$name(super::postgres().await).await;
            }
        }
    )*};
}

stories! {
    every_kind_of_change_is_undone_exactly_and_done_again
    a_whole_story_is_undone_backwards_and_done_again_forwards
    what_came_later_is_named_and_nothing_is_undone_over_it
    a_change_is_undone_once_and_a_call_changes_once
    nobody_undoes_what_another_did
    a_change_that_failed_leaves_nothing_to_undo
    ten_thousand_tiles_come_back_as_they_were
    an_import_is_undone_exactly_and_done_again
    a_deleted_map_comes_back_exactly_and_goes_again
    what_is_kept_is_bounded
    what_was_undone_is_nothing_to_look_at
}

const ROWS: Statement = Statement(
    "SELECT owner, group_id, path, id, item_type, title, content, preview, link, visibility, written_by,
            version, created_at, updated_at
     FROM hexmap_tiles ORDER BY owner, group_id, path",
);

/// Every column of every tile, but for the mark of what its owner has not looked at.
async fn rows(store: &Store) -> Vec<String> {
    let read = store.read(|tx: &mut dyn store::Tx| tx.query(ROWS, &[])).await;
    let rows: Vec<store::Row> = read.unwrap_or_else(|error: StoreError| panic!("{error}"));
    rows.iter().map(|row| format!("{row:?}")).collect()
}

fn at(user: &str, path: &str) -> Coord {
    Coord::new(user, 0, Path::parse(path).unwrap()).unwrap()
}

fn ada(path: &str) -> Coord {
    at("ada", path)
}

fn tile(title: &str) -> NewTile {
    NewTile {
        title: title.to_owned(),
        content: format!("about {title}"),
        preview: Some("short".to_owned()).filter(|_| title.len().is_multiple_of(2)),
        ..NewTile::default()
    }
}

fn title(text: &str) -> TileUpdate {
    TileUpdate { title: Some(text.to_owned()), preview: Some(None), ..TileUpdate::default() }
}

/// A map with a little of everything.
async fn house(store: &Store) -> Maps {
    let maps = Maps::new(store.clone(), Arc::new(Then));
    for path in ["1", "1,2", "1,2,-3", "1,2,0", "1,5", "3", "3,4", "3,4,5", "3,4,-1", "3,1", "6"] {
        maps.create_tile(&ada(path), tile(&format!("tile {path}"))).await.unwrap();
    }
    maps.update_tile(&ada("1,2"), title("changed before")).await.unwrap();
    maps.create_tile(&at("bob", "1"), tile("bob's")).await.unwrap();
    maps
}

/// One change under a name.
#[derive(Clone, Debug)]
enum Do {
    Create(&'static str),
    Update(&'static str),
    Delete(&'static str),
    Move(&'static str, &'static str),
}

async fn carry_out(maps: &Maps, call: &str, change: &Do) -> Result<(), MapError> {
    let maps = maps.in_call(call);
    match change {
        Do::Create(path) => maps.create_tile(&ada(path), tile("new")).await.map(|_| ()),
        Do::Update(path) => maps.update_tile(&ada(path), title("other")).await.map(|_| ()),
        Do::Delete(path) => maps.delete_tile(&ada(path)).await.map(|_| ()),
        Do::Move(from, to) => maps.move_tile(&ada(from), &ada(to)).await.map(|_| ()),
    }
}

async fn undo(maps: &Maps, call: &str, change: &str) -> Result<u64, MapError> {
    maps.in_call(call).undo("ada", change).await
}

/// What stood in the way, as one text.
async fn conflicts(maps: &Maps, store: &Store, change: &str) -> String {
    let before = rows(store).await;
    let refused = maps.undo("ada", change).await;
    assert_eq!(rows(store).await, before, "nothing is done in part");
    match refused {
        Err(MapError::Conflict(named)) => named.join("; "),
        other => panic!("no conflict: {other:?}"),
    }
}

mod story {
    use super::*;

    pub(super) async fn every_kind_of_change_is_undone_exactly_and_done_again(store: Store) {
        let maps = house(&store).await;
        let before = rows(&store).await;
        let changes = [
            Do::Create("2"),
            Do::Create("1,2,4"),
            Do::Update("1,2"),
            Do::Update(""),
            Do::Delete("6"),
            Do::Delete("1"),
            Do::Move("1", "2"),
            Do::Move("1", "3,4,2"),
            Do::Move("1", "3"),
            Do::Move("1,2", "3,4"),
            Do::Move("6", "1,2"),
        ];
        for (number, change) in changes.iter().enumerate() {
            let name = |step: &str| format!("{step}-{number}");
            carry_out(&maps, &name("do"), change).await.unwrap();
            let after = rows(&store).await;
            assert_ne!(after, before, "{change:?}");
            assert!(undo(&maps, &name("undo"), &name("do")).await.unwrap() > 0);
            assert_eq!(rows(&store).await, before, "{change:?} undone");
            undo(&maps, &name("redo"), &name("undo")).await.unwrap();
            assert_eq!(rows(&store).await, after, "{change:?} done again");
            undo(&maps, &name("again"), &name("redo")).await.unwrap();
            assert_eq!(rows(&store).await, before, "{change:?} undone again");
        }
    }

    pub(super) async fn a_whole_story_is_undone_backwards_and_done_again_forwards(store: Store) {
        let maps = house(&store).await;
        let changes = [
            Do::Create("2"),
            Do::Create("2,2"),
            Do::Update("2,2"),
            Do::Move("2", "1,2"),
            Do::Update("1,2,2"),
            Do::Delete("1,2"),
            Do::Create("1,2"),
            Do::Move("3,4", "1,2"),
            Do::Update("1,2"),
            Do::Move("1,2", "4"),
            Do::Delete("3"),
        ];
        let mut seen = vec![rows(&store).await];
        for (number, change) in changes.iter().enumerate() {
            carry_out(&maps, &format!("do-{number}"), change).await.unwrap_or_else(|error| panic!("{change:?}: {error}"));
            seen.push(rows(&store).await);
        }
        for number in (0..changes.len()).rev() {
            undo(&maps, &format!("undo-{number}"), &format!("do-{number}")).await.unwrap();
            assert_eq!(rows(&store).await, seen[number], "{number} undone");
        }
        for number in 0..changes.len() {
            undo(&maps, &format!("redo-{number}"), &format!("undo-{number}")).await.unwrap();
            assert_eq!(rows(&store).await, seen[number + 1], "{number} done again");
        }
    }

    pub(super) async fn what_came_later_is_named_and_nothing_is_undone_over_it(store: Store) {
        let maps = house(&store).await;
        let cases: [(&str, Do, Vec<Do>, &str); 12] = [
            ("changed since", Do::Create("2"), vec![Do::Update("2")], "“other” at [2] was changed since"),
            ("filled since", Do::Create("2"), vec![Do::Create("2,3")], "“new” is at [2,3] now"),
            ("gone since", Do::Create("2"), vec![Do::Delete("2")], "“new” is not at [2] any more"),
            ("another tile", Do::Create("2"), vec![Do::Delete("2"), Do::Create("2")], "Another tile, “new”, is at [2] now"),
            ("a later change", Do::Update("1,2"), vec![Do::Update("1,2")], "was changed since"),
            ("moved since", Do::Update("6"), vec![Do::Move("6", "2")], "“other” is not at [6] any more"),
            ("taken since", Do::Delete("6"), vec![Do::Create("6")], "“new” is at [6] now"),
            ("no parent", Do::Delete("1,2"), vec![Do::Delete("1")], "The tile above, at [1], is gone"),
            ("another parent", Do::Delete("1,2"), vec![Do::Delete("1"), Do::Create("1")], "The tile above was another one"),
            ("the old place is taken", Do::Move("6", "2"), vec![Do::Create("6")], "“new” is at [6] now"),
            ("grown since", Do::Move("1", "2"), vec![Do::Create("2,4")], "“new” is at [2,4] now"),
            ("below a swap", Do::Move("1", "3"), vec![Do::Update("1,4,5")], "“other” at [1,4,5] was changed since"),
        ];
        let start = rows(&store).await;
        for (number, (case, change, later, expected)) in cases.iter().enumerate() {
            carry_out(&maps, &format!("do-{number}"), change).await.unwrap();
            for (step, later) in later.iter().enumerate() {
                carry_out(&maps, &format!("later-{number}-{step}"), later).await.unwrap();
            }
            let named = conflicts(&maps, &store, &format!("do-{number}")).await;
            assert!(named.contains(expected), "{case}: {named}");
            // What is in the way is taken back first, then it goes.
            for step in (0..later.len()).rev() {
                maps.undo("ada", &format!("later-{number}-{step}")).await.unwrap();
            }
            maps.undo("ada", &format!("do-{number}")).await.unwrap();
            assert_eq!(rows(&store).await, start, "{case}");
        }
        // Elsewhere things may go on.
        carry_out(&maps, "here", &Do::Delete("1,2")).await.unwrap();
        carry_out(&maps, "elsewhere", &Do::Update("1,5")).await.unwrap();
        carry_out(&maps, "above", &Do::Update("1")).await.unwrap();
        maps.undo("ada", "here").await.unwrap();
        assert_eq!(maps.tile(&ada("1,2,-3")).await.unwrap().title, "tile 1,2,-3");
        assert_eq!(maps.tile(&ada("1,5")).await.unwrap().title, "other", "the later change stands");
    }

    pub(super) async fn a_change_is_undone_once_and_a_call_changes_once(store: Store) {
        let maps = house(&store).await;
        carry_out(&maps, "once", &Do::Update("6")).await.unwrap();
        let before = rows(&store).await;
        let again = carry_out(&maps, "once", &Do::Update("3")).await;
        assert!(matches!(again, Err(MapError::Repeated)), "{again:?}");
        assert_eq!(rows(&store).await, before, "and nothing of it happened");
        let at_once = (0..8).map(|number| {
            let maps = maps.clone();
            tokio::spawn(async move { undo(&maps, &format!("undo-{number}"), "once").await.is_ok() })
        });
        let mut won = 0;
        for undone in at_once.collect::<Vec<_>>() {
            won += usize::from(undone.await.unwrap());
        }
        assert_eq!(won, 1, "of eight at once one wins");
        assert!(conflicts(&maps, &store, "once").await.contains("undone already"));
        assert!(matches!(maps.undo("ada", "nothing").await, Err(MapError::NoChange)));
    }

    pub(super) async fn nobody_undoes_what_another_did(store: Store) {
        let maps = house(&store).await;
        carry_out(&maps, "hers", &Do::Delete("1")).await.unwrap();
        let before = rows(&store).await;
        for other in ["bob", "ad", "ada_", "ADA", "eve"] {
            let refused = maps.undo(other, "hers").await;
            assert!(matches!(refused, Err(MapError::NoChange)), "{other}: {refused:?}");
        }
        // Who had no map has one now, and that is all.
        let hers = |rows: Vec<String>| rows.into_iter().filter(|row| row.contains("\"ada\"")).collect::<Vec<_>>();
        assert_eq!(hers(rows(&store).await), hers(before));
        maps.undo("ada", "hers").await.unwrap();
    }

    pub(super) async fn a_change_that_failed_leaves_nothing_to_undo(store: Store) {
        let maps = house(&store).await;
        for (name, change) in [
            ("a", Do::Create("1")),
            ("b", Do::Create("2,1")),
            ("c", Do::Update("5")),
            ("d", Do::Delete("5")),
            ("e", Do::Move("5", "2")),
            ("f", Do::Move("1", "4,1")),
        ] {
            carry_out(&maps, name, &change).await.unwrap_err();
            assert!(matches!(maps.undo("ada", name).await, Err(MapError::NoChange)), "{name}");
        }
        const IMAGES: Statement =
            Statement("SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_images WHERE image IN ('a', 'b', 'c', 'd', 'e', 'f')");
        assert_eq!(count(&store, IMAGES).await, 0);
    }

    pub(super) async fn ten_thousand_tiles_come_back_as_they_were(store: Store) {
        let maps = Maps::new(store.clone(), Arc::new(Then));
        maps.create_tile(&ada("2"), tile("beside")).await.unwrap();
        let below = fill(&store, TILES).await;
        let before = rows(&store).await;
        assert_eq!(maps.in_call("all").delete_tile(&ada("1")).await.unwrap(), below);
        assert_eq!(rows(&store).await.len(), 2);
        assert_eq!(undo(&maps, "back", "all").await.unwrap(), below);
        assert!(rows(&store).await == before, "ids, versions, places, texts and times");
        assert_eq!(undo(&maps, "gone", "back").await.unwrap(), below);
        assert_eq!(rows(&store).await.len(), 2);
        undo(&maps, "back again", "gone").await.unwrap();
        assert!(rows(&store).await == before);
        maps.in_call("moved").move_tile(&ada("1"), &ada("2")).await.unwrap();
        undo(&maps, "unmoved", "moved").await.unwrap();
        assert!(rows(&store).await == before, "also after all of them changed places with one");
    }

    pub(super) async fn an_import_is_undone_exactly_and_done_again(store: Store) {
        let maps = house(&store).await.serving(Actor::Person, Limits::default());
        let document = || {
            let tiles = [(vec![], "Another"), (vec![1], "one"), (vec![1, 2], "two"), (vec![4], "four")];
            let tiles: Vec<_> = tiles.map(|(path, title)| serde_json::json!({"path": path, "title": title})).to_vec();
            Document::read(&serde_json::json!({"format": "hexward.map", "version": 1, "tiles": tiles}).to_string()).unwrap()
        };
        for (place, name) in [("", "import-whole"), ("2", "import-part")] {
            let before = rows(&store).await;
            let count = maps.in_call(name).import(&ada(place), document()).await.unwrap();
            assert_eq!(count, 4, "{name}");
            let after = rows(&store).await;
            assert_ne!(before, after, "{name}");
            let twice = maps.in_call(name).import(&ada(if place.is_empty() { "" } else { "5" }), document()).await;
            assert!(matches!(twice, Err(MapError::Repeated)), "{name}: one call, one import");
            maps.in_call(&format!("{name}-undo")).undo("ada", name).await.unwrap();
            assert_eq!(rows(&store).await, before, "{name}");
            maps.in_call(&format!("{name}-redo")).undo("ada", &format!("{name}-undo")).await.unwrap();
            assert_eq!(rows(&store).await, after, "{name}: done again");
            maps.in_call(&format!("{name}-back")).undo("ada", &format!("{name}-redo")).await.unwrap();
            assert_eq!(rows(&store).await, before, "{name}");
        }
        // What came later is never lost.
        maps.in_call("third").import(&ada(""), document()).await.unwrap();
        maps.in_call("later").update_tile(&ada("4"), title("changed later")).await.unwrap();
        maps.in_call("more").create_tile(&ada("4,1"), tile("new")).await.unwrap();
        let now = rows(&store).await;
        let refused = maps.in_call("undo").undo("ada", "third").await;
        let Err(MapError::Conflict(named)) = refused else { panic!("{refused:?}") };
        assert!(
            named.iter().any(|one| one.contains("changed later")) && named.iter().any(|one| one.contains("new")),
            "{named:?}"
        );
        assert_eq!(rows(&store).await, now);
    }

    pub(super) async fn a_deleted_map_comes_back_exactly_and_goes_again(store: Store) {
        let maps = house(&store).await.serving(Actor::Person, Limits::default());
        let first = rows(&store).await;
        let root = maps.in_call("made").create_map("ada", "Garden").await.unwrap();
        maps.in_call("unmade").undo("ada", "made").await.unwrap();
        assert_eq!(rows(&store).await, first);
        exported(&store).await;
        maps.in_call("made again").undo("ada", "unmade").await.unwrap();
        let place = Coord::new("ada", root.coord.group, Path::parse("2").unwrap()).unwrap();
        maps.in_call("roses").create_tile(&place, tile("Roses")).await.unwrap();
        let (before, kept) = (rows(&store).await, maps.maps("ada").await.unwrap());
        assert_eq!(maps.in_call("gone").delete_map("ada", root.coord.group).await.unwrap(), 2);
        assert_eq!(rows(&store).await, first);
        maps.in_call("back").undo("ada", "gone").await.unwrap();
        assert_eq!((rows(&store).await, maps.maps("ada").await.unwrap()), (before.clone(), kept));
        maps.in_call("gone again").undo("ada", "back").await.unwrap();
        assert_eq!(rows(&store).await, first);
        exported(&store).await;
        assert_eq!(maps.maps("ada").await.unwrap().0.len(), 1);
        // Another map has its number now: nothing of it is lost.
        maps.in_call("other").create_map("ada", "Other").await.unwrap();
        let now = rows(&store).await;
        let refused = maps.in_call("back again").undo("ada", "gone again").await;
        assert!(matches!(&refused, Err(MapError::Conflict(named)) if named[0].contains("Other")), "{refused:?}");
        assert_eq!(rows(&store).await, now);
        maps.in_call("free again").delete_map("ada", root.coord.group).await.unwrap();
        maps.in_call("back at last").undo("ada", "gone again").await.unwrap();
        assert_eq!(rows(&store).await, before);
    }

    pub(super) async fn what_is_kept_is_bounded(store: Store) {
        let maps = house(&store).await;
        carry_out(&maps, "first", &Do::Delete("6")).await.unwrap();
        carry_out(&maps, "second", &Do::Create("6")).await.unwrap();
        let forged = |tx: &mut dyn store::Tx| -> Result<(), StoreError> {
            for number in 0..CHANGES_MAX {
                let name = Value::from(format!("forged-{number}"));
                tx.execute(FORGED, &[name, Value::Int(1_000 + number)])?;
            }
            Ok(())
        };
        store.write(forged).await.unwrap();
        assert!(
            matches!(maps.undo("ada", "first").await, Err(MapError::Conflict(_))),
            "it is there as long as nothing is written"
        );
        carry_out(&maps, "newest", &Do::Delete("1")).await.unwrap();
        const KEPT: Statement = Statement("SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_changes WHERE owner = 'ada'");
        const IMAGES: Statement =
            Statement("SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_images WHERE owner = 'ada' AND image IN ('first', 'second')");
        assert_eq!((count(&store, KEPT).await, count(&store, IMAGES).await), (CHANGES_MAX, 0));
        let forgotten = maps.undo("ada", "first").await;
        assert!(matches!(forgotten, Err(MapError::NoChange)), "{forgotten:?}");
        maps.undo("ada", "newest").await.unwrap();
    }

    pub(super) async fn what_was_undone_is_nothing_to_look_at(store: Store) {
        const UNSEEN: Statement = Statement("SELECT CAST(SUM(unseen) AS BIGINT) FROM hexmap_tiles WHERE owner = 'ada'");
        let maps = house(&store).await;
        maps.mark_seen("ada", None).await.unwrap();
        for (number, change) in [Do::Update("6"), Do::Move("6", "2"), Do::Move("6", "1,2")].iter().enumerate() {
            let name = |step: &str| format!("{step}-{number}");
            carry_out(&maps, &name("do"), change).await.unwrap();
            assert_eq!(count(&store, UNSEEN).await, 1, "{change:?}");
            undo(&maps, &name("undo"), &name("do")).await.unwrap();
            assert_eq!(count(&store, UNSEEN).await, 0, "{change:?} undone");
            undo(&maps, &name("redo"), &name("undo")).await.unwrap();
            assert_eq!(count(&store, UNSEEN).await, 0, "who does it again knows of it");
            undo(&maps, &name("again"), &name("redo")).await.unwrap();
        }
        // What was to be looked at still is when it comes back.
        carry_out(&maps, "made", &Do::Create("2")).await.unwrap();
        carry_out(&maps, "gone", &Do::Delete("2")).await.unwrap();
        assert_eq!(count(&store, UNSEEN).await, 0);
        undo(&maps, "back", "gone").await.unwrap();
        assert_eq!(count(&store, UNSEEN).await, 1);
    }

    const FORGED: Statement = Statement(
        "INSERT INTO hexmap_changes (owner, id, seq, group_id, kind, path, image, flipped, tiles, chars, created_at)
         VALUES ('ada', ?1, ?2, 0, 'update', '6', ?1, 0, 1, 1, 0)",
    );
}

/// What is kept of ada is written out to its end.
async fn exported(store: &Store) {
    let mut after = None;
    for _ in 0..1_000 {
        after = hexmap::export(store, "ada", after.as_deref()).await.unwrap().1;
        if after.is_none() {
            return;
        }
    }
    panic!("an export without end");
}

async fn count(store: &Store, statement: Statement) -> i64 {
    let read = store.read(move |tx: &mut dyn store::Tx| tx.query_one(statement, &[])?.int(0)).await;
    read.unwrap_or_else(|error: StoreError| panic!("{error}"))
}

/// As many as an undo is measured with.
const TILES: i64 = 10_000;

/// Puts a tile at 1 with so many below it, as no tool could that quickly; returns how many that are together.
async fn fill(store: &Store, tiles: i64) -> u64 {
    const FILL: Statement = Statement(
        "INSERT INTO hexmap_tiles (owner, group_id, path, id, item_type, title, content, version, created_at, updated_at)
         VALUES ('ada', 0, ?1, ?2, 'context', ?3, ?4, ?5, ?5, ?5)",
    );
    let fill = move |tx: &mut dyn store::Tx| -> Result<(), StoreError> {
        let key = tx.key_of("ada", Some(Timestamp(0)))?;
        for number in 0..tiles {
            let digits: Vec<String> = (0..6).map(|place| (number / 6_i64.pow(place) % 6 + 1).to_string()).collect();
            let path = if number == 0 { "1".to_owned() } else { format!("1,{}", digits.join(",")) };
            let (id, content) = (format!("id-{number}"), format!("what tile {number} says"));
            let sealed = |column, text: &str| key.seal(store::Place::new("hexmap_tiles", column, &id), text).map(Value::from);
            let (title, content) = (sealed("title", "t")?, sealed("content", &content)?);
            tx.execute(FILL, &[path.into(), (&id).into(), title, content, Value::Int(number + 1)])?;
        }
        Ok(())
    };
    store.write(fill).await.unwrap();
    u64::try_from(tiles).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Change(Do),
    /// The newest change that stands.
    UndoNewest,
    /// Some other one, as a share of all.
    UndoAny(usize),
}

fn place() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["1", "2", "3", "1,1", "1,2", "2,1", "1,1,-1", "1,2,0", "2,1,3"])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => place().prop_map(|path| Step::Change(Do::Create(path))),
        2 => place().prop_map(|path| Step::Change(Do::Update(path))),
        2 => place().prop_map(|path| Step::Change(Do::Delete(path))),
        3 => (place(), place()).prop_map(|(from, to)| Step::Change(Do::Move(from, to))),
        3 => Just(Step::UndoNewest),
        2 => any::<usize>().prop_map(Step::UndoAny),
    ]
}

/// Whatever happens in whatever order: undoing the newest change that stands always works and brings back exactly what was there
/// before it; undoing an older one works and can be taken back exactly, or does nothing.
async fn follows(steps: Vec<Step>) {
    let (store, _folder) = sqlite().await;
    let maps = Maps::new(store.clone(), Arc::new(Then));
    maps.tile(&ada("")).await.unwrap();
    let mut standing: Vec<(String, Vec<String>)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let (name, before) = (format!("step-{number}"), rows(&store).await);
        match step {
            Step::Change(change) => match carry_out(&maps, &name, &change).await {
                Ok(()) => standing.push((name, before)),
                Err(_) => assert_eq!(rows(&store).await, before, "{change:?}"),
            },
            Step::UndoNewest => {
                let Some((newest, was)) = standing.pop() else { continue };
                undo(&maps, &name, &newest).await.unwrap_or_else(|error| panic!("{newest}: {error}"));
                assert_eq!(rows(&store).await, was, "{newest} undone");
            }
            Step::UndoAny(which) => {
                let Some(older) = which.checked_rem(standing.len()) else { continue };
                let refused = undo(&maps, &name, &standing[older].0).await;
                match refused {
                    Ok(_) => {
                        undo(&maps, &format!("{name}-back"), &name).await.unwrap();
                    }
                    Err(error) => assert!(matches!(error, MapError::Conflict(_)), "{error:?}"),
                }
                assert_eq!(rows(&store).await, before, "{} undone and done again, or not at all", standing[older].0);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_and_undos_adds_up(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follows(steps));
    }
}
