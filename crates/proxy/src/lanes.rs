//! Lanes: the callers' listener on threads of its own, one for each core, each with an event loop of its own.
//!
//! A call is accepted, decided, sent and answered on one thread, so nobody has to be woken on another one for it; that is
//! most of what a call would otherwise cost. What must not be cut off by a lane's end lives elsewhere: a call that is open is
//! settled as it is dropped.

use std::future::Future;
use std::io;
use std::net::TcpListener as StdListener;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// What is under way at the end may still be settled for so long.
const END_WAIT: Duration = Duration::from_secs(5);

/// Serves a listener on every lane until each has ended. `serve` is called once in each, `settled` is waited for at its end.
pub(crate) async fn serve<F, R, S>(
    listener: TcpListener,
    serve: F,
    settled: impl Fn() -> S + Clone + Send + 'static,
) -> io::Result<()>
where
    F: Fn(TcpListener) -> R + Clone + Send + 'static,
    R: Future<Output = ()>,
    S: Future<Output = ()>,
{
    let listener = listener.into_std()?;
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    let mut ends = Vec::new();
    for number in 0..lanes {
        let (own, serve, settled) = (listener.try_clone()?, serve.clone(), settled.clone());
        let (end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name(format!("lane-{number}")).spawn(move || {
            if let Err(error) = run(own, &serve, &settled) {
                tracing::error!(%error, "a lane of the callers' listener could not be opened");
            }
            drop(end);
        })?;
        ends.push(ended);
    }
    drop(listener);
    for ended in ends {
        // It only ever ends by being dropped.
        let _ = ended.await;
    }
    Ok(())
}

/// A timer that is due before all others wakes its own event loop as it is made, at the price of a system call and a round. Each
/// request makes one; with this there is always an earlier one.
async fn heartbeat() {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        tokio::time::sleep(PAUSE).await;
    }
}

fn run<F, R, S>(listener: StdListener, serve: &F, settled: &impl Fn() -> S) -> io::Result<()>
where
    F: Fn(TcpListener) -> R,
    R: Future<Output = ()>,
    S: Future<Output = ()>,
{
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        tokio::spawn(heartbeat());
        serve(TcpListener::from_std(listener)?).await;
        let _ = tokio::time::timeout(END_WAIT, settled()).await;
        Ok(())
    })
}
