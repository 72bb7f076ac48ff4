//! Where the programs, the agent and the results are.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// All absolute.
pub struct Places {
    /// The repository.
    pub root: PathBuf,
    /// The gateway.
    pub hexward: PathBuf,
    /// The program that confines.
    pub jail: PathBuf,
    /// The gateway's engine without any check, if it was built.
    pub forward: PathBuf,
    /// The agent's executable, as `hexward agent install` leaves it.
    pub agent: PathBuf,
    /// Where the summary goes.
    pub results: PathBuf,
    /// For databases, logs and small programs of this run; emptied before.
    pub work: PathBuf,
}

impl Places {
    /// Finds everything that was built and installed, and makes room.
    ///
    /// # Errors
    /// Names what is missing and how to get it.
    pub fn prepare() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("bench stands in the workspace's root")?.to_path_buf();
        let own = std::env::current_exe().context("this program's own path is not known")?;
        let results = root.join("target/bench");
        let places = Self {
            hexward: own.with_file_name("hexward"),
            jail: own.with_file_name("hexward-jail"),
            forward: own.with_file_name("examples").join("forward"),
            agent: root.join(".hexward/agent/current/image/opt/agent/agent"),
            work: results.join("work"),
            results,
            root,
        };
        for program in [&places.hexward, &places.jail] {
            if !program.is_file() {
                bail!("{} is missing; build it in the same profile: cargo build --release -p hexward -p jail", program.display());
            }
        }
        places.clear()?;
        std::fs::create_dir_all(&places.work).with_context(|| format!("making {}", places.work.display()))?;
        Ok(places)
    }

    /// Removes what this run needed beside its results.
    ///
    /// # Errors
    /// If something can't be removed.
    pub fn clear(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.work) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("emptying {}", self.work.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
