//! Tries, inside the sandbox's network, what its agent is about to rely on: one request that the gateway answers, one that
//! it must deny, and a port that nobody may have. What came back is told as it is; only the gateway judges it.
//!
//! Invariant: no byte that was received decides anything here, and neither bytes nor time are without bound.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use jail::{CHECK_HOST_DENIED, CHECK_HOST_OWN, Check, Checked};

/// For everything together. Answers come from this host, within a millisecond unless it is very busy.
const WAIT: Duration = Duration::from_secs(1);
/// Heads of answers are shorter, and so is the body of the one that matters.
const ANSWER_BYTES_MAX: u64 = 1024;
const HTTP_PORT: u16 = 80;
/// An address of nobody (RFC 5737: for documentation).
const NOBODYS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Takes a second at most.
pub fn carry_out(check: Check) -> Checked {
    let deadline = Instant::now() + WAIT;
    // Both are asked before either is waited for.
    let own = ask(check.address, CHECK_HOST_OWN, check.number, deadline);
    let denied = ask(NOBODYS, CHECK_HOST_DENIED, check.number, deadline);
    let closed = connect(NOBODYS, check.closed_port, deadline).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    Checked { own: told(own, deadline), denied: told(denied, deadline), closed }
}

fn ask(address: Ipv4Addr, host: &str, number: u64, deadline: Instant) -> std::io::Result<TcpStream> {
    let mut stream = connect(address, HTTP_PORT, deadline)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    write!(stream, "GET {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n", Check::path(number))?;
    Ok(stream)
}

fn connect(address: Ipv4Addr, port: u16, deadline: Instant) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::from((address, port)), left(deadline)?)
}

fn told(asked: std::io::Result<TcpStream>, deadline: Instant) -> String {
    asked.and_then(|stream| read(stream, deadline)).unwrap_or_else(|error| format!("({error})"))
}

fn read(stream: TcpStream, deadline: Instant) -> std::io::Result<String> {
    let (mut answer, mut piece) = (Vec::new(), [0; 512]);
    let mut bounded = (&stream).take(ANSWER_BYTES_MAX);
    loop {
        // For each read anew, so that single bytes don't stretch the time.
        stream.set_read_timeout(Some(left(deadline)?))?;
        match bounded.read(&mut piece) {
            Ok(0) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(count) => answer.extend(piece.iter().take(count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn left(deadline: Instant) -> std::io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}
