//! Sockets: which can be made, which ports can be taken, and what can be done to the network.

use crate::kit::{Facts, Probe, Seen, address, all, call, each, probe, refused, seen};
use libc::{AF_INET, AF_INET6, AF_NETLINK, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM, c_int, c_long};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const REFUSED: &str = "refused: any errno";

macro_rules! families {
    ($($id:literal, $title:literal, $family:expr, $kind:expr, $protocol:expr;)*) => {
        [$(probe($id, $title, REFUSED, |_| refused(socket($family, $kind, $protocol)))),*]
    };
}

const FAMILIES: [Probe; 17] = families![
    "sockets.vsock", "speak with the hypervisor (AF_VSOCK)", libc::AF_VSOCK, SOCK_STREAM, 0;
    "sockets.packet", "read and write frames (AF_PACKET)", libc::AF_PACKET, SOCK_RAW, 0x0300;
    "sockets.alg", "the kernel's cryptography (AF_ALG)", libc::AF_ALG, SOCK_SEQPACKET, 0;
    "sockets.key", "the kernel's IPsec keys (AF_KEY)", libc::AF_KEY, SOCK_RAW, 2;
    "sockets.tipc", "cluster messages (AF_TIPC)", libc::AF_TIPC, SOCK_SEQPACKET, 0;
    "sockets.rds", "reliable datagrams (AF_RDS)", 21, SOCK_SEQPACKET, 0;
    "sockets.bluetooth", "Bluetooth", libc::AF_BLUETOOTH, SOCK_SEQPACKET, 0;
    "sockets.can", "the bus of vehicles (AF_CAN)", libc::AF_CAN, SOCK_RAW, 1;
    "sockets.xdp", "memory shared with the network card (AF_XDP)", libc::AF_XDP, SOCK_RAW, 0;
    "sockets.raw4", "raw packets with any source (IPv4)", AF_INET, SOCK_RAW, libc::IPPROTO_RAW;
    "sockets.raw6", "raw packets with any source (IPv6)", AF_INET6, SOCK_RAW, libc::IPPROTO_ICMPV6;
    "sockets.ping", "ICMP echoes as a tunnel", AF_INET, SOCK_DGRAM, libc::IPPROTO_ICMP;
    "sockets.sctp", "SCTP", AF_INET, SOCK_STREAM, libc::IPPROTO_SCTP;
    "sockets.mptcp", "multipath TCP", AF_INET, SOCK_STREAM, libc::IPPROTO_MPTCP;
    "sockets.netfilter", "packet filter rules (NETLINK_NETFILTER)", AF_NETLINK, SOCK_RAW, libc::NETLINK_NETFILTER;
    "sockets.audit", "the host's audit log (NETLINK_AUDIT)", AF_NETLINK, SOCK_RAW, libc::NETLINK_AUDIT;
    "sockets.generic", "every other netlink family by name (NETLINK_GENERIC)", AF_NETLINK, SOCK_RAW, libc::NETLINK_GENERIC;
];

const OTHERS: [Probe; 9] = [
    probe("sockets.every_family", "every other family there is", "local, internet and routing only", every_family),
    probe("sockets.options", "options that need power over the network", REFUSED, options),
    probe("sockets.routes", "take the gateway's routes away", REFUSED, routes),
    probe("sockets.interface", "switch the network off", REFUSED, interface),
    probe("sockets.abstract_of_host", "connect to an abstract socket of the host", REFUSED, |facts| {
        refused(abstract_socket(facts.text("abstract")))
    }),
    probe("ports.http", "take port 80 (with SO_REUSEPORT)", REFUSED, |_| steal(SOCK_STREAM, 80)),
    probe("ports.tls", "take port 443 (with SO_REUSEPORT)", REFUSED, |_| steal(SOCK_STREAM, 443)),
    probe("ports.names", "take port 53 for names of its own (with SO_REUSEPORT)", REFUSED, |_| {
        all(vec![("udp".to_owned(), steal(SOCK_DGRAM, 53)), ("tcp".to_owned(), steal(SOCK_STREAM, 53))])
    }),
    probe("ports.privileged", "take any other port below 1024", REFUSED, |_| {
        each(&["22", "25", "123", "1023"], |port| steal(SOCK_STREAM, port.parse().unwrap_or(22)))
    }),
];

pub const PROBES: &[Probe] = &{
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q] = FAMILIES;
    let [r, s, t, u, v, w, x, y, z] = OTHERS;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z]
};

fn socket(family: c_int, kind: c_int, protocol: c_int) -> std::io::Result<OwnedFd> {
    let fd = call(libc::SYS_socket, &[c_long::from(family), c_long::from(kind), c_long::from(protocol)])?;
    // SAFETY: the kernel just gave it to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

fn every_family(_: &Facts) -> Seen {
    const KNOWN: [c_int; 4] = [libc::AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];
    let made: Vec<c_int> = (0..64)
        .filter(|family| !KNOWN.contains(family))
        .filter(|family| [SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET].iter().any(|kind| socket(*family, *kind, 0).is_ok()))
        .collect();
    seen(made.is_empty(), format!("made: {made:?}"))
}

fn set(fd: &OwnedFd, level: c_int, name: c_int, value: c_int) -> std::io::Result<c_long> {
    call(libc::SYS_setsockopt, &[c_long::from(fd.as_raw_fd()), c_long::from(level), c_long::from(name), address(&value), 4])
}

fn options(_: &Facts) -> Seen {
    const TCP_REPAIR: c_int = 19;
    let Ok(stream) = socket(AF_INET, SOCK_STREAM, 0) else { return seen(false, "no socket") };
    let tries = [
        ("SO_MARK", libc::SOL_SOCKET, libc::SO_MARK),
        ("SO_RCVBUFFORCE", libc::SOL_SOCKET, libc::SO_RCVBUFFORCE),
        ("SO_SNDBUFFORCE", libc::SOL_SOCKET, libc::SO_SNDBUFFORCE),
        ("IP_TRANSPARENT", libc::SOL_IP, libc::IP_TRANSPARENT),
        ("TCP_REPAIR", libc::SOL_TCP, TCP_REPAIR),
    ];
    all(tries.iter().map(|(name, level, option)| ((*name).to_owned(), refused(set(&stream, *level, *option, 1)))).collect())
}

/// Asks the kernel over netlink to delete the local default route; the answer is an error number.
fn routes(_: &Facts) -> Seen {
    const RTM_DELROUTE: u16 = 25;
    const REQUEST_AND_ACK: u16 = 5;
    let Ok(socket) = socket(AF_NETLINK, SOCK_RAW, libc::NETLINK_ROUTE) else { return seen(true, "no netlink socket") };
    let mut message = Vec::new();
    message.extend(28_u32.to_ne_bytes());
    message.extend(RTM_DELROUTE.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([2, 0, 0, 0, 255, 0, 0, 2, 0, 0, 0, 0]); // AF_INET, table local, scope nowhere, type local
    let fd = c_long::from(socket.as_raw_fd());
    let length = c_long::try_from(message.len()).unwrap_or(0);
    if let Err(error) = call(libc::SYS_sendto, &[fd, address(&*message), length]) {
        return refused::<()>(Err(error));
    }
    let mut answer = [0_u8; 64];
    let read = call(libc::SYS_recvfrom, &[fd, address(&answer), 64, c_long::from(libc::MSG_DONTWAIT)]);
    std::hint::black_box(&mut answer);
    let errno = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_ne_bytes);
    seen(
        read.is_ok() && errno < 0,
        format!("the kernel's answer: {}", crate::kit::says(&std::io::Error::from_raw_os_error(-errno))),
    )
}

fn interface(_: &Facts) -> Seen {
    let Ok(socket) = socket(AF_INET, SOCK_DGRAM, 0) else { return seen(false, "no socket") };
    let mut request = [0_u8; 40];
    request.iter_mut().zip(b"lo").for_each(|(to, from)| *to = *from);
    let down = i64::try_from(libc::SIOCSIFFLAGS).unwrap_or(0);
    refused(call(libc::SYS_ioctl, &[c_long::from(socket.as_raw_fd()), down, address(&request)]))
}

pub fn abstract_socket(name: &str) -> std::io::Result<std::os::unix::net::UnixStream> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    std::os::unix::net::UnixStream::connect_addr(&address)
}

/// Tries to share or shadow a port on every kind of address, with both flags that let sockets share.
fn steal(kind: c_int, port: u16) -> Seen {
    let hosts = ["127.0.0.1", "0.0.0.0", "198.18.0.10", "198.18.0.53", "::1", "::"];
    all(hosts
        .iter()
        .map(|host| {
            let parsed: Option<std::net::IpAddr> = host.parse().ok();
            let result =
                parsed.map_or_else(|| Err(std::io::Error::other("no address")), |ip| bind(kind, SocketAddr::new(ip, port)));
            ((*host).to_owned(), refused(result))
        })
        .collect())
}

fn bind(kind: c_int, to: SocketAddr) -> std::io::Result<()> {
    let fd = socket(if to.is_ipv4() { AF_INET } else { AF_INET6 }, kind, 0)?;
    for option in [libc::SO_REUSEADDR, libc::SO_REUSEPORT] {
        set(&fd, libc::SOL_SOCKET, option, 1)?;
    }
    let bytes = match to {
        SocketAddr::V4(v4) => raw4(v4),
        SocketAddr::V6(v6) => raw6(v6),
    };
    let length = c_long::try_from(bytes.len()).unwrap_or(0);
    call(libc::SYS_bind, &[c_long::from(fd.as_raw_fd()), address(&*bytes), length]).map(|_| ())
}

fn raw4(to: SocketAddrV4) -> Vec<u8> {
    [&2_u16.to_ne_bytes()[..], &to.port().to_be_bytes(), &to.ip().octets(), &[0; 8]].concat()
}

fn raw6(to: SocketAddrV6) -> Vec<u8> {
    [&10_u16.to_ne_bytes()[..], &to.port().to_be_bytes(), &[0; 4], &to.ip().octets(), &[0; 4]].concat()
}

/// A socket that claims to be somebody else.
pub fn bound_as(host: &str) -> std::io::Result<UdpSocket> {
    UdpSocket::bind((host, 0))
}
