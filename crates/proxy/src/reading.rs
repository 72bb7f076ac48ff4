//! A call that only reads: made while it is being written down.

use crate::calling::outcome;
use crate::context::App;
use crate::mcp::front::HostError;
use crate::mcp::upstream::UpstreamError;
use crate::mcp::{Back, Notices};
use crate::offer::{unreachable_app, user_ref};
use crate::{Proxy, way_back};
use serde_json::{Map, Value};
use store::{OpenError, ReadCall, ToolState};
use tokio::task::yield_now;

/// Gives its answer, how it came out and what people and history get of it once the read stands in the journal, and journals the way
/// back after that. What reaches the open world never comes here: policy permits no such call, it only has it asked about, and what was
/// asked about is written down before it leaves.
pub(crate) async fn carry_out_read(
    proxy: &Proxy,
    app: &App,
    reading: ReadCall,
    arguments: Map<String, Value>,
    (notices, back): (Option<&Notices>, &Back),
    answer: impl FnOnce(Result<Value, HostError>, ToolState, &str),
) -> Result<(), OpenError> {
    let (user, tool) = (user_ref(reading.user()), reading.tool().to_owned());
    let asking = async {
        match &app.upstream {
            Some(upstream) => upstream.call_asking(&user, &tool, arguments, notices, back).await,
            // A manifest without a server has no tools, so nothing was admitted.
            None => Err(UpstreamError::Unreachable("the app has no server".to_owned())),
        }
    };
    let opening = async {
        // What is farther away first: the request leaves meanwhile.
        yield_now().await;
        reading.open()
    };
    let (mut result, open) = tokio::join!(asking, opening);
    let open = open?;
    // What the app says to the gateway is for nobody else.
    drop(result.as_mut().map(way_back::take));
    let (state, text) = outcome(&result);
    answer(result.map_err(|error| unreachable_app(app, error)), state, &text);
    // Whoever waits for the answer first.
    yield_now().await;
    let call = open.id();
    if let Err(error) = open.settle(state, text, proxy.clock.now()) {
        tracing::error!(%error, %call, "what came of a read could not be written into the ledger's journal");
    }
    Ok(())
}
