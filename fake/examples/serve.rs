//! The fake alone: `cargo run -p fake --example serve -- 127.0.0.1:8787 KEY [SCENARIO]`.

use std::{env, error::Error};

use fake::FakeConfig;
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(key)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve ADDRESS KEY [SCENARIO]".into());
    };
    let config = match arguments.next() {
        Some(scenario) => FakeConfig::for_benchmarks(key, scenario),
        None => FakeConfig::new(key),
    };
    let listener = TcpListener::bind(address).await?;
    fake::serve(listener, config).await?;
    Ok(())
}
