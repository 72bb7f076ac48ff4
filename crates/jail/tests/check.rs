//! What a running sandbox says of its own network when the gateway asks: what came, as it came, in bounded time and size.

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{Sandbox, Stage, everyone, plan, start};
use jail::{CHECK_HOST_DENIED, CHECK_HOST_OWN, Check, Checked, Outbox, Reply, Request};

const OWN: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 10);
const CHECK: Check = Check { address: OWN, number: 0x00c0_ffee, closed_port: 1 };

fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.set_nonblocking(false).expect("set");
    let (stream, _) = listener.accept().expect("a connection");
    let wanted = stream.local_addr().expect("an address");
    (stream, SocketAddr::new(wanted.ip().to_canonical(), wanted.port()))
}

/// Everything until the empty line.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
        head.extend(byte);
    }
    String::from_utf8(head).expect("text")
}

fn checked(sandbox: &mut Sandbox) -> Checked {
    match sandbox.jail.wait_reply(common::TIMEOUT).expect("a reply") {
        Reply::Checked(checked) => checked,
        other @ (Reply::Ready(_) | Reply::Failed(_) | Reply::Exited(_) | Reply::Usage(_)) => {
            panic!("{other:?} in place of what was found")
        }
    }
}

#[test]
fn both_requests_arrive_and_their_answers_are_told() {
    let stage = Stage::new();
    for who in everyone() {
        let mut sandbox = start(&stage, *who, &plan(&stage, &["sleep"]));
        for _ in 0..2 {
            sandbox.jail.request(Request::Check(CHECK)).expect("sent");
            for (address, host, answer) in [(OWN, CHECK_HOST_OWN, "yes"), ([192, 0, 2, 1].into(), CHECK_HOST_DENIED, "no")] {
                let (mut stream, wanted) = accept(&sandbox.listeners.http);
                assert_eq!(wanted, SocketAddr::from((address, 80)), "{who:?}");
                let wanted = format!("GET /hexward/check/0000000000c0ffee HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
                assert_eq!(head(&mut stream), wanted);
                stream.write_all(answer.as_bytes()).expect("answered");
            }
            let found = Checked { own: "yes".into(), denied: "no".into(), closed: true };
            assert_eq!(checked(&mut sandbox), found, "{who:?}");
        }
    }
}

#[test]
fn a_gateway_that_says_nothing_or_too_much_is_not_waited_for() {
    let stage = Stage::new();
    for who in everyone() {
        let mut sandbox = start(&stage, *who, &plan(&stage, &["sleep"]));
        let began = Instant::now();
        sandbox.jail.request(Request::Check(CHECK)).expect("sent");
        let (mut endless, _) = accept(&sandbox.listeners.http);
        endless.write_all(&[b'x'; 5000]).expect("written");
        let Checked { own, denied, closed } = checked(&mut sandbox);
        let took = began.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{who:?}: {took:?}");
        assert_eq!(own, "x".repeat(1024));
        assert!(denied.starts_with('(') && closed, "{who:?}: {denied}");
    }
}

#[test]
fn single_bytes_do_not_stretch_the_time() {
    let stage = Stage::new();
    let mut sandbox = start(&stage, common::As::User, &plan(&stage, &["sleep"]));
    let began = Instant::now();
    sandbox.jail.request(Request::Check(CHECK)).expect("sent");
    let (mut slow, _) = accept(&sandbox.listeners.http);
    let drip = std::thread::spawn(move || {
        while began.elapsed() < Duration::from_secs(10) && slow.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let found = checked(&mut sandbox);
    assert!(began.elapsed() < Duration::from_secs(5) && found.own.starts_with('('), "{found:?} after {:?}", began.elapsed());
    drip.join().expect("the connection was closed");
}

#[test]
fn a_port_that_somebody_has_is_not_closed() {
    let stage = Stage::new();
    let mut sandbox = start(&stage, common::As::User, &plan(&stage, &["sleep"]));
    sandbox.jail.request(Request::Check(Check { closed_port: 443, ..CHECK })).expect("sent");
    assert!(!checked(&mut sandbox).closed);
}

#[test]
fn what_is_asked_for_in_one_go_is_all_done() {
    let stage = Stage::new();
    let mut sandbox = start(&stage, common::As::User, &plan(&stage, &["sleep"]));
    let mut both = Vec::new();
    for request in [Request::Check(CHECK), Request::Kill] {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert!(Outbox::new(&request, Vec::new()).expect("fits").flush(&near).expect("sent"));
        drop(near);
        far.read_to_end(&mut both).expect("read");
    }
    sandbox.jail.control().write_all(&both).expect("sent");
    checked(&mut sandbox);
    assert_eq!(sandbox.end().signal, Some(libc::SIGKILL), "the second request was not forgotten");
}
