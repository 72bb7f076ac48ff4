//! The scripted provider, on threads of its own, so that the clock's thread only waits.

use anyhow::Result;
use fake::{Fake, FakeConfig};
use std::fmt::Write;
use std::io::Read;
use tokio::runtime::{Builder, Runtime};

/// A running provider; dropping it ends it.
pub struct Provider {
    /// What it is reached by.
    pub fake: Fake,
    /// The only key it takes.
    pub key: String,
    _runtime: Runtime,
}

impl Provider {
    /// Starts one that answers at once: a fixed scenario, or whatever the message asks for.
    pub fn start(scenario: Option<&str>) -> Result<Self> {
        let key = format!("sk-ant-bench-{}", random_hex()?);
        let config = FakeConfig { event_delay_ms: 0, scenario: scenario.map(str::to_owned), ..FakeConfig::new(key.clone()) };
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let fake = runtime.block_on(Fake::start(config))?;
        Ok(Self { fake, key, _runtime: runtime })
    }
}

/// 64 hexadecimal characters from the system's random source.
pub fn random_hex() -> Result<String> {
    let mut bytes = [0_u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut text = String::with_capacity(64);
    bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}"))?;
    Ok(text)
}
