//! `hexward fake`: the scripted model API alone, for other programs' tests.

use crate::{FakeArgs, gateway, secrets};
use anyhow::Result;
use fake::FakeConfig;
use std::process::ExitCode;

/// Serves until the process is ended. The key is made new at every start and printed once: it opens nothing but this.
pub async fn serve(args: FakeArgs) -> Result<ExitCode> {
    let key = secrets::random_hex()?;
    let listener = gateway::bind(args.listen, "--listen").await?;
    println!("hexward fake ready: http://{} key {key}", listener.local_addr()?);
    let config = FakeConfig {
        scenario_dirs: args.scenarios,
        scenario: args.scenario,
        event_delay_ms: args.event_delay_ms,
        ..FakeConfig::new(key)
    };
    fake::serve(listener, config).await?;
    Ok(ExitCode::SUCCESS)
}
