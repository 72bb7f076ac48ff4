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
    "cut.toml",
    "gzip.toml",
    "hijacked.toml",
    "invalid.toml",
    "mid-stream-error.toml",
    "overloaded-once.toml",
    "overloaded.toml",
    "oversize-line.toml",
    "rate-limited.toml",
    "run-code.toml",
    "slow.toml",
    "stall.toml",
    "thinking.toml",
    "unknown-event.toml",
];
