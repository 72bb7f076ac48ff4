//! Places on the map: tables for what is said about them, properties for what must always hold.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hexmap::coord::{Coord, CoordError, DEPTH_MAX, PATH_BYTES_MAX, Path};
use hexmap::tile::{ItemType, NewTile, TileUpdate};
use policy::{Manifest, ToolEffect, ToolHints, ToolRule};
use proptest::prelude::*;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn texts(paths: &[Path]) -> Vec<String> {
    paths.iter().map(ToString::to_string).collect()
}

#[test]
fn coordinates_are_written_one_way() {
    for text in ["abc123,0", "abc123,0:1,-3,2", "abc123,0:1,0", "0197-f_Z,4294967295:-6", "u,7:0"] {
        assert_eq!(Coord::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        ",0",
        "u",
        "u,",
        "u,0:",
        "u,0:7",
        "u,0:-7",
        "u,0:1,",
        "u,0:,1",
        "u,0:1,,2",
        "u,0:+1",
        "u,0:01",
        "u,0: 1",
        "u,00",
        "u,-1",
        "u,4294967296",
        "u,0:1:2",
        "u v,0",
        "\u{fc},0",
        "u,0:-0",
        "u,0:1.0",
        "../x,0",
        "u\0,0",
    ] {
        assert!(Coord::parse(text).is_err(), "{text:?} must be refused");
    }
    assert!(Coord::parse(&format!("{},0", "u".repeat(129))).is_err());
}

#[test]
fn a_map_has_a_bottom() {
    let steps = vec![1; DEPTH_MAX];
    assert_eq!(Path::new(&steps).unwrap().depth(), DEPTH_MAX);
    assert_eq!(Path::new(&vec![1; DEPTH_MAX + 1]), Err(CoordError::TooDeep(DEPTH_MAX + 1)));
    assert_eq!(Path::parse(&vec!["1"; 10_000].join(",")), Err(CoordError::TooDeep(DEPTH_MAX + 1)));
    let longest = Path::new(&vec![-6; DEPTH_MAX]).unwrap().to_string();
    assert!(longest.len() <= PATH_BYTES_MAX);
    assert_eq!(Path::new(&[1, 9]), Err(CoordError::Direction(9)));
    assert_eq!(Path::new(&[i64::MIN]), Err(CoordError::Direction(i64::MIN)));
}

#[test]
fn relatives() {
    assert_eq!(path("1,-3,2").parent().unwrap(), path("1,-3"));
    assert_eq!(path("4").parent().unwrap(), Path::root());
    assert_eq!(Path::root().parent(), None);
    assert_eq!(texts(&path("1,-3,2").ancestors()), ["", "1", "1,-3"]);
    assert_eq!(texts(&path("2,1").siblings()), ["2,2", "2,3", "2,4", "2,5", "2,6"]);
    assert_eq!(texts(&path("2,0").siblings()), ["2,1", "2,2", "2,3", "2,4", "2,5", "2,6"]);
    assert_eq!(texts(&path("-2").siblings()), ["-1", "-3", "-4", "-5", "-6"]);
    assert_eq!(texts(&path("-2,1").siblings()), ["-2,-1", "-2,-2", "-2,-3", "-2,-4", "-2,-5", "-2,-6"]);
    assert!(Path::root().siblings().is_empty() && Path::root().neighbours().is_empty());
    assert_eq!(texts(&path("1").neighbours()), ["2", "6"]);
    assert_eq!(texts(&path("6").neighbours()), ["1", "5"]);
    assert_eq!(texts(&path("3,-1").neighbours()), ["3,-2", "3,-6"]);
    assert_eq!(path("0").neighbours().len(), 6);
}

#[test]
fn below_respects_the_separator() {
    for (lower, upper, below) in [
        ("1,2", "1", true),
        ("1", "", true),
        ("-1", "", true),
        ("1", "1", false),
        ("1", "1,2", false),
        ("-1,1", "1", false),
        ("1,1", "-1", false),
        ("2,1", "1", false),
    ] {
        assert_eq!(path(lower).is_below(&path(upper)), below, "{lower} below {upper}");
        assert_eq!(path(upper).texts_below().contains(&lower.to_owned()), below, "the range of {upper} and {lower}");
    }
}

fn any_path() -> impl Strategy<Value = Path> {
    prop::collection::vec(-6_i64..=6, 0..12).prop_map(|steps| Path::new(&steps).unwrap())
}

proptest! {
    #[test]
    fn written_and_read_back(path in any_path(), user in "[a-zA-Z0-9_-]{1,40}", group in any::<u32>()) {
        let coord = Coord::new(&user, group, path).unwrap();
        prop_assert_eq!(Coord::parse(&coord.to_string()).unwrap(), coord);
    }

    #[test]
    fn reading_never_panics_and_is_the_inverse_of_writing(text in "\\PC{0,40}|[a-z]{1,3},[0-9]{1,3}(:[-0-9,]{0,20})?") {
        if let Ok(coord) = Coord::parse(&text) {
            prop_assert_eq!(coord.to_string(), text);
        }
    }

    #[test]
    fn a_tree_is_ordered_as_its_texts_are(one in any_path(), other in any_path(), tail in any_path()) {
        let text = |path: &Path| if path.is_root() { String::new() } else { format!("{path},") };
        let joined: Vec<i64> = one.steps().iter().chain(tail.steps()).map(|step| i64::from(*step)).collect();
        for next in [other, Path::new(&joined).unwrap()] {
            prop_assert_eq!(one.in_tree(&next), text(&one).cmp(&text(&next)));
        }
    }

    #[test]
    fn the_range_of_texts_is_exactly_what_is_below(upper in any_path(), lower in any_path(), tail in any_path()) {
        let range = upper.texts_below();
        prop_assert_eq!(range.contains(&lower.to_string()), lower.is_below(&upper));
        let joined: Vec<i64> = upper.steps().iter().chain(tail.steps()).map(|step| i64::from(*step)).collect();
        let below = Path::new(&joined).unwrap();
        prop_assert_eq!(range.contains(&below.to_string()), !tail.is_root());
    }

    #[test]
    fn a_parent_is_the_last_ancestor_and_a_sibling_has_the_same_parent(path in any_path()) {
        prop_assert_eq!(path.ancestors().last().cloned(), path.parent());
        for ancestor in path.ancestors() {
            prop_assert!(path.is_below(&ancestor) && !ancestor.is_below(&path));
        }
        for other in path.siblings().into_iter().chain(path.neighbours()) {
            prop_assert_eq!(other.parent(), path.parent());
            prop_assert_ne!(other, path.clone());
        }
        for other in path.neighbours() {
            prop_assert!(path.steps().last() == Some(&0) || other.neighbours().contains(&path));
        }
    }
}

fn tile(title: &str) -> NewTile {
    NewTile { title: title.to_owned(), ..NewTile::default() }
}

#[test]
fn what_a_tile_may_hold() {
    assert_eq!(tile("Aurora").check(), Ok(()));
    assert_eq!(tile(&"\u{1f30c}".repeat(200)).check(), Ok(()));
    let with = |change: fn(&mut NewTile)| {
        let mut tile = tile("Aurora");
        change(&mut tile);
        tile.check()
    };
    assert!(with(|tile| tile.title = "x".repeat(201)).unwrap_err().contains("at most 200"));
    assert!(with(|tile| tile.title = " \u{a0}".to_owned()).unwrap_err().contains("empty"));
    assert!(with(|tile| tile.title = "two\nlines".to_owned()).is_err());
    assert!(with(|tile| tile.title = "bell\u{7}".to_owned()).is_err());
    assert!(with(|tile| tile.content = "line\n\tindented".to_owned()).is_ok());
    assert!(with(|tile| tile.content = "esc\u{1b}[2J".to_owned()).is_err());
    assert!(with(|tile| tile.content = "x".repeat(20_001)).is_err());
    assert!(with(|tile| tile.preview = Some("x".repeat(1_001))).is_err());
    assert!(with(|tile| tile.item_type = ItemType::User).is_err());
}

#[test]
fn links_lead_to_web_pages_only() {
    let check = |link: &str| NewTile { link: Some(link.to_owned()), ..tile("Aurora") }.check();
    for good in
        ["https://example.com", "http://example.com:8080/a?b=c#d", "https://de.wikipedia.org/wiki/K\u{fc}che", "https://[::1]/"]
    {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "ftp://example.com",
        "//example.com",
        "example.com",
        "https://",
        "https:///x",
        "https://user:pass@example.com/",
        "https://user@example.com/",
        "https://exa mple.com",
        "https://example.com/a b",
        "https:\\\\example.com",
        "java\nscript:alert(1)",
        " https://example.com",
        "https://example.com/\u{0}",
    ] {
        assert!(check(bad).is_err(), "{bad:?} must be refused");
    }
    assert!(check(&format!("https://example.com/{}", "x".repeat(2_000))).is_err());
}

#[test]
fn an_update_changes_something() {
    assert!(TileUpdate::default().check().is_err());
    assert_eq!(TileUpdate { link: Some(None), ..TileUpdate::default() }.check(), Ok(()));
    assert!(TileUpdate { title: Some(String::new()), ..TileUpdate::default() }.check().is_err());
    assert!(TileUpdate { item_type: Some(ItemType::User), ..TileUpdate::default() }.check().is_err());
}

#[test]
fn the_manifest_names_every_tool_and_says_what_it_does() {
    let manifest = Manifest::parse(hexmap::MANIFEST).unwrap();
    assert_eq!((manifest.id.as_str(), manifest.agent.turns_max), (hexmap::APP, 50));
    assert!((3..=4).contains(&manifest.suggestions.len()));
    let class = |rule: &ToolRule| rule.class(ToolHints::default()).word();
    let rules: Vec<(&str, &str, bool)> =
        manifest.tools.iter().map(|(name, rule)| (name.as_str(), class(rule), rule.dry_run)).collect();
    let expected = [
        ("addItem", "write", true),
        ("deleteItem", "write destructive", true),
        ("getCurrentUser", "read", false),
        ("getItemByCoords", "read", false),
        ("getItemsForRootItem", "read", false),
        ("mapItemHandler", "read", false),
        ("mapItemsList", "read", false),
        ("moveItem", "write", true),
        ("updateItem", "write", true),
    ];
    assert_eq!(rules, expected);
    let people: Vec<(&str, bool, bool)> =
        manifest.people.iter().map(|(name, rule)| (name.as_str(), rule.effect == ToolEffect::Write, rule.large)).collect();
    let expected = [
        ("addItem", true, false),
        ("createMap", true, false),
        ("deleteItem", true, false),
        ("deleteMap", true, false),
        ("exportMap", false, false),
        ("importMap", true, true),
        ("listMaps", false, false),
        ("listVersions", false, false),
        ("markSeen", true, false),
        ("moveItem", true, false),
        ("restoreVersion", true, false),
        ("undoChange", true, false),
        ("updateItem", true, false),
    ];
    assert_eq!(people, expected);
    for uri in ["map://view", "map://view/0197", "map://items", "map://items/0197", "map://item/0197", "map://current-user"] {
        assert!(manifest.allows_resource(uri), "{uri}");
    }
    assert!(hexmap::PROMPT.lines().count() < 60);
}
