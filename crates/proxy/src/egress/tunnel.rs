//! A WebSocket: after both sides agreed, bytes in both directions, bounded, without the operator's secret, until the run is over.

use super::door::{Door, Exchanging};
use super::headers;
use super::passing::{BYTES_MAX, SILENCE_MAX};
use super::redact::Redactor;
use crate::answer::{self, Body};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

const PIECE_BYTES: usize = 16 << 10;

/// Answers the client as the host did, and lets both speak.
pub(super) fn open(
    door: &Door,
    over: CancellationToken,
    client: OnUpgrade,
    response: Response<Incoming>,
    redactor: Option<Redactor>,
    place: Exchanging,
) -> Response<Body> {
    let mut back = Response::new(answer::full(Bytes::new()));
    *back.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *back.headers_mut() = headers::to_client(response.headers(), redactor.as_ref());
    back.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    back.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let stop = door.stop.clone();
    tokio::spawn(async move {
        let speaking = async {
            let (client, host) = tokio::try_join!(client, hyper::upgrade::on(response))?;
            let (client_in, client_out) = tokio::io::split(TokioIo::new(client));
            let (host_in, host_out) = tokio::io::split(TokioIo::new(host));
            tokio::select! {
                done = both(copy(client_in, host_out, None), copy(host_in, client_out, redactor)) => { let _ = done; }
                () = over.cancelled() => {}
                () = stop.cancelled() => {}
            }
            Ok::<_, hyper::Error>(())
        };
        // What goes wrong between the two concerns them alone.
        let _ = speaking.await;
        drop(place);
    });
    back
}

/// Until one direction has ended and the other too, or one broke.
async fn both(out: impl Future<Output = io::Result<()>>, back: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::try_join!(out, back).map(|_| ())
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, redactor: Option<Redactor>) -> io::Result<()> {
    let (mut redactor, mut left) = (redactor, BYTES_MAX);
    loop {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let read = tokio::time::timeout(SILENCE_MAX, from.read_buf(&mut piece)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if read == 0 {
            break;
        }
        left = left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX)).ok_or(io::ErrorKind::FileTooLarge)?;
        let piece = match &mut redactor {
            Some(redactor) => redactor.pass(piece.freeze()),
            None => piece.freeze(),
        };
        tokio::time::timeout(SILENCE_MAX, to.write_all(&piece)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        to.flush().await?;
    }
    if let Some(redactor) = &mut redactor {
        to.write_all(&redactor.end()).await?;
    }
    to.shutdown().await
}
