//! Every address is captured, and only on the ports that the gateway listens on.

#![expect(unsafe_code, reason = "datagrams with their addresses have no safe wrapper among the dependencies")]

#[expect(dead_code, reason = "each test program uses a part")]
mod common;

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;

use common::{Sandbox, Stage, eventually, everyone, plan, start};
use serde_json::json;

/// Accepts one connection and answers with the address that the agent wanted, as the kernel tells it.
fn accept_one(listener: &TcpListener) -> (SocketAddr, SocketAddr) {
    listener.set_nonblocking(false).expect("set");
    let (mut stream, peer) = listener.accept().expect("a connection");
    let wanted = stream.local_addr().expect("an address");
    let wanted = SocketAddr::new(wanted.ip().to_canonical(), wanted.port());
    let mut said = vec![0; wanted.to_string().len()];
    stream.read_exact(&mut said).expect("what the probe wanted");
    assert_eq!(String::from_utf8_lossy(&said), wanted.to_string());
    stream.write_all(format!("captured {wanted}").as_bytes()).expect("answered");
    (wanted, SocketAddr::new(peer.ip().to_canonical(), peer.port()))
}

#[test]
fn connections_to_any_address_arrive_with_the_wanted_address() {
    let stage = Stage::new();
    let http = ["1.2.3.4:80", "169.254.169.254:80", "127.0.0.1:80", "[2001:db8::1]:80"];
    let tls = ["8.8.8.8:443", "[2001:db8::1]:443", "127.0.0.1:443", "[::1]:443"];
    for who in everyone() {
        let words = [&["connect"], http.as_slice(), &tls].concat();
        let sandbox = start(&stage, *who, &plan(&stage, &words));
        assert!(sandbox.ready.ipv6, "this test needs a host with IPv6");
        for (listener, addresses) in [(&sandbox.listeners.http, http), (&sandbox.listeners.tls, tls)] {
            for address in addresses {
                let (wanted, peer) = accept_one(listener);
                assert_eq!(wanted.to_string(), address, "{who:?}");
                assert!(wanted.is_ipv6() || wanted.ip().is_loopback() || peer.ip().to_string() == "198.18.0.1", "{peer}");
            }
        }
        let expected: Vec<String> = http.iter().chain(&tls).map(|address| format!("captured {address}")).collect();
        assert_eq!(sandbox.answer(), json!(expected), "{who:?}");
    }
}

#[test]
fn other_ports_are_refused_at_once_unless_the_plan_names_them() {
    let stage = Stage::new();
    for who in everyone() {
        let refused = ["1.1.1.1:22", "10.0.0.1:54", "127.0.0.1:8080", "[2001:db8::1]:22", "169.254.169.254:81"];
        let mut wanted = plan(&stage, &[&["connect"], refused.as_slice(), &["192.0.2.1:5432"]].concat());
        wanted.extra_ports = vec![5432];
        let sandbox = start(&stage, *who, &wanted);
        let [extra] = sandbox.listeners.extra.as_slice() else { panic!("one extra listener") };
        accept_one(extra);
        let mut expected = vec![json!(libc::ECONNREFUSED); refused.len()];
        expected.push(json!("captured 192.0.2.1:5432"));
        assert_eq!(sandbox.answer(), json!(expected), "{who:?}");
    }
}

#[test]
fn name_questions_over_tcp_arrive() {
    let stage = Stage::new();
    for who in everyone() {
        let sandbox = start(&stage, *who, &plan(&stage, &["connect", "9.9.9.9:53"]));
        accept_one(&sandbox.listeners.dns_tcp);
        assert_eq!(sandbox.answer(), json!(["captured 9.9.9.9:53"]), "{who:?}");
    }
}

#[test]
fn name_questions_are_answered_from_the_asked_address() {
    let stage = Stage::new();
    for who in everyone() {
        for address in ["8.8.8.8:53", "127.0.0.53:53", "[2001:db8::53]:53"] {
            let sandbox = start(&stage, *who, &plan(&stage, &["ask", address]));
            answer_from_asked(&sandbox, address);
            assert_eq!(sandbox.answer(), json!("the answer"), "{who:?}: {address}");
        }
    }
}

/// Receives with the asked address and answers with it as the source, as the gateway has to.
fn answer_from_asked(sandbox: &Sandbox, address: &str) {
    let socket = &sandbox.listeners.dns_udp;
    let wanted: SocketAddr = address.parse().expect("an address");
    let mut received = None;
    eventually("a question", || {
        received = receive(socket);
        received.is_some()
    });
    let (asker, control) = received.expect("a question");
    let mapped = match wanted {
        SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().octets(),
        SocketAddr::V6(v6) => v6.ip().octets(),
    };
    assert!(control.windows(16).any(|window| window == mapped), "{address} is not in the packet's information");
    send_from(socket, asker, mapped);
}

/// A datagram's sender and the raw control data, without waiting.
fn receive(socket: &UdpSocket) -> Option<(SocketAddr, Vec<u8>)> {
    let mut buffer = [0_u8; 64];
    let mut control = [0_u8; 256];
    // SAFETY: all zero is a valid empty address and message head.
    let (mut from, mut head) = unsafe { (std::mem::zeroed::<libc::sockaddr_in6>(), std::mem::zeroed::<libc::msghdr>()) };
    let mut parts = [IoSliceMut::new(&mut buffer)];
    head.msg_name = (&raw mut from).cast();
    head.msg_namelen = libc::socklen_t::try_from(size_of_val(&from)).expect("small");
    head.msg_iov = parts.as_mut_ptr().cast();
    head.msg_iovlen = 1;
    head.msg_control = control.as_mut_ptr().cast();
    head.msg_controllen = control.len();
    // SAFETY: every pointer in the head is to a live buffer of the length given beside it.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut head, libc::MSG_DONTWAIT) };
    (count >= 0).then(|| {
        let asker = SocketAddr::from((from.sin6_addr.s6_addr, u16::from_be(from.sin6_port)));
        (asker, control.iter().take(head.msg_controllen).copied().collect())
    })
}

fn send_from(socket: &UdpSocket, to: SocketAddr, source: [u8; 16]) {
    // The crate's own dependency has no safe way to name a source address, so the control message is written here:
    // head (length, level, kind), then in6_pktinfo (address, interface 0 for any).
    let mut control = [0_u64; 5];
    let length = size_of::<libc::cmsghdr>() + size_of::<libc::in6_pktinfo>();
    let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: source }, ipi6_ifindex: 0 };
    let head = libc::cmsghdr { cmsg_len: length, cmsg_level: libc::IPPROTO_IPV6, cmsg_type: libc::IPV6_PKTINFO };
    let parts = [IoSlice::new(b"the answer")];
    let SocketAddr::V6(to) = to else { panic!("a dual-stack socket names IPv6 addresses") };
    // SAFETY: all zero is a valid empty address and message head.
    let (mut address, mut message) = unsafe { (std::mem::zeroed::<libc::sockaddr_in6>(), std::mem::zeroed::<libc::msghdr>()) };
    address.sin6_family = libc::sa_family_t::try_from(libc::AF_INET6).expect("small");
    address.sin6_port = to.port().to_be();
    address.sin6_addr.s6_addr = to.ip().octets();
    // SAFETY: 40 aligned bytes hold the head of 16 and the information of 20; all pointers are to live buffers.
    let sent = unsafe {
        let at = control.as_mut_ptr();
        at.cast::<libc::cmsghdr>().write(head);
        at.add(2).cast::<libc::in6_pktinfo>().write(info);
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = libc::socklen_t::try_from(size_of_val(&address)).expect("small");
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = 1;
        message.msg_control = at.cast();
        message.msg_controllen = size_of_val(&control);
        libc::sendmsg(socket.as_raw_fd(), &raw const message, 0)
    };
    assert_eq!(sent, 10, "{}", std::io::Error::last_os_error());
}
