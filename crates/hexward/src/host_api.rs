//! Hands the API for host applications to the callers' listener: `proxy` finds whose key it is, `web` answers.

use http_body_util::BodyExt;
use proxy::callers::{HostRequest, HostService};
use std::sync::Arc;
use tokio::runtime::Handle;
use web::{FetchKeys, Fetched, HostApi};

/// A published set of keys is not longer.
const KEYS_BYTES_MAX: usize = 256 << 10;

/// The service for `/v1/`. It answers on the runtime around this call: what a request begins outlives the listener's thread it came by.
pub(crate) fn service(api: HostApi) -> HostService {
    let runtime = Handle::current();
    Arc::new(move |HostRequest { request, key, peer }| {
        let (api, runtime) = (api.clone(), runtime.clone());
        Box::pin(async move {
            match runtime.spawn(api.answer(request, key, peer)).await {
                Ok(response) => response.map(|body| body.map_err(std::io::Error::other).boxed_unsync()),
                Err(_) => proxy::callers::unavailable("The gateway is stopping. Try again in a moment."),
            }
        })
    })
}

/// Fetches what hosts publish, from the addresses that the operator configured.
pub(crate) struct KeyFetcher;

impl FetchKeys for KeyFetcher {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a> {
        Box::pin(proxy::fetch_document(url, KEYS_BYTES_MAX))
    }
}
