//! Which sockets can be made, and how much they can be made to keep.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with, socketpair, sockopt};
use serde_json::{Value, json};

use crate::outcome;

fn family(number: i32) -> AddressFamily {
    AddressFamily::from_raw(u16::try_from(number).unwrap_or(u16::MAX))
}

fn socket(number: i32, kind: SocketType, protocol: i32) -> Value {
    let protocol = u32::try_from(protocol).ok().and_then(NonZeroU32::new).map(Protocol::from_raw);
    outcome(socket_with(family(number), kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, protocol))
}

fn socket_pair(number: i32) -> Value {
    outcome(socketpair(family(number), SocketType::STREAM, SocketFlags::CLOEXEC, None))
}

/// Sockets that are not of the sandbox's network, or of parts of the kernel that no agent needs.
pub fn odd() -> Value {
    use libc::{AF_INET, AF_INET6, AF_NETLINK};
    const AF_KCM: i32 = 41;
    const AF_QIPCRTR: i32 = 42;
    const AF_SMC: i32 = 43;
    let (stream, dgram, raw, seqpacket) = (SocketType::STREAM, SocketType::DGRAM, SocketType::RAW, SocketType::SEQPACKET);
    json!({
        "vsock_stream": socket(libc::AF_VSOCK, stream, 0),
        "vsock_dgram": socket(libc::AF_VSOCK, dgram, 0),
        "vsock_seqpacket": socket(libc::AF_VSOCK, seqpacket, 0),
        "alg": socket(libc::AF_ALG, seqpacket, 0),
        "packet": socket(libc::AF_PACKET, raw, 0x0300),
        "packet_dgram": socket(libc::AF_PACKET, dgram, 0x0300),
        "key": socket(libc::AF_KEY, raw, 2),
        "rxrpc": socket(libc::AF_RXRPC, dgram, libc::AF_INET),
        "tipc": socket(libc::AF_TIPC, seqpacket, 0),
        "bluetooth": socket(libc::AF_BLUETOOTH, seqpacket, 0),
        "can": socket(libc::AF_CAN, raw, 1),
        "xdp": socket(libc::AF_XDP, raw, 0),
        "kcm": socket(AF_KCM, seqpacket, 0),
        "qipcrtr": socket(AF_QIPCRTR, dgram, 0),
        "smc": socket(AF_SMC, stream, 0),
        "sctp": socket(AF_INET, stream, libc::IPPROTO_SCTP),
        "sctp_by_type": socket(AF_INET, seqpacket, 0),
        "mptcp": socket(AF_INET6, stream, libc::IPPROTO_MPTCP),
        "ping": socket(AF_INET, dgram, libc::IPPROTO_ICMP),
        "netlink_netfilter": socket(AF_NETLINK, raw, libc::NETLINK_NETFILTER),
        "netlink_xfrm": socket(AF_NETLINK, raw, libc::NETLINK_XFRM),
        "netlink_audit": socket(AF_NETLINK, raw, libc::NETLINK_AUDIT),
        "netlink_generic": socket(AF_NETLINK, raw, libc::NETLINK_GENERIC),
        "netlink_uevent": socket(AF_NETLINK, raw, libc::NETLINK_KOBJECT_UEVENT),
        "pair_vsock": socket_pair(libc::AF_VSOCK),
        "pair_tipc": socket_pair(libc::AF_TIPC),
        "pair_alg": socket_pair(libc::AF_ALG),
    })
}

/// Sockets that programs need.
pub fn plain() -> Value {
    use libc::{AF_INET, AF_INET6, AF_NETLINK, AF_UNIX};
    let (stream, dgram, raw) = (SocketType::STREAM, SocketType::DGRAM, SocketType::RAW);
    json!({
        "unix": socket(AF_UNIX, stream, 0),
        "unix_dgram": socket(AF_UNIX, dgram, 0),
        "tcp": socket(AF_INET, stream, 0),
        "tcp_named": socket(AF_INET6, stream, libc::IPPROTO_TCP),
        "udp": socket(AF_INET6, dgram, 0),
        "udp_named": socket(AF_INET, dgram, libc::IPPROTO_UDP),
        "routes": socket(AF_NETLINK, raw, libc::NETLINK_ROUTE),
        "pair": socket_pair(AF_UNIX),
    })
}

/// Sends to itself without ever reading, over more and more sockets, until the kernel keeps this much or gives no more
/// sockets. Says how much it keeps.
pub fn hoard(kind: &str, megabytes: usize) -> Value {
    const SOCKETS_MAX: usize = 1000;
    let (mut held, mut kept, mut most, mut error) = (Vec::new(), 0, 0, None);
    while kept < megabytes << 20 && held.len() < SOCKETS_MAX {
        let filled = match kind {
            "tcp" => fill_connection(&mut held, false),
            "tcp_wide" => fill_connection(&mut held, true),
            "udp" => fill_datagrams(&mut held),
            _ => fill_pair(&mut held),
        };
        match filled {
            Ok(bytes) => (kept, most) = (kept + bytes, most.max(bytes)),
            Err(refused) => {
                error = Some(refused.to_string());
                break;
            }
        }
    }
    json!({ "kept": kept, "most": most, "sockets": held.len(), "error": error })
}

/// Fills both directions. Loopback delivers as it sends, but a receiver's window opens in steps, hence the rounds.
fn fill_connection(held: &mut Vec<OwnedFd>, wide: bool) -> std::io::Result<usize> {
    const WIDE: usize = 4 << 20;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    if wide {
        // What is accepted inherits it.
        sockopt::set_socket_recv_buffer_size(&listener, WIDE)?;
        sockopt::set_socket_send_buffer_size(&listener, WIDE)?;
    }
    let mut ours = TcpStream::connect(listener.local_addr()?)?;
    let (mut theirs, _) = listener.accept()?;
    let mut sent = 0;
    for stream in [&mut ours, &mut theirs] {
        stream.set_nonblocking(true)?;
        for _ in 0..3 {
            sent += write_until_full(stream)?;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    held.extend([ours.into(), theirs.into()]);
    Ok(sent)
}

fn fill_pair(held: &mut Vec<OwnedFd>) -> std::io::Result<usize> {
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let sent = write_until_full(&mut ours)?;
    held.extend([ours.into(), theirs.into()]);
    Ok(sent)
}

fn write_until_full(stream: &mut impl Write) -> std::io::Result<usize> {
    const ENOUGH: usize = 64 << 20;
    let block = vec![7_u8; 64 << 10];
    let mut sent = 0;
    while sent < ENOUGH {
        match stream.write(&block) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Datagrams that find no room are lost without a word, so what is kept is counted by looking, not by sending.
fn fill_datagrams(held: &mut Vec<OwnedFd>) -> std::io::Result<usize> {
    const DATAGRAMS: usize = 16;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    let block = vec![7_u8; 32 << 10];
    for _ in 0..DATAGRAMS {
        // A full receiver may be told to the sender, or not.
        let _lost = sender.send_to(&block, socket.local_addr()?);
    }
    socket.set_nonblocking(true)?;
    let waiting = usize::from(socket.peek(&mut [0; 1]).is_ok()) * queued(socket.local_addr()?.port());
    held.push(socket.into());
    Ok(waiting)
}

/// What the kernel keeps for a UDP port (`rx_queue` in hexadecimal, proc_net(5)).
fn queued(port: u16) -> usize {
    let table = fs::read_to_string("/proc/self/net/udp").unwrap_or_default();
    let line = table.lines().find(|line| line.contains(&format!(":{port:04X} ")));
    let queues = line.and_then(|line| line.split_whitespace().nth(4)).and_then(|both| both.split_once(':'));
    queues.and_then(|(_, received)| usize::from_str_radix(received, 16).ok()).unwrap_or(0)
}
