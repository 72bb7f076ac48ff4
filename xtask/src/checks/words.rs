//! Who may name what: a room is known by the absence of something in it.

use crate::source::{code_only, names};
use crate::tree::Tree;
use anyhow::Result;

/// Words that must not stand in the code under some folders.
struct Rule {
    within: &'static [&'static str],
    but_not: &'static str,
    /// Whether it binds the crates' own `tests/` folders too.
    in_tests: bool,
    words: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        within: &["crates/", "apps/", "fake/"],
        but_not: "crates/store/",
        in_tests: false,
        words: &["rusqlite", "tokio_postgres", "deadpool_postgres", "tokio_postgres_rustls"],
        why: "only store knows a database engine",
    },
    Rule {
        within: &["crates/", "apps/", "fake/", "tests/", "bench/", "xtask/"],
        but_not: "crates/jail/",
        in_tests: true,
        words: &["unsafe"],
        why: "unsafe code stands in jail only",
    },
    Rule {
        within: &["crates/policy/"],
        but_not: "",
        in_tests: false,
        words: &[
            "tokio",
            "hyper",
            "axum",
            "rusqlite",
            "tokio_postgres",
            "reqwest",
            "std::net",
            "std::fs",
            "std::process",
            "std::env",
            "SystemTime",
            "Instant",
            "async",
        ],
        why: "policy is pure: no I/O, no clock, no async",
    },
    Rule {
        within: &["crates/web/"],
        but_not: "",
        in_tests: true,
        words: &["proxy::", "sandbox::"],
        why: "web reaches agents through runs only",
    },
    Rule {
        within: &["crates/proxy/", "crates/sandbox/"],
        but_not: "",
        in_tests: true,
        words: &["web::"],
        why: "nothing below knows the pages",
    },
];

pub fn run(tree: &Tree) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for rule in RULES {
        for (path, text) in tree.rust_under(rule.within) {
            let at_home = !rule.but_not.is_empty() && path.starts_with(rule.but_not);
            if at_home || (!rule.in_tests && path.contains("/tests/")) {
                continue;
            }
            let code = code_only(text);
            let named = rule.words.iter().filter(|word| names(&code, word));
            faults.extend(named.map(|word| format!("{path} names `{word}`: {}", rule.why)));
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        run(&Tree::of(&[(path, text)])).expect("it only looks")
    }

    #[test]
    fn a_word_in_the_wrong_room_is_found() {
        for (path, text) in [
            ("crates/web/src/a.rs", "use rusqlite::Connection;"),
            ("apps/hexmap/src/a.rs", "tokio_postgres::connect()"),
            ("crates/sandbox/src/a.rs", "unsafe { f() }"),
            ("tests/tests/a.rs", "pub unsafe fn f() {}"),
            ("crates/policy/src/a.rs", "use std::fs;"),
            ("crates/policy/src/a.rs", "std::time::SystemTime::now()"),
            ("crates/policy/src/a.rs", "async fn f() {}"),
            ("crates/web/src/a.rs", "proxy::serve()"),
            ("crates/web/src/a.rs", "use sandbox::Driver;"),
            ("crates/proxy/src/a.rs", "use web::Page;"),
        ] {
            assert_eq!(faults(path, text).len(), 1, "{path}: {text}");
        }
    }

    #[test]
    fn the_same_word_at_home_or_in_a_comment_is_fine() {
        for (path, text) in [
            ("crates/store/src/a.rs", "use rusqlite::Connection;"),
            ("apps/hexmap/tests/a.rs", "tokio_postgres::connect()"),
            ("crates/jail/src/a.rs", "unsafe { f() }"),
            ("crates/web/src/a.rs", "// never proxy:: or sandbox::\n#![forbid(unsafe_code)]\nlet a = \"rusqlite\";"),
            ("crates/policy/src/a.rs", "/// No tokio, no std::fs.\nfn f() {}"),
        ] {
            assert_eq!(faults(path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }
}
