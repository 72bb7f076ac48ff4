//! The life of a map, on SQLite and on PostgreSQL. Each story gets tables of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use hexmap::coord::{Coord, DEPTH_MAX, Path};
use hexmap::map::{Extent, MapError, Maps};
use hexmap::tile::{ItemType, NewTile, Tile, TileUpdate};
use policy::{Clock, Timestamp};
use std::sync::Arc;
use store::{Statement, Store, Value};

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

/// Always the same moment.
struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000_000)
    }
}

fn maps(store: &Store) -> Maps {
    Maps::new(store.clone(), Arc::new(Then))
}

/// Tells a story on every engine.
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
    created_read_changed_deleted
    what_stands_in_the_way
    moved_to_a_free_place_with_everything_below
    swapped_both_ways
    moves_that_are_refused_change_nothing
    what_is_tried_out_is_told_and_not_done
    what_is_expected_has_to_be_so
    nobody_reaches_another_map
    listings_are_bounded
    many_at_once_on_one_place
}

fn at(user: &str, path: &str) -> Coord {
    Coord::new(user, 0, Path::parse(path).unwrap()).unwrap()
}

fn tile(title: &str) -> NewTile {
    NewTile { title: title.to_owned(), content: format!("about {title}"), ..NewTile::default() }
}

async fn make(maps: &Maps, user: &str, path: &str, title: &str) -> Tile {
    maps.create_tile(&at(user, path), tile(title)).await.unwrap()
}

/// A whole map as `path title` lines.
async fn drawn(maps: &Maps, user: &str) -> Vec<String> {
    let tiles = maps.subtree(&at(user, ""), Extent::down_to(DEPTH_MAX)).await.unwrap();
    tiles.iter().map(|tile| format!("{} {}", tile.coord.path, tile.title)).collect()
}

const EVERY_PATH: Statement = Statement("SELECT path FROM hexmap_tiles ORDER BY path");

async fn every_path(store: &Store) -> Vec<String> {
    let read = |tx: &mut dyn store::Tx| -> Result<Vec<String>, MapError> {
        Ok(tx.query(EVERY_PATH, &[])?.iter().map(|row| row.text(0)).collect::<Result<_, _>>()?)
    };
    store.read(read).await.unwrap()
}

/// What a change that was only tried out would do.
fn planned<T: std::fmt::Debug>(tried: Result<T, MapError>) -> hexmap::map::Effect {
    match tried {
        Err(MapError::Planned(effect)) => effect,
        other => panic!("{other:?}"),
    }
}

mod story {
    use super::*;

    pub(super) async fn what_is_tried_out_is_told_and_not_done(store: Store) {
        let maps = maps(&store);
        for (path, title) in
            [("2", "Aurora"), ("2,1", "a"), ("2,1,3", "b"), ("3", "Beacon \u{201d} and nothing else"), ("3,1", "c")]
        {
            make(&maps, "ada", path, title).await;
        }
        let mut changes = store.changes();
        let (before, plan) = (drawn(&maps, "ada").await, maps.planning());
        let deleted = planned(plan.delete_tile(&at("ada", "2")).await);
        assert_eq!(deleted.summary, "Deletes \u{201c}Aurora\u{201d} and 2 tiles below it.");
        let alone = planned(plan.delete_tile(&at("ada", "2,1,3")).await);
        assert_eq!(alone.summary, "Deletes \u{201c}b\u{201d}.");
        let moved = planned(plan.move_tile(&at("ada", "2,1"), &at("ada", "4")).await);
        assert_eq!(moved.summary, "Moves \u{201c}a\u{201d} and 1 tile below it to [4].");
        let swapped = planned(plan.move_tile(&at("ada", "2"), &at("ada", "3")).await);
        let theirs = "\u{201c}Beacon \" and nothing else\u{201d} and 1 tile below it";
        assert_eq!(swapped.summary, format!("Lets \u{201c}Aurora\u{201d} and 2 tiles below it and {theirs} change places."));
        let update = TileUpdate { title: Some("x".repeat(200)), content: Some("new".to_owned()), ..TileUpdate::default() };
        let updated = planned(plan.update_tile(&at("ada", "2"), update).await);
        let long = format!("\u{201c}{}\u{2026}\u{201d}", "x".repeat(80));
        assert_eq!(updated.summary, format!("Replaces title, content of \u{201c}Aurora\u{201d}. Its title becomes {long}."));
        let created = planned(plan.create_tile(&at("ada", "2,4"), tile("new")).await);
        assert_eq!(created.summary, "Creates \u{201c}new\u{201d} at [2,4] below \u{201c}Aurora\u{201d}.");
        let digests: std::collections::BTreeSet<_> =
            [deleted, alone, moved, swapped, updated, created].into_iter().map(|effect| effect.digest).collect();
        assert_eq!(digests.len(), 6, "each effect is its own");
        // What would fail fails in the same words.
        assert!(matches!(plan.delete_tile(&at("ada", "5")).await, Err(MapError::NotFound(_))));
        assert!(matches!(plan.create_tile(&at("ada", "2"), tile("x")).await, Err(MapError::Occupied(_))));
        assert!(matches!(plan.delete_tile(&at("ada", "")).await, Err(MapError::Invalid(_))));
        assert_eq!(drawn(&maps, "ada").await, before, "nothing was done");
        assert!(changes.try_recv().is_err(), "and nobody was told of a change");
    }

    pub(super) async fn what_is_expected_has_to_be_so(store: Store) {
        let maps = maps(&store);
        for (path, title) in [("2", "Aurora"), ("2,1", "a"), ("3", "Beacon")] {
            make(&maps, "ada", path, title).await;
        }
        let plan = async || planned(maps.planning().delete_tile(&at("ada", "2")).await).digest;
        let digest = plan().await;
        let refused =
            async |digest: &str| matches!(maps.expecting(digest).delete_tile(&at("ada", "2")).await, Err(MapError::Changed));
        let rename = |path: &'static str| {
            let update = TileUpdate { content: Some("other".to_owned()), ..TileUpdate::default() };
            let (maps, place) = (&maps, at("ada", path));
            async move { maps.update_tile(&place, update).await.unwrap() }
        };
        rename("2,1").await;
        assert!(refused(&digest).await, "a tile below it has changed");
        let digest = plan().await;
        make(&maps, "ada", "2,2", "more").await;
        assert!(refused(&digest).await, "there is more to delete");
        let digest = plan().await;
        maps.delete_tile(&at("ada", "2,2")).await.unwrap();
        assert!(refused(&digest).await, "there is less");
        let digest = plan().await;
        maps.move_tile(&at("ada", "2"), &at("ada", "3")).await.unwrap();
        assert!(refused(&digest).await, "another tile lies there");
        assert!(refused("").await && refused("x").await);
        let digest = plan().await;
        rename("3").await;
        assert_eq!(plan().await, digest, "what is elsewhere is no part of it");
        let other = planned(maps.planning().delete_tile(&at("ada", "3")).await).digest;
        assert!(refused(&other).await, "the effect of another call");
        maps.expecting(&digest).delete_tile(&at("ada", "2")).await.unwrap();
        assert!(refused(&digest).await, "and once");
    }

    pub(super) async fn created_read_changed_deleted(store: Store) {
        let maps = maps(&store);
        let mut changes = store.changes();
        let root = maps.tile(&at("ada", "")).await.unwrap();
        assert_eq!((root.item_type, root.parent_id.clone(), root.version), (ItemType::User, None, 1));
        assert_eq!(maps.tile(&at("ada", "")).await.unwrap().id, root.id, "the root is made once");

        let created = make(&maps, "ada", "2", "Aurora").await;
        assert_eq!(created.parent_id, Some(root.id));
        assert_eq!(changes.try_recv().unwrap(), store::Change::App { user: "ada".to_owned(), app: "hexmap".to_owned() });
        assert_eq!(maps.tile(&at("ada", "2")).await.unwrap(), created);
        assert_eq!(maps.tile_by_id("ada", &created.id).await.unwrap(), created);
        for (path, title) in [("2,0", "plan"), ("2,-1", "context"), ("2,-1,3", "within"), ("2,1", "child"), ("3", "Beacon")] {
            make(&maps, "ada", path, title).await;
        }

        let update = TileUpdate {
            title: Some("Dawn".to_owned()),
            link: Some(Some("https://example.com".to_owned())),
            ..TileUpdate::default()
        };
        let changed = maps.update_tile(&at("ada", "2"), update).await.unwrap();
        assert_eq!((changed.title.as_str(), changed.content.as_str(), changed.version), ("Dawn", "about Aurora", 2));
        let unlink = TileUpdate { link: Some(None), ..TileUpdate::default() };
        assert_eq!(maps.update_tile(&at("ada", "2"), unlink).await.unwrap().link, None);
        assert_eq!(maps.tile(&at("ada", "2")).await.unwrap().version, 3);

        let below = maps.subtree(&at("ada", "2"), Extent::down_to(1).without_content()).await.unwrap();
        let shown: Vec<String> = below.iter().map(|tile| format!("{} {}", tile.coord.path, tile.title)).collect();
        assert_eq!(shown, ["2 Dawn", "2,-1 context", "2,0 plan", "2,1 child"]);
        assert!(below.iter().all(|tile| tile.content.is_empty()));
        assert!(below.iter().skip(1).all(|tile| tile.parent_id.as_ref() == Some(&created.id)));

        assert_eq!(maps.delete_tile(&at("ada", "2")).await.unwrap(), 5);
        assert_eq!(drawn(&maps, "ada").await, [" My map", "3 Beacon"]);
        assert!(matches!(maps.tile_by_id("ada", &created.id).await, Err(MapError::NoSuchId(_))));
        assert!(matches!(maps.delete_tile(&at("ada", "2")).await, Err(MapError::NotFound(_))));
    }

    pub(super) async fn what_stands_in_the_way(store: Store) {
        let maps = maps(&store);
        make(&maps, "ada", "1", "one").await;
        let create = |path: &'static str| {
            let maps = maps.clone();
            async move { maps.create_tile(&at("ada", path), tile("x")).await }
        };
        assert!(matches!(create("1").await, Err(MapError::Occupied(_))));
        assert!(matches!(create("2,1").await, Err(MapError::NoParent(_))));
        assert!(matches!(create("").await, Err(MapError::Invalid(_))));
        assert!(matches!(maps.delete_tile(&at("ada", "")).await, Err(MapError::Invalid(_))));
        assert!(matches!(maps.update_tile(&at("ada", "4"), title("x")).await, Err(MapError::NotFound(_))));
        let retype = TileUpdate { item_type: Some(ItemType::System), ..TileUpdate::default() };
        assert!(matches!(maps.update_tile(&at("ada", ""), retype).await, Err(MapError::Invalid(_))));
        assert_eq!(maps.update_tile(&at("ada", ""), title("Ada's map")).await.unwrap().item_type, ItemType::User);
        let elsewhere = Coord { group: 1, ..at("ada", "1") };
        assert!(matches!(maps.create_tile(&elsewhere, tile("x")).await, Err(MapError::NoParent(_))));
        assert!(matches!(maps.tile(&Coord { group: 1, ..at("ada", "") }).await, Err(MapError::NotFound(_))));
        assert_eq!(every_path(&store).await, ["", "1"]);
    }

    fn title(text: &str) -> TileUpdate {
        TileUpdate { title: Some(text.to_owned()), ..TileUpdate::default() }
    }

    pub(super) async fn moved_to_a_free_place_with_everything_below(store: Store) {
        let maps = maps(&store);
        for (path, title) in [("1", "a"), ("1,2", "b"), ("1,2,-3", "c"), ("1,0", "plan"), ("4", "d")] {
            make(&maps, "ada", path, title).await;
        }
        let before = maps.tile(&at("ada", "1,2,-3")).await.unwrap();
        let moved = maps.move_tile(&at("ada", "1"), &at("ada", "4,6")).await.unwrap();
        assert_eq!((moved.count, moved.tiles.len(), moved.tiles[0].title.as_str()), (4, 4, "a"));
        assert_eq!(moved.tile_id, moved.tiles[0].id);
        assert_eq!(moved.tiles[0].parent_id, Some(maps.tile(&at("ada", "4")).await.unwrap().id));
        assert_eq!(drawn(&maps, "ada").await, [" My map", "4 d", "4,6 a", "4,6,0 plan", "4,6,2 b", "4,6,2,-3 c"]);
        let after = maps.tile(&at("ada", "4,6,2,-3")).await.unwrap();
        assert_eq!((after.id, after.content, after.version), (before.id, before.content, 2));
        assert!(matches!(maps.tile(&at("ada", "1")).await, Err(MapError::NotFound(_))));
        maps.move_tile(&at("ada", "4,6"), &at("ada", "1")).await.unwrap();
        assert_eq!(drawn(&maps, "ada").await, [" My map", "1 a", "1,0 plan", "1,2 b", "1,2,-3 c", "4 d"]);
    }

    pub(super) async fn swapped_both_ways(store: Store) {
        let maps = maps(&store);
        for (path, title) in [("1", "a"), ("1,2", "b"), ("3", "c"), ("3,4", "d"), ("3,4,5", "e"), ("3,4,-1", "f"), ("3,1", "g")] {
            make(&maps, "ada", path, title).await;
        }
        let before = drawn(&maps, "ada").await;
        let moved = maps.move_tile(&at("ada", "1"), &at("ada", "3,4")).await.unwrap();
        assert_eq!(moved.count, 5);
        assert_eq!(moved.tiles.iter().map(|tile| tile.title.as_str()).collect::<Vec<_>>(), ["a", "b", "d", "f", "e"]);
        assert_eq!(drawn(&maps, "ada").await, [" My map", "1 d", "1,-1 f", "1,5 e", "3 c", "3,1 g", "3,4 a", "3,4,2 b"]);
        maps.move_tile(&at("ada", "1"), &at("ada", "3,4")).await.unwrap();
        assert_eq!(drawn(&maps, "ada").await, before, "the same move again puts everything back");
        assert!(every_path(&store).await.iter().all(|path| Path::parse(path).is_ok()), "nothing stays parked");
        let siblings = maps.move_tile(&at("ada", "1"), &at("ada", "3")).await.unwrap();
        assert_eq!(siblings.count, 7);
        assert_eq!(drawn(&maps, "ada").await, [" My map", "1 c", "1,1 g", "1,4 d", "1,4,-1 f", "1,4,5 e", "3 a", "3,2 b"]);
    }

    pub(super) async fn moves_that_are_refused_change_nothing(store: Store) {
        let maps = maps(&store);
        for path in ["1", "1,2", "1,2,3", "5"] {
            make(&maps, "ada", path, path).await;
        }
        make(&maps, "bob", "5", "bob's").await;
        let before = drawn(&maps, "ada").await;
        let go = |from: Coord, to: Coord| {
            let maps = maps.clone();
            async move { maps.move_tile(&from, &to).await.map(|moved| moved.count) }
        };
        for (from, to) in [("", "2"), ("1", ""), ("1", "1"), ("1", "1,2"), ("1", "1,5"), ("1,2", "1"), ("1,2,3", "1")] {
            assert!(matches!(go(at("ada", from), at("ada", to)).await, Err(MapError::Invalid(_))), "{from} to {to}");
        }
        assert!(matches!(go(at("ada", "1"), at("bob", "2")).await, Err(MapError::Invalid(_))));
        assert!(matches!(go(at("ada", "1"), Coord { group: 1, ..at("ada", "2") }).await, Err(MapError::Invalid(_))));
        assert!(matches!(go(at("ada", "6"), at("ada", "2")).await, Err(MapError::NotFound(_))));
        assert!(matches!(go(at("ada", "1"), at("ada", "4,1")).await, Err(MapError::NoParent(_))));

        // A swap that fits one way and not the other is undone as a whole.
        let mut deep = "5".to_owned();
        for _ in 1..DEPTH_MAX {
            deep.push_str(",1");
            make(&maps, "ada", &deep, "deep").await;
        }
        let deepest = every_path(&store).await;
        assert!(matches!(go(at("ada", "5,1"), at("ada", "1,2,3")).await, Err(MapError::Invalid(_))));
        assert!(matches!(go(at("ada", "1,2,3"), at("ada", "5,1")).await, Err(MapError::Invalid(_))));
        assert!(matches!(go(at("ada", "1"), at("ada", &deep)).await, Err(MapError::Invalid(_))));
        assert_eq!(every_path(&store).await, deepest);
        maps.delete_tile(&at("ada", "5,1")).await.unwrap();
        assert_eq!(drawn(&maps, "ada").await, before);
        assert_eq!(maps.tile(&at("ada", "1")).await.unwrap().version, 1);
    }

    pub(super) async fn nobody_reaches_another_map(store: Store) {
        let maps = maps(&store);
        let secret = make(&maps, "ada", "1", "ada's secret").await;
        make(&maps, "bob", "1", "bob's").await;
        assert!(matches!(maps.tile_by_id("bob", &secret.id).await, Err(MapError::NoSuchId(_))));
        assert_eq!(drawn(&maps, "bob").await, [" My map", "1 bob's"]);
        maps.update_tile(&at("bob", "1"), title("changed")).await.unwrap();
        maps.move_tile(&at("bob", "1"), &at("bob", "2")).await.unwrap();
        maps.delete_tile(&at("bob", "2")).await.unwrap();
        assert_eq!(maps.tile(&at("ada", "1")).await.unwrap(), secret);
        // Names that would matter to a careless query.
        for user in ["ad", "ada_", "a_a", "-", "ADA"] {
            assert_eq!(drawn(&maps, user).await, [" My map"], "{user}");
        }
    }

    pub(super) async fn listings_are_bounded(store: Store) {
        let maps = maps(&store);
        let long = NewTile { content: "x".repeat(20_000), ..tile("long") };
        for first in 1..=3 {
            maps.create_tile(&at("ada", &first.to_string()), long.clone()).await.unwrap();
            for second in 1..=6 {
                maps.create_tile(&at("ada", &format!("{first},{second}")), long.clone()).await.unwrap();
            }
        }
        assert!(matches!(maps.subtree(&at("ada", ""), Extent::down_to(10)).await, Err(MapError::TooLarge)));
        assert_eq!(maps.subtree(&at("ada", ""), Extent::down_to(10).without_content()).await.unwrap().len(), 22);
        assert_eq!(maps.subtree(&at("ada", ""), Extent::down_to(1)).await.unwrap().len(), 4);
    }

    pub(super) async fn many_at_once_on_one_place(store: Store) {
        let maps = maps(&store);
        let tries = (0..12).map(|_| {
            let maps = maps.clone();
            tokio::spawn(async move { maps.create_tile(&at("ada", "1"), tile("first")).await })
        });
        let mut created = 0;
        for attempt in tries.collect::<Vec<_>>() {
            match attempt.await.unwrap() {
                Ok(_) => created += 1,
                Err(error) => assert!(matches!(error, MapError::Occupied(_)), "{error:?}"),
            }
        }
        assert_eq!(created, 1);
        assert_eq!(every_path(&store).await, ["", "1"]);
    }
}

#[tokio::test]
async fn a_full_map_takes_no_more() {
    const FILL: Statement = Statement(
        "INSERT INTO hexmap_tiles (owner, group_id, path, id, item_type, title, content, version, created_at, updated_at)
         VALUES ('ada', 0, ?1, ?2, 'context', 't', '', 1, 0, 0)",
    );
    let (store, _folder) = sqlite().await;
    let maps = maps(&store);
    maps.tile(&at("ada", "")).await.unwrap();
    let fill = |tx: &mut dyn store::Tx| -> Result<(), MapError> {
        let places = (0..hexmap::map::Limits::default().tiles_max - 1).map(|n| {
            let digits = (0..6).map(|place| (n / 6_i64.pow(place) % 6 + 1).to_string());
            format!("1,{}", digits.collect::<Vec<_>>().join(","))
        });
        for path in places {
            tx.execute(FILL, &[Value::from(&path), Value::from(&path)])?;
        }
        Ok(())
    };
    store.write(fill).await.unwrap();
    let refused = maps.create_tile(&at("ada", "2"), tile("x")).await;
    assert!(matches!(refused, Err(MapError::Full(_))), "{refused:?}");
}
