//! For measuring: requests passed on by the same engine that model calls take, without a single decision. No key is added, nothing
//! is recorded; the difference between this and the callers' listener is what governing a call costs.

use crate::answer::{self, Body};
use crate::connections::{Connections, Lease};
use crate::lanes;
use crate::messages::headers;
use crate::pieces::Pieces;
use crate::places::Places;
use crate::serve::serve_http;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const CONNECTIONS_MAX: usize = 4_096;

/// Passes every request on to `upstream` (scheme and authority), until `stop`.
///
/// # Errors
/// TLS or the listener could not be set up.
pub async fn relay(listener: TcpListener, upstream: Uri, stop: CancellationToken) -> io::Result<()> {
    let connections = Arc::new(Connections::new(upstream.clone()).map_err(io::Error::other)?);
    let places = Places::new(CONNECTIONS_MAX);
    let serve = move |listener| {
        let (connections, upstream) = (Arc::clone(&connections), upstream.clone());
        serve_http(listener, places.clone(), stop.clone(), move |request| {
            let (connections, upstream) = (Arc::clone(&connections), upstream.clone());
            async move { pass(&connections, &upstream, request).await }
        })
    };
    lanes::serve(listener, serve, || async {}).await
}

async fn pass(connections: &Arc<Connections>, upstream: &Uri, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return answer::unavailable("the body ended early") };
    let mut asked = Request::new(Full::new(body.to_bytes()));
    *asked.method_mut() = head.method;
    *asked.uri_mut() = headers::joined(upstream, head.uri.path(), head.uri.query());
    *asked.headers_mut() = headers::to_provider(&head.headers);
    match connections.send(asked).await {
        Ok((response, lease)) => {
            let (head, body) = response.into_parts();
            let mut pieces = Pieces::new(body.into_data_stream());
            if head.headers.get(http::header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
            {
                pieces.lead().await;
            }
            let mut passed = Response::new(piecewise(pieces, lease));
            *passed.status_mut() = head.status;
            *passed.headers_mut() = headers::to_client(&head.headers);
            passed
        }
        Err(error) => answer::unavailable(&error.to_string()),
    }
}

fn piecewise(body: Pieces<BodyDataStream<Incoming>, hyper::Error>, lease: Lease) -> Body {
    let pieces = stream::unfold(Some((body, lease)), |state| async move {
        let (mut body, lease) = state?;
        match body.next().await {
            Some(Ok(chunk)) => Some((Ok::<Frame<Bytes>, io::Error>(Frame::data(chunk)), Some((body, lease)))),
            Some(Err(error)) => Some((Err(io::Error::other(error)), None)),
            None => {
                lease.give_back();
                None
            }
        }
    });
    BodyExt::boxed_unsync(StreamBody::new(pieces))
}
