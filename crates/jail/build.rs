//! Turns `profiles/syscalls.toml` into tables, so that the jail parses nothing when a sandbox starts.

#[path = "build/rules.rs"]
mod rules;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed={}", profiles.display());
    let text = std::fs::read_to_string(profiles.join("syscalls.toml"))?;
    let trace = |name: &str| std::fs::read_to_string(profiles.join("traces").join(format!("{name}.txt"))).ok();
    let rules = rules::Rules::parse(&text, trace).map_err(|faults| std::io::Error::other(faults.join("\n")))?;
    let [folder, architecture] = ["OUT_DIR", "CARGO_CFG_TARGET_ARCH"].map(variable);
    std::fs::write(Path::new(&folder?).join("calls.rs"), rules.tables(architecture? == "x86_64"))
}

#[expect(clippy::disallowed_methods, reason = "that is how cargo speaks to build scripts")]
fn variable(name: &str) -> std::io::Result<String> {
    std::env::var(name).map_err(std::io::Error::other)
}
