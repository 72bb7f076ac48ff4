//! The scenarios that come with the crate; the files are the documentation of what they do.

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../scenarios/", $name)))),*]
    };
}

/// File name and text of each.
pub const SCENARIOS: &[(&str, &str)] = scenarios![
    "bad-credential.toml",
    "bench-1k.toml",
    "bench-stream-25.toml",
    "bom.toml",
    "chunk-bad-size.toml",
    "chunk-no-end.toml",
    "comments.toml",
    "cut.toml",
    "gzip.toml",
    "hijacked.toml",
    "html-error.toml",
    "http2-only.toml",
    "invalid.toml",
    "length-too-long.toml",
    "length-too-short.toml",
    "lines-cr.toml",
    "lines-crlf.toml",
    "mid-stream-error.toml",
    "nameless.toml",
    "overloaded-once.toml",
    "overloaded.toml",
    "oversize-line.toml",
    "rate-limited.toml",
    "reset-after-head.toml",
    "reset-before-head.toml",
    "reset-middle.toml",
    "run-code.toml",
    "slow.toml",
    "split-bytes.toml",
    "stall.toml",
    "storm-429.toml",
    "storm-529.toml",
    "thinking.toml",
    "trailing-garbage.toml",
    "unknown-event.toml",
    "usage-huge.toml",
    "usage-iterations.toml",
    "usage-negative.toml",
    "usage-no-delta.toml",
    "usage-null-cache.toml",
    "usage-server-tools.toml",
    "usage-start-only.toml",
    "usage-two-deltas.toml",
    "usage-zero.toml",
];
