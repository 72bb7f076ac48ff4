//! Faults below HTTP, where no HTTP library would go: the head and the framing are written by hand.

use std::{io, time::Duration};

use http::Response;
use http_body_util::BodyExt;

use crate::{
    scenario::{BadChunks, ResetAt, Wire},
    server::Playing,
    socket::Shared,
};

/// Between two pieces that must not arrive as one, and before a reset.
const MOMENT: Duration = Duration::from_millis(20);
/// Long enough that most pieces are read by themselves, short enough for a stream of some kilobytes.
const PIECE: Duration = Duration::from_micros(200);
/// SETTINGS without content, and GOAWAY for stream 0 with PROTOCOL_ERROR (RFC 9113, 6.5 and 6.8).
const GOES_AWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";

/// Says the answer on the socket itself, wrong in the way that was asked for.
///
/// # Errors
/// The reader went away.
pub async fn play(wire: Wire, response: Response<Playing>, socket: &Shared) -> io::Result<()> {
    let (parts, mut body) = response.into_parts();
    if wire == Wire::Http2 {
        return socket.send(GOES_AWAY).await;
    }
    if wire == Wire::Reset(ResetAt::BeforeHead) {
        return reset(socket).await;
    }
    let mut pieces = Vec::new();
    // The script's own pauses pass here; a script that cuts ends early.
    while let Some(Ok(frame)) = body.frame().await {
        pieces.extend(frame.into_data());
    }
    let length: usize = pieces.iter().map(bytes::Bytes::len).sum();
    let framing = match wire {
        Wire::Length(off) => {
            let told = i64::try_from(length).unwrap_or(i64::MAX).saturating_add(off).max(0);
            format!("content-length: {told}\r\n")
        }
        Wire::Split(_) | Wire::Reset(_) | Wire::Chunks(_) | Wire::Http2 => "transfer-encoding: chunked\r\n".to_owned(),
    };
    let mut head = format!("HTTP/1.1 {}\r\n{framing}", parts.status);
    for (name, value) in &parts.headers {
        head.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
    }
    head.push_str("\r\n");
    match wire {
        Wire::Split(size) => {
            let whole: Vec<u8> = head.into_bytes().into_iter().chain(pieces.iter().flat_map(|piece| chunk(piece))).collect();
            for piece in whole.chunks(size).chain([b"0\r\n\r\n".as_slice()]) {
                socket.send(piece).await?;
                socket.moment(PIECE).await;
            }
        }
        Wire::Length(_) => {
            socket.send(head.as_bytes()).await?;
            for piece in &pieces {
                socket.send(piece).await?;
            }
            socket.moment(MOMENT).await;
        }
        Wire::Reset(at) => {
            socket.send(head.as_bytes()).await?;
            let sent = if at == ResetAt::Middle { pieces.len() / 2 } else { 0 };
            for piece in pieces.iter().take(sent) {
                socket.send(&chunk(piece)).await?;
            }
            reset(socket).await?;
        }
        Wire::Chunks(how) => {
            socket.send(head.as_bytes()).await?;
            let good = if how == BadChunks::BadSize { pieces.len() / 2 } else { pieces.len() };
            for piece in pieces.iter().take(good) {
                socket.send(&chunk(piece)).await?;
            }
            if how == BadChunks::BadSize {
                socket.send(b"xyz\r\nno size\r\n").await?;
            }
            socket.moment(MOMENT).await;
        }
        Wire::Http2 => {}
    }
    Ok(())
}

/// What came before it has arrived by then; a reset throws away what has not.
async fn reset(socket: &Shared) -> io::Result<()> {
    socket.moment(MOMENT).await;
    socket.reset_at_end()
}

fn chunk(piece: &[u8]) -> Vec<u8> {
    let mut framed = format!("{:x}\r\n", piece.len()).into_bytes();
    framed.extend_from_slice(piece);
    framed.extend_from_slice(b"\r\n");
    framed
}
