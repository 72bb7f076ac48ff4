//! `forward LISTEN UPSTREAM`: the engine of the model proxy without a single decision, for `make bench`. On loopback only.

use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let (Some(listen), Some(upstream), None) = (words.next(), words.next(), words.next()) else {
        return Err(std::io::Error::other("forward LISTEN UPSTREAM, both as ADDRESS:PORT"));
    };
    let (listen, upstream): (SocketAddr, SocketAddr) = match (listen.parse(), upstream.parse()) {
        (Ok(listen), Ok(upstream)) => (listen, upstream),
        _ => return Err(std::io::Error::other("both are ADDRESS:PORT")),
    };
    if !(listen.ip().is_loopback() && upstream.ip().is_loopback()) {
        return Err(std::io::Error::other("it decides nothing, so it is for loopback only"));
    }
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let upstream = format!("http://{upstream}").parse().map_err(std::io::Error::other)?;
    proxy::relay(listener, upstream, CancellationToken::new()).await
}
