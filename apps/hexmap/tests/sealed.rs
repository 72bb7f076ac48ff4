//! What people write on their maps is sealed in the database, on both engines.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use hexmap::coord::{Coord, Path};
use hexmap::map::{Actor, Extent, Limits, MapError, Maps};
use hexmap::tile::{NewTile, TileUpdate};
use policy::{Clock, Timestamp};
use serde_json::Value;
use std::sync::Arc;
use store::{CORE, Masters, Statement, Store, StoreError};

const MASTER: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const CANARY: &str = "canary";

async fn open(url: &str) -> Store {
    let store = Store::open(url, &[&CORE, &hexmap::SCHEMA]).await.unwrap();
    let store = store.with_masters(Masters::parse(MASTER, "").unwrap()).await.unwrap();
    hexmap::seal(&store).await.unwrap();
    store
}

struct Then;
impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000_000)
    }
}

fn maps(store: &Store) -> Maps {
    Maps::new(store.clone(), Arc::new(Then)).serving(Actor::Person, Limits::default())
}

fn at(user: &str, path: &[i64]) -> Coord {
    Coord::new(user, 0, Path::new(path).unwrap()).unwrap()
}

fn tile(text: &str) -> NewTile {
    let preview = Some(format!("{CANARY} preview {text}"));
    let (title, content) = (format!("{CANARY} title {text}"), format!("{CANARY} content {text} \u{e4}\u{1f426}"));
    NewTile { title, content, preview, link: Some(format!("https://{CANARY}.example/{text}")), ..NewTile::default() }
}

const EVERY_TEXT: Statement = Statement(
    "SELECT title || content || COALESCE(preview, '') || COALESCE(link, '') FROM hexmap_tiles
     UNION ALL SELECT COALESCE(title, '') || COALESCE(content, '') || COALESCE(preview, '') || COALESCE(link, '') FROM hexmap_images
     UNION ALL SELECT title || content || COALESCE(preview, '') || COALESCE(link, '') FROM hexmap_versions",
);

async fn texts(store: &Store) -> Vec<String> {
    store.read(|tx| tx.query(EVERY_TEXT, &[])?.iter().map(|row| row.text(0)).collect::<Result<_, StoreError>>()).await.unwrap()
}

async fn run(store: &Store, sql: &'static str) -> u64 {
    store.write(move |tx| tx.execute(Statement(sql), &[])).await.unwrap()
}

async fn count(store: &Store, sql: &'static str) -> i64 {
    store.read(move |tx| tx.query_one(Statement(sql), &[])?.int(0)).await.map_err(|error: StoreError| error).unwrap()
}

fn is_sealed<T: std::fmt::Debug>(result: Result<T, MapError>) -> bool {
    matches!(result, Err(MapError::Store(StoreError::Sealed(_))))
}

async fn nothing_stands_there_in_plain(url: String) {
    let store = open(&url).await;
    let (maps, coord) = (maps(&store), at("ada", &[1]));
    let made = maps.create_tile(&coord, tile("one")).await.unwrap();
    let read = maps.tile(&coord).await.unwrap();
    let wanted = tile("one");
    assert_eq!((read.title, read.content, read.preview, read.link), (wanted.title, wanted.content, wanted.preview, wanted.link));
    let update = TileUpdate { content: Some(format!("{CANARY} two")), ..TileUpdate::default() };
    maps.update_tile(&coord, update).await.unwrap();
    maps.delete_tile(&coord).await.unwrap();
    maps.create_tile(&at("ada", &[2]), tile("three")).await.unwrap();
    let kept = texts(&store).await;
    assert!(kept.len() >= 6 && kept.iter().all(|text| !text.contains(CANARY)), "{kept:?}");
    // What the owner has is counted by what the texts hold, not by what they weigh.
    let (_, usage) = maps.maps("ada").await.unwrap();
    let three = tile("three");
    let bytes = three.title.len() + three.content.len() + three.preview.unwrap().len() + three.link.unwrap().len();
    assert_eq!(usage.bytes, i64::try_from(bytes + "My map".len()).unwrap());
    assert!(!made.id.is_empty());
}

async fn a_text_in_another_place_is_refused(url: String) {
    let store = open(&url).await;
    let maps = maps(&store);
    for (user, path) in [("ada", 1), ("ada", 2), ("bob", 1)] {
        maps.create_tile(&at(user, &[path]), tile(&format!("{user}{path}"))).await.unwrap();
    }
    let (ada, bob) = (at("ada", &[1]), at("bob", &[1]));
    let take = |from: &'static str| run_on(store.clone(), from);
    // Of another tile, of another owner's, of another column, and in plain.
    take("UPDATE hexmap_tiles SET title = (SELECT t.title FROM hexmap_tiles t WHERE t.owner = 'ada' AND t.path = '2') WHERE owner = 'ada' AND path = '1'").await;
    assert!(is_sealed(maps.tile(&ada).await));
    assert!(!is_sealed(maps.tile(&at("ada", &[2])).await) && !is_sealed(maps.tile(&bob).await));
    take("UPDATE hexmap_tiles SET title = (SELECT t.title FROM hexmap_tiles t WHERE t.owner = 'bob' AND t.path = '1') WHERE owner = 'ada' AND path = '1'").await;
    assert!(is_sealed(maps.tile(&ada).await));
    take("UPDATE hexmap_tiles SET title = preview WHERE owner = 'ada' AND path = '1'").await;
    assert!(is_sealed(maps.tile(&ada).await));
    take("UPDATE hexmap_tiles SET title = 'ignore all that was said' WHERE owner = 'ada' AND path = '1'").await;
    assert!(is_sealed(maps.subtree(&at("ada", &[]), Extent::down_to(2).without_content()).await));
    // No start takes it for what an older version left.
    assert!(is_sealed(self::maps(&open(&url).await).tile(&ada).await));
}

async fn run_on(store: Store, sql: &'static str) {
    assert_eq!(run(&store, sql).await, 1, "{sql}");
}

async fn what_did_not_change_makes_no_version(url: String) {
    let store = open(&url).await;
    let (maps, coord) = (maps(&store), at("ada", &[1]));
    maps.create_tile(&coord, tile("same")).await.unwrap();
    let same = TileUpdate { title: Some(tile("same").title), content: Some(tile("same").content), ..TileUpdate::default() };
    maps.update_tile(&coord, same).await.unwrap();
    assert!(maps.versions(&coord).await.unwrap().is_empty());
    let other = TileUpdate { title: Some("Other".to_owned()), ..TileUpdate::default() };
    maps.in_call("rename").update_tile(&coord, other).await.unwrap();
    let versions = maps.versions(&coord).await.unwrap();
    assert_eq!((versions.len(), &versions[0].title), (1, &tile("same").title));
    assert_eq!(maps.undo("ada", "rename").await.unwrap(), 1);
    assert_eq!(maps.tile(&coord).await.unwrap().title, tile("same").title);
}

async fn what_an_older_version_left_is_sealed_once(url: String) {
    let store = open(&url).await;
    let (first, coord) = (maps(&store), at("ada", &[1]));
    first.create_tile(&coord, tile("x")).await.unwrap();
    let update = TileUpdate { title: Some("New".to_owned()), ..TileUpdate::default() };
    first.in_call("rename").update_tile(&coord, update).await.unwrap();
    // As it was before there were keys.
    run(&store, "DELETE FROM hexmap_sealed").await;
    run(&store, "DELETE FROM user_keys").await;
    run(&store, "UPDATE hexmap_tiles SET title = 'Now', content = 'canary \u{e4}', preview = NULL, link = NULL").await;
    run(&store, "UPDATE hexmap_images SET title = CASE WHEN side = 1 THEN 'Now' ELSE 'Then' END, content = 'canary \u{e4}', preview = NULL, link = NULL").await;
    run(
        &store,
        "UPDATE hexmap_versions SET title = 'Then', content = 'canary', preview = NULL, link = 'https://canary.example/'",
    )
    .await;
    let store = open(&url).await;
    assert!(texts(&store).await.iter().all(|text| !text.contains(CANARY) && text.starts_with('1')));
    let again = maps(&store);
    assert_eq!(again.tile(&coord).await.unwrap().content, "canary \u{e4}");
    let versions = again.versions(&coord).await.unwrap();
    assert_eq!((versions.len(), &*versions[0].title, versions[0].link.as_deref()), (1, "Then", Some("https://canary.example/")));
    let (_, usage) = again.maps("ada").await.unwrap();
    // Root and tile, both "Now" with the same content.
    assert_eq!(usage.bytes, i64::try_from(2 * ("Now".len() + "canary \u{e4}".len())).unwrap());
    let weighed = i64::try_from("Then".len() + "canary".len() + "https://canary.example/".len() + 200).unwrap();
    assert_eq!(count(&store, "SELECT version_bytes FROM hexmap_owners WHERE owner = 'ada'").await, weighed);
    assert_eq!(again.undo("ada", "rename").await.unwrap(), 1, "the images are those texts still");
    assert_eq!(again.tile(&coord).await.unwrap().title, "Then");
}

async fn erased_is_everything_of_one_user(url: String) {
    let store = open(&url).await;
    let maps = maps(&store);
    for user in ["ada", "bob"] {
        maps.create_tile(&at(user, &[1]), tile(user)).await.unwrap();
        let update = TileUpdate { title: Some("Changed".to_owned()), ..TileUpdate::default() };
        maps.update_tile(&at(user, &[1]), update).await.unwrap();
    }
    assert_eq!(hexmap::erase(&store, "ada").await.unwrap(), 2, "the root and a tile");
    for sql in [
        "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_tiles WHERE owner = 'ada'",
        "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_images WHERE owner = 'ada'",
        "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_changes WHERE owner = 'ada'",
        "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_versions WHERE owner = 'ada'",
        "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_owners WHERE owner = 'ada'",
        "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_maps WHERE owner = 'ada'",
    ] {
        assert_eq!(count(&store, sql).await, 0, "{sql}");
    }
    assert_eq!(maps.tile(&at("bob", &[1])).await.unwrap().title, "Changed");
    assert_eq!(maps.versions(&at("bob", &[1])).await.unwrap().len(), 1);
}

/// Everything that a map, its versions and its undo keep, opened, over as many pages as it takes.
async fn exported_is_everything_of_one_user(url: String) {
    let store = open(&url).await;
    let maps = maps(&store);
    assert_eq!(everything_of(&store, "ada").await, Vec::<Value>::new(), "who has no map has nothing, and gets none by that");
    assert_eq!(count(&store, "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_maps").await, 0);
    for user in ["ada", "bob"] {
        for place in 1..=3 {
            maps.create_tile(&at(user, &[place]), tile(user)).await.unwrap();
        }
    }
    for number in 0..20 {
        for place in 1..=3 {
            let update = TileUpdate { content: Some(format!("ada wrote {number}")), ..TileUpdate::default() };
            maps.update_tile(&at("ada", &[place]), update).await.unwrap();
        }
    }
    maps.delete_tile(&at("ada", &[3])).await.unwrap();
    let all = everything_of(&store, "ada").await;
    let of = |kind: &str| all.iter().filter(|row| row["kind"] == kind).collect::<Vec<_>>();
    let tiles: usize = of("map").iter().map(|row| row["page"]["tiles"].as_array().unwrap().len()).sum();
    assert_eq!(tiles, 3, "the root and two tiles");
    let kept = count(&store, "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_versions WHERE owner = 'ada'").await;
    let images = count(&store, "SELECT CAST(COUNT(*) AS BIGINT) FROM hexmap_images WHERE owner = 'ada'").await;
    let counted = (i64::try_from(of("version").len()).unwrap(), i64::try_from(of("image").len()).unwrap());
    assert!(counted == (kept, images) && kept > 32 && images > 64, "more than a page of each: {counted:?} of {kept}, {images}");
    let mut names: Vec<String> =
        of("image").iter().map(|row| format!("{} {} {}", row["change"], row["side"], row["path"])).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(i64::try_from(names.len()).unwrap(), images, "each once");
    assert!(of("version").iter().any(|row| row["texts"]["content"] == "ada wrote 7"));
    assert!(
        of("image").iter().any(|row| row["side"] == "before" && row["path"] == "3" && row["texts"]["content"] == "ada wrote 19")
    );
    assert!(!all.iter().any(|row| row.to_string().contains("bob")), "nothing of anybody else");
}

async fn everything_of(store: &Store, user: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (rows, next) = hexmap::export(store, user, after.as_deref()).await.unwrap();
        all.extend(rows);
        if next.is_none() {
            return all;
        }
        after = next;
    }
}

macro_rules! on_both_engines {
    ($($story:ident;)*) => {$(
        mod $story {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                let folder = tempfile::tempdir().unwrap();
                super::$story(format!("sqlite:{}", folder.path().join("map.db").display())).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                let url = tokio::task::spawn_blocking(|| testkit::Postgres::shared().fresh_database()).await.unwrap();
                super::$story(url).await;
            }
        }
    )*};
}

on_both_engines! {
    nothing_stands_there_in_plain;
    a_text_in_another_place_is_refused;
    what_did_not_change_makes_no_version;
    what_an_older_version_left_is_sealed_once;
    erased_is_everything_of_one_user;
    exported_is_everything_of_one_user;
}
