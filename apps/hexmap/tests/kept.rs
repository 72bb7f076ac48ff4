//! What a map keeps and how much: versions, marks, limits, several maps, views, documents. On SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use hexmap::coord::{Coord, DEPTH_MAX, Path};
use hexmap::map::{Actor, Document, Extent, Limits, MapError, Maps, VERSIONS_MAX, VIEW_TILES_MAX};
use hexmap::tile::{ItemType, NewTile, Tile, TileUpdate, Visibility};
use policy::{Clock, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::{Statement, Store};

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

/// A second later each time it is asked.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }
}

fn agents(store: &Store) -> Maps {
    Maps::new(store.clone(), Arc::new(Ticking(AtomicI64::new(1_700_000_000_000_000))))
}

fn people(store: &Store) -> Maps {
    agents(store).serving(Actor::Person, Limits::default())
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
    what_a_tile_held_before_is_kept_and_comes_back
    versions_are_few_and_the_oldest_go
    what_an_agent_changed_is_marked_until_it_is_seen
    limits_hold_exactly_with_many_at_once
    a_limit_that_was_lowered_still_lets_one_have_less
    maps_are_made_and_deleted
    a_view_is_small_however_large_the_map_is
    what_is_counted_is_what_is_there
    a_document_brings_back_what_was_written_out
    an_import_is_there_as_a_whole_or_not_at_all
}

fn at(user: &str, path: &str) -> Coord {
    Coord::new(user, 0, Path::parse(path).unwrap()).unwrap()
}

fn tile(title: &str) -> NewTile {
    NewTile { title: title.to_owned(), content: format!("about {title}"), ..NewTile::default() }
}

fn title(text: &str) -> TileUpdate {
    TileUpdate { title: Some(text.to_owned()), ..TileUpdate::default() }
}

async fn make(maps: &Maps, path: &str) -> Tile {
    maps.create_tile(&at("ada", path), tile(path)).await.unwrap()
}

/// Everything of a tile but its id and its version.
type Held = (String, String, Option<String>, Option<String>, ItemType, Visibility);

async fn whole(maps: &Maps, top: &Coord) -> BTreeMap<Path, Held> {
    let tiles = maps.subtree(top, Extent::down_to(DEPTH_MAX)).await.unwrap();
    let held = |tile: Tile| {
        let path =
            Path::new(&tile.coord.path.steps()[top.path.depth()..].iter().map(|step| i64::from(*step)).collect::<Vec<_>>());
        (path.unwrap(), (tile.title, tile.content, tile.preview, tile.link, tile.item_type, tile.visibility))
    };
    tiles.into_iter().map(held).collect()
}

/// A whole map as one document.
async fn written(maps: &Maps, top: &Coord) -> String {
    let (mut tiles, mut after) = (Vec::new(), None);
    loop {
        let page = maps.export_page(top, after.as_deref()).await.unwrap();
        tiles.extend(serde_json::to_value(&page.tiles).unwrap().as_array().unwrap().clone());
        after = page.next;
        if after.is_none() {
            return serde_json::json!({"format": "hexward.map", "version": 1, "tiles": tiles}).to_string();
        }
    }
}

// What sealed texts hold, counted as the triggers do.
const COUNTED: Statement = Statement(
    "SELECT m.tiles, m.bytes, CAST(COUNT(*) AS BIGINT), CAST(SUM(COALESCE((OCTET_LENGTH(t.title) - 1) * 3 / 4 - 28, 0) + COALESCE((OCTET_LENGTH(t.content) - 1) * 3 / 4 - 28, 0)
     + COALESCE((OCTET_LENGTH(t.preview) - 1) * 3 / 4 - 28, 0) + COALESCE((OCTET_LENGTH(t.link) - 1) * 3 / 4 - 28, 0)) AS BIGINT)
     FROM hexmap_maps m JOIN hexmap_tiles t ON t.owner = m.owner AND t.group_id = m.group_id GROUP BY m.owner, m.group_id, m.tiles, m.bytes",
);
const VERSION_BYTES: Statement = Statement(
    "SELECT o.version_bytes, CAST((SELECT SUM(COALESCE((OCTET_LENGTH(v.title) - 1) * 3 / 4 - 28, 0) + COALESCE((OCTET_LENGTH(v.content) - 1) * 3 / 4 - 28, 0) + COALESCE((OCTET_LENGTH(v.preview) - 1) * 3 / 4 - 28, 0)
     + COALESCE((OCTET_LENGTH(v.link) - 1) * 3 / 4 - 28, 0) + 200) FROM hexmap_versions v WHERE v.owner = o.owner) AS BIGINT) FROM hexmap_owners o",
);

/// The database's own counts are those of the rows.
async fn assert_counted(store: &Store) {
    let read = |tx: &mut dyn store::Tx| -> Result<(), MapError> {
        let rows = tx.query(COUNTED, &[])?;
        assert!(!rows.is_empty());
        for row in rows {
            assert_eq!((row.int(0)?, row.int(1)?), (row.int(2)?, row.int(3)?));
        }
        for row in tx.query(VERSION_BYTES, &[])? {
            assert_eq!(row.int(0)?, row.opt_int(1)?.unwrap_or(0));
        }
        Ok(())
    };
    store.read(read).await.unwrap();
}

mod story {
    use super::*;

    pub(super) async fn what_a_tile_held_before_is_kept_and_comes_back(store: Store) {
        let (agents, people) = (agents(&store), people(&store));
        let place = at("ada", "1");
        make(&agents, "1").await;
        assert!(people.versions(&place).await.unwrap().is_empty());
        let update = TileUpdate {
            title: Some("b".to_owned()),
            content: Some("other".to_owned()),
            preview: Some(Some("short".to_owned())),
            visibility: Some(Visibility::Public),
            ..TileUpdate::default()
        };
        people.update_tile(&place, update).await.unwrap();
        people.move_tile(&place, &at("ada", "4")).await.unwrap();
        let moved = at("ada", "4");
        let versions = people.versions(&moved).await.unwrap();
        assert_eq!(versions.len(), 1, "a move changes nothing of what a tile holds, and takes its versions along");
        let first = &versions[0];
        assert_eq!(
            (first.number, first.title.as_str(), first.content.as_str(), first.written_by.as_str()),
            (1, "1", "about 1", "agent")
        );
        assert_eq!((first.preview.clone(), first.visibility), (None, Visibility::Private));
        people.update_tile(&moved, title("b")).await.unwrap();
        assert_eq!(people.versions(&moved).await.unwrap().len(), 1, "what changes nothing leaves no version");

        let restored = people.restore_version(&moved, 1).await.unwrap();
        assert_eq!((restored.title.as_str(), restored.content.as_str(), restored.preview), ("1", "about 1", None));
        assert_eq!(restored.visibility, Visibility::Private);
        let versions = people.versions(&moved).await.unwrap();
        let shown: Vec<(i64, &str, &str)> =
            versions.iter().map(|v| (v.number, v.title.as_str(), v.written_by.as_str())).collect();
        assert_eq!(shown, [(2, "b", "person"), (1, "1", "agent")]);
        assert!(versions[0].replaced_at_us > versions[1].replaced_at_us);
        let missing = people.restore_version(&moved, 7).await;
        assert!(matches!(missing, Err(MapError::Invalid(_))), "{missing:?}");
        people.update_tile(&at("ada", ""), title("Ada's")).await.unwrap();
        let root = people.restore_version(&at("ada", ""), 1).await.unwrap();
        assert_eq!((root.title.as_str(), root.item_type), ("My map", ItemType::User));
        assert_counted(&store).await;
    }

    pub(super) async fn versions_are_few_and_the_oldest_go(store: Store) {
        let maps = agents(&store);
        make(&maps, "1").await;
        for number in 0..VERSIONS_MAX + 5 {
            maps.update_tile(&at("ada", "1"), title(&format!("t{number}"))).await.unwrap();
        }
        let kept = maps.versions(&at("ada", "1")).await.unwrap();
        assert_eq!((kept.len(), kept[0].number, kept[0].title.as_str()), (VERSIONS_MAX, 25, "t23"));
        assert_eq!(kept.last().unwrap().number, 6);
        // Of all tiles together only so many bytes are kept.
        let few = maps.serving(Actor::Person, Limits { version_bytes_max: 2_500, ..Limits::default() });
        make(&maps, "2").await;
        for letter in ["a", "b", "c"] {
            let long = TileUpdate { content: Some(letter.repeat(2_000)), ..TileUpdate::default() };
            few.update_tile(&at("ada", "2"), long).await.unwrap();
        }
        assert!(few.versions(&at("ada", "1")).await.unwrap().is_empty(), "the oldest went");
        let kept = few.versions(&at("ada", "2")).await.unwrap();
        assert!(!kept.is_empty() && kept[0].content.starts_with('b'), "the newest are there");
        assert_counted(&store).await;
    }

    pub(super) async fn what_an_agent_changed_is_marked_until_it_is_seen(store: Store) {
        let (agents, people) = (agents(&store), people(&store));
        let unseen = async || {
            let view = people.view(&at("ada", "")).await.unwrap();
            let names: Vec<String> = view.unseen.iter().map(|tile| tile.coord.path.to_string()).collect();
            assert_eq!(usize::try_from(view.unseen_count).unwrap(), names.len());
            let marked = view.tiles.iter().filter(|tile| tile.unseen).map(|tile| tile.coord.path.to_string());
            assert_eq!(marked.collect::<Vec<_>>(), names);
            names
        };
        let first = make(&agents, "1").await;
        make(&people, "2").await;
        make(&people, "2,3").await;
        assert_eq!(unseen().await, ["1"]);
        agents.move_tile(&at("ada", "2"), &at("ada", "5")).await.unwrap();
        assert_eq!(unseen().await, ["1", "5"], "what was moved along is not told");
        agents.update_tile(&at("ada", "5,3"), title("x")).await.unwrap();
        assert_eq!(unseen().await, ["1", "5", "5,3"]);
        people.update_tile(&at("ada", "5,3"), title("y")).await.unwrap();
        assert_eq!(unseen().await, ["1", "5"], "who changes it has seen it");
        people.move_tile(&at("ada", "5"), &at("ada", "6")).await.unwrap();
        assert_eq!(unseen().await, ["1", "6"]);
        assert!(matches!(people.mark_seen("bob", Some(&first.id)).await, Err(MapError::NoSuchId(_))));
        assert_eq!(people.mark_seen("bob", None).await.unwrap(), 0);
        assert_eq!(unseen().await, ["1", "6"], "bob saw nothing of ada's");
        assert_eq!(people.mark_seen("ada", Some(&first.id)).await.unwrap(), 1);
        assert_eq!(unseen().await, ["6"]);
        assert_eq!(people.mark_seen("ada", None).await.unwrap(), 1);
        assert!(unseen().await.is_empty());
    }

    pub(super) async fn limits_hold_exactly_with_many_at_once(store: Store) {
        let limits = Limits { tiles_max: 4, bytes_max: 1_000, maps_max: 2, ..Limits::default() };
        let maps = people(&store).serving(Actor::Person, limits);
        maps.tile(&at("ada", "")).await.unwrap();
        let tries: Vec<_> = (1..=6)
            .map(|step| {
                let maps = maps.clone();
                tokio::spawn(async move { maps.create_tile(&at("ada", &step.to_string()), tile("t")).await })
            })
            .collect();
        let (mut made, mut full) = (0, 0);
        for attempt in tries {
            match attempt.await.unwrap() {
                Ok(_) => made += 1,
                Err(MapError::Full(text)) => {
                    assert!(text.contains("you may have 4"), "{text}");
                    full += 1;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((made, full), (3, 3), "the root is one of four");
        let there = maps.subtree(&at("ada", ""), Extent::down_to(1).without_content()).await.unwrap();
        let long = TileUpdate { content: Some("x".repeat(1_000)), ..TileUpdate::default() };
        let refused = maps.update_tile(&there[1].coord, long).await;
        assert!(matches!(&refused, Err(MapError::Full(text)) if text.contains("bytes")), "{refused:?}");
        assert_eq!(maps.tile(&there[1].coord).await.unwrap().version, 1, "nothing of it stays");
        assert_eq!(maps.delete_tile(&there[1].coord).await.unwrap(), 1);
        maps.create_map("ada", "Second").await.unwrap();
        let refused = maps.create_map("ada", "Third").await;
        assert!(matches!(refused, Err(MapError::Full(_))), "{refused:?}");
        maps.create_tile(&at("bob", "1"), tile("t")).await.unwrap();
        assert_counted(&store).await;
    }

    pub(super) async fn a_limit_that_was_lowered_still_lets_one_have_less(store: Store) {
        let maps = people(&store);
        for path in ["1", "2", "2,1", "3"] {
            make(&maps, path).await;
        }
        let low = maps.serving(Actor::Person, Limits { tiles_max: 2, bytes_max: 10, maps_max: 1, version_bytes_max: 0 });
        assert!(matches!(low.create_tile(&at("ada", "4"), tile("t")).await, Err(MapError::Full(_))));
        low.move_tile(&at("ada", "1"), &at("ada", "5")).await.unwrap();
        let shorter = TileUpdate { content: Some(String::new()), ..TileUpdate::default() };
        low.update_tile(&at("ada", "5"), shorter).await.unwrap();
        assert_eq!(low.delete_tile(&at("ada", "2")).await.unwrap(), 2);
        assert!(low.versions(&at("ada", "5")).await.unwrap().is_empty());
    }

    pub(super) async fn maps_are_made_and_deleted(store: Store) {
        let maps = people(&store);
        let (lines, usage) = maps.maps("ada").await.unwrap();
        assert_eq!((lines.len(), lines[0].group, usage.maps), (1, 0, 1), "everybody has one");
        let root = maps.create_map("ada", "Garden").await.unwrap();
        assert_eq!((root.coord.to_string().as_str(), root.item_type), ("ada,1", ItemType::User));
        let below = root.coord.at(Path::parse("2").unwrap());
        maps.create_tile(&below, tile("Roses")).await.unwrap();
        assert!(matches!(maps.create_tile(&Coord { group: 7, ..below.clone() }, tile("x")).await, Err(MapError::NoParent(_))));
        let (lines, usage) = maps.maps("ada").await.unwrap();
        let shown: Vec<(u32, &str, i64)> = lines.iter().map(|line| (line.group, line.title.as_str(), line.tiles)).collect();
        assert_eq!((shown, usage.tiles), (vec![(0, "My map", 1), (1, "Garden", 2)], 3));
        assert!(matches!(maps.delete_map("bob", 1).await, Err(MapError::NotFound(_))));
        assert!(matches!(maps.delete_map("ada", 0).await, Err(MapError::Invalid(_))));
        assert!(matches!(maps.create_map("ada", " ").await, Err(MapError::Invalid(_))));
        assert_eq!(maps.delete_map("ada", 1).await.unwrap(), 2);
        assert!(matches!(maps.tile(&below).await, Err(MapError::NotFound(_))));
        assert_eq!(maps.create_map("ada", "Again").await.unwrap().coord.group, 1);
        assert_counted(&store).await;
    }

    pub(super) async fn a_view_is_small_however_large_the_map_is(store: Store) {
        let limits = Limits { tiles_max: 100_000, ..Limits::default() };
        let maps = people(&store).serving(Actor::Person, limits);
        let mut tiles = vec![serde_json::json!({"path": [], "title": "root"})];
        for steps in 0..6_i64.pow(4) {
            let path: Vec<i64> = (0..4).map(|place| steps / 6_i64.pow(place) % 6 + 1).collect();
            for depth in 1..=4 {
                if path[depth..].iter().all(|step| *step == 1) {
                    tiles.push(serde_json::json!({"path": path[..depth], "title": format!("{:?}", &path[..depth])}));
                }
            }
        }
        let document = serde_json::json!({"format": "hexward.map", "version": 1, "tiles": tiles}).to_string();
        let document = Document::read(&document).unwrap();
        assert_eq!(maps.import(&at("ada", ""), document).await.unwrap(), 1 + 6 + 36 + 216 + 1_296);
        let view = maps.view(&at("ada", "")).await.unwrap();
        assert_eq!(view.tiles.len(), 1 + 6 + 36 + 216, "whole levels, as many as fit");
        assert!(view.tiles.len() <= VIEW_TILES_MAX && view.tiles.iter().all(|tile| tile.content.is_empty()));
        assert_eq!((view.hidden.len(), view.hidden.values().sum::<i64>()), (216, 1_296));
        assert!(view.hidden.keys().all(|path| path.depth() == 3));
        assert!(view.tiles.windows(2).all(|pair| pair[1].parent_id.is_some()));
        let deeper = maps.view(&at("ada", "2,3")).await.unwrap();
        let above: Vec<&str> = deeper.above.iter().map(|tile| tile.title.as_str()).collect();
        assert_eq!((above, deeper.tiles.len(), deeper.hidden.len()), (vec!["root", "[2]"], 1 + 6 + 36, 0));
        assert!(matches!(maps.view(&at("ada", "2,0")).await, Err(MapError::NotFound(_))));
        // What tools list is bounded by what it weighs, at any depth.
        assert_eq!(maps.subtree(&at("ada", ""), Extent::down_to(3).without_content()).await.unwrap().len(), 259);
        assert!(matches!(maps.subtree(&at("ada", ""), Extent::down_to(4).without_content()).await, Err(MapError::TooLarge)));
        let ordered = maps.subtree(&at("ada", ""), Extent::down_to(2)).await.unwrap();
        assert!(ordered.iter().skip(1).all(|tile| tile.parent_id.is_some()));
    }

    pub(super) async fn what_is_counted_is_what_is_there(store: Store) {
        let maps = people(&store);
        for path in ["1", "1,2", "1,2,-3", "1,0", "4", "4,4"] {
            make(&maps, path).await;
        }
        let many = TileUpdate {
            content: Some("\u{1f30c}\u{e9}".to_owned()),
            link: Some(Some("https://example.com".to_owned())),
            ..TileUpdate::default()
        };
        maps.update_tile(&at("ada", "1,2"), many).await.unwrap();
        assert_counted(&store).await;
        maps.move_tile(&at("ada", "1"), &at("ada", "4,4")).await.unwrap();
        maps.move_tile(&at("ada", "4,4"), &at("ada", "6")).await.unwrap();
        assert_counted(&store).await;
        let refused = maps.create_tile(&at("ada", "6"), tile("x")).await;
        assert!(matches!(refused, Err(MapError::Occupied(_))));
        maps.delete_tile(&at("ada", "6,2")).await.unwrap();
        assert_counted(&store).await;
        let twice = maps.export_page(&at("ada", ""), None).await.unwrap().revision;
        assert_eq!(maps.export_page(&at("ada", ""), None).await.unwrap().revision, twice, "reading changes nothing");
        maps.move_tile(&at("ada", "6"), &at("ada", "2")).await.unwrap();
        assert!(maps.export_page(&at("ada", ""), None).await.unwrap().revision > twice);
    }

    pub(super) async fn a_document_brings_back_what_was_written_out(store: Store) {
        let maps = people(&store);
        for path in ["1", "1,2", "1,2,-3", "1,0", "4"] {
            make(&maps, path).await;
        }
        let all = TileUpdate {
            title: Some("Quotes \" and \\ and \u{1f30c}".to_owned()),
            content: Some("line\nline\ttab".to_owned()),
            preview: Some(Some(String::from("p"))),
            link: Some(Some("https://example.com/\u{e9}".to_owned())),
            item_type: Some(ItemType::System),
            visibility: Some(Visibility::Public),
        };
        maps.update_tile(&at("ada", "1,2"), all).await.unwrap();
        maps.update_tile(&at("ada", ""), title("Ada's map")).await.unwrap();
        let before = whole(&maps, &at("ada", "")).await;
        let text = written(&maps, &at("ada", "")).await;
        // Into another's map, in place of everything.
        maps.create_tile(&at("bob", "6"), tile("goes")).await.unwrap();
        let root = maps.tile(&at("bob", "")).await.unwrap().id;
        assert_eq!(maps.import(&at("bob", ""), Document::read(&text).unwrap()).await.unwrap(), before.len());
        assert_eq!(whole(&maps, &at("bob", "")).await, before);
        assert_eq!(maps.tile(&at("bob", "")).await.unwrap().id, root);
        assert_eq!(whole(&maps, &at("ada", "")).await, before, "and nothing of hers changed");
        // At a free place, as a tile like any other.
        maps.import(&at("ada", "4,3"), Document::read(&text).unwrap()).await.unwrap();
        let mut copied = whole(&maps, &at("ada", "4,3")).await;
        assert_eq!(copied.get(&Path::root()).unwrap().4, ItemType::Organizational);
        copied.get_mut(&Path::root()).unwrap().4 = ItemType::User;
        assert_eq!(copied, before);
        // A part.
        let part = written(&maps, &at("ada", "1")).await;
        assert_eq!(maps.import(&at("bob", "5"), Document::read(&part).unwrap()).await.unwrap(), 4);
        assert_eq!(whole(&maps, &at("bob", "5")).await, whole(&maps, &at("ada", "1")).await);
        assert!(matches!(maps.export_page(&at("ada", "4"), Some("1")).await, Err(MapError::Invalid(_))), "not of this part");
        assert_counted(&store).await;
    }

    pub(super) async fn an_import_is_there_as_a_whole_or_not_at_all(store: Store) {
        let maps = people(&store).serving(Actor::Person, Limits { tiles_max: 12, ..Limits::default() });
        for path in ["1", "1,1", "2"] {
            make(&maps, path).await;
        }
        let before = whole(&maps, &at("ada", "")).await;
        let document = |paths: &[&[i64]]| {
            let tiles: Vec<_> = paths.iter().map(|path| serde_json::json!({"path": path, "title": "t"})).collect();
            Document::read(&serde_json::json!({"format": "hexward.map", "version": 1, "tiles": tiles}).to_string()).unwrap()
        };
        let ten: Vec<Vec<i64>> =
            std::iter::once(vec![]).chain((1..=6).map(|s| vec![s])).chain((1..=3).map(|s| vec![1, s])).collect();
        let ten: Vec<&[i64]> = ten.iter().map(Vec::as_slice).collect();
        let full = maps.import(&at("ada", "3"), document(&ten)).await;
        assert!(matches!(full, Err(MapError::Full(_))), "with what is there it is too much: {full:?}");
        let thirteen: Vec<Vec<i64>> = std::iter::once(vec![]).chain((1..=6).flat_map(|s| [vec![s], vec![s, 1]])).collect();
        let thirteen: Vec<&[i64]> = thirteen.iter().map(Vec::as_slice).collect();
        assert!(matches!(maps.import(&at("ada", ""), document(&thirteen)).await, Err(MapError::Full(_))), "by itself, too");
        assert!(matches!(maps.import(&at("ada", "1"), document(&[&[]])).await, Err(MapError::Occupied(_))));
        assert!(matches!(maps.import(&at("ada", "5,1"), document(&[&[]])).await, Err(MapError::NoParent(_))));
        let other = Coord { group: 3, ..at("ada", "") };
        assert!(matches!(maps.import(&other, document(&[&[]])).await, Err(MapError::NotFound(_))));
        let deep: Vec<Vec<i64>> = (0..=DEPTH_MAX).map(|depth| vec![1; depth]).collect();
        let deep: Vec<&[i64]> = deep.iter().map(Vec::as_slice).collect();
        let large = maps.serving(Actor::Person, Limits::default());
        assert!(matches!(large.import(&at("ada", "4"), document(&deep)).await, Err(MapError::Invalid(_))), "too deep there");
        assert_eq!(whole(&maps, &at("ada", "")).await, before, "the map is as it was");
        maps.import(&at("ada", ""), document(&ten)).await.unwrap();
        assert_eq!(whole(&maps, &at("ada", "")).await.len(), 10, "in place of what was there it fits");
        assert_counted(&store).await;
    }
}

#[test]
fn a_file_that_is_no_map_is_refused_with_a_reason() {
    let head = r#""format":"hexward.map","version":1"#;
    let with = |tiles: &str| format!("{{{head},\"tiles\":[{tiles}]}}");
    let root = r#"{"path":[],"title":"r"}"#;
    let good = with(root);
    assert_eq!(Document::read(&good).unwrap().len(), 1);
    assert_eq!(Document::read(&format!("\u{feff}{good}")).unwrap().len(), 1, "a mark of the encoding is no fault");
    let cases = [
        (String::new(), "is empty"),
        ("  \n".to_owned(), "is empty"),
        ("PK\u{3}\u{4}".to_owned(), "no JSON"),
        ("<html>".to_owned(), "no JSON: see line 1, column 1"),
        (good[..good.len() - 3].to_owned(), "is cut"),
        (good[..40].to_owned(), "is cut"),
        (format!("{good}x"), "no JSON"),
        ("[]".to_owned(), "no map that can be read"),
        ("{}".to_owned(), "missing field"),
        (good.replace("hexward.map", "other.map"), "its format must be"),
        (good.replace(":1,", ":2,"), "version 2"),
        (good.replace(":1,", ":0,"), "version 0"),
        (good.replace(":1,", ":1,\"version\":1,"), "duplicate field `version`"),
        (good.replace(":1,", ":1,\"extra\":1,"), "unknown field `extra`"),
        (with(r#"{"path":[],"title":"r","title":"s"}"#), "duplicate field `title`"),
        (with(r#"{"path":[],"title":"r","parent":3}"#), "unknown field `parent`"),
        (with(""), "no root"),
        (with(r#"{"path":[1],"title":"a"}"#), "no root"),
        (with(&format!("{root},{root}")), "tiles[1]: there is another tile at []"),
        (
            with(&format!(r#"{root},{{"path":[1],"title":"a"}},{{"path":[1],"title":"b"}}"#)),
            "tiles[2]: there is another tile at [1]",
        ),
        (with(&format!(r#"{root},{{"path":[1,2],"title":"a"}}"#)), "no tile above it"),
        (with(&format!(r#"{root},{{"path":[7],"title":"a"}}"#)), "tiles[1]: 7 is not a direction"),
        (with(&format!(r#"{root},{{"path":["1"],"title":"a"}}"#)), "invalid type"),
        (with(&format!(r#"{root},{{"path":[1.5],"title":"a"}}"#)), "invalid type"),
        (with(&format!(r#"{root},{{"path":{:?},"title":"a"}}"#, [1; 51])), "51 steps"),
        (with(&format!(r#"{root},{{"path":[1],"title":""}}"#)), "tiles[1]: title is empty"),
        (with(&format!(r#"{root},{{"path":[1],"title":"a\u0000b"}}"#)), "control character"),
        (with(&format!(r#"{root},{{"path":[1],"title":"a","link":"javascript:alert(1)"}}"#)), "http or https"),
        (with(&format!(r#"{root},{{"path":[1],"title":"a","type":"user"}}"#)), "kept for the root"),
        (with(&format!(r#"{root},{{"path":[1],"title":"a","type":"x"}}"#)), "type must be"),
        (with(&format!(r#"{root},{{"path":[1],"title":"a","visibility":"x"}}"#)), "visibility must be"),
        (with(&format!(r#"{root},{{"path":[1],"title":"a","content":"{}"}}"#, "x".repeat(20_001))), "at most 20000"),
        ("[".repeat(100_000), "no map that can be read"),
        (" ".repeat(hexmap::map::DOCUMENT_BYTES_MAX + 1), "at most"),
    ];
    for (text, says) in cases {
        let shown: String = text.chars().take(100).collect();
        let refused = Document::read(&text).expect_err(&shown).to_string();
        assert!(refused.contains(says), "{shown}: {refused}");
    }
}

fn texts() -> impl Strategy<Value = NewTile> {
    let text = |chars: &'static str| proptest::string::string_regex(chars).unwrap();
    (
        text("[^\\p{C}\\s][^\\p{C}]{0,30}"),
        text("[^\\p{Cc}]{0,60}"),
        proptest::option::of(text("[^\\p{Cc}]{0,20}")),
        proptest::option::of(text("https://example\\.com/[a-z0-9]{0,9}")),
        prop_oneof![Just(ItemType::Organizational), Just(ItemType::Context), Just(ItemType::System)],
        prop_oneof![Just(Visibility::Private), Just(Visibility::Public)],
    )
        .prop_map(|(title, content, preview, link, item_type, visibility)| NewTile {
            title,
            content,
            preview,
            link,
            item_type,
            visibility,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever map there is, what was written out brings it back.
    #[test]
    fn import_of_export_is_the_map(steps in proptest::collection::vec((proptest::collection::vec(-6_i64..=6, 0..5), texts()), 0..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (store, _folder) = sqlite().await;
            let maps = people(&store);
            for (path, tile) in steps {
                // What has no tile above it, or is taken, is not in the map.
                let _ = maps.create_tile(&Coord::new("ada", 0, Path::new(&path).unwrap()).unwrap(), tile).await;
            }
            let before = whole(&maps, &at("ada", "")).await;
            let text = written(&maps, &at("ada", "")).await;
            maps.import(&at("bob", ""), Document::read(&text).unwrap()).await.unwrap();
            assert_eq!(whole(&maps, &at("bob", "")).await, before);
            assert_eq!(written(&maps, &at("bob", "")).await, text);
        });
    }

    #[test]
    fn no_text_makes_the_reader_fail_otherwise_than_with_a_sentence(text in "[\\[\\]{}\":,a-z0-9 \\-]{0,200}") {
        if let Err(error) = Document::read(&text) {
            prop_assert!(matches!(error, MapError::Invalid(_)));
        }
    }
}
