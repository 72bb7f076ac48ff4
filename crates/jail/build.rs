//! Turns `profiles/syscalls.toml` into tables, so that the jail parses nothing when a sandbox starts; and links `hexward-probe`
//! without libgcc_s, which the sandbox's profile does not have: a linker script of that name leads to the static library
//! instead. So it runs under the very rules that agents run under.

#[path = "build/rules.rs"]
mod rules;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles");
    for changed in ["build.rs", "build"] {
        println!("cargo:rerun-if-changed={changed}");
    }
    println!("cargo:rerun-if-changed={}", profiles.display());
    let text = std::fs::read_to_string(profiles.join("syscalls.toml"))?;
    let trace = |name: &str| std::fs::read_to_string(profiles.join("traces").join(format!("{name}.txt"))).ok();
    let rules = rules::Rules::parse(&text, trace).map_err(|faults| std::io::Error::other(faults.join("\n")))?;
    let (folder, architecture) = (variable("OUT_DIR")?, variable("CARGO_CFG_TARGET_ARCH")?);
    std::fs::write(Path::new(&folder).join("calls.rs"), rules.tables(architecture == "x86_64"))?;
    std::fs::write(Path::new(&folder).join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n")?;
    println!("cargo:rustc-link-arg-bin=hexward-probe=-L{folder}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "that is how cargo speaks to build scripts")]
fn variable(name: &str) -> std::io::Result<String> {
    std::env::var(name).map_err(std::io::Error::other)
}
