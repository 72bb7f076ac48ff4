//! Links the probes without libgcc_s, which the sandbox's profile does not have: a linker script of that name leads to
//! the static library instead. So they run under the very rules that agents run under.

use std::path::Path;

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    #[expect(clippy::disallowed_methods, reason = "that is how cargo speaks to build scripts")]
    let folder = std::env::var("OUT_DIR").map_err(std::io::Error::other)?;
    std::fs::write(Path::new(&folder).join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)\n")?;
    for probe in ["probe", "chatterer"] {
        println!("cargo:rustc-link-arg-bin={probe}=-L{folder}");
    }
    Ok(())
}
