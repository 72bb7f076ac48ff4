//! The sandbox's network: one loopback on which every address of IPv4 and IPv6 is local. Whatever the agent connects
//! to arrives at a listener of the gateway, which reads the wanted address from the accepted socket; a port without a
//! listener refuses at once. There is no other interface, so nothing can leave.
//!
//! Invariant: the listeners are made after the sandbox's first process was forked, so nothing in the sandbox ever had
//! them, and without address reuse, so nothing in the sandbox can share their ports.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use jail::{Failure, Step};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::failure::{Because, failure};
use crate::netlink::Routes;
use crate::sys;

/// The agent's address where the wanted one does not decide it (RFC 2544: for benchmarks, never routed).
const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

const BACKLOG: i32 = 256;

/// Where the first port without privileges is written down.
const FIRST_FREE_PORT: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Least, first and most that the kernel keeps for one direction of one TCP connection. Its own most is many megabytes,
/// for lines that are long and wide; here nothing is farther than the gateway.
const BUFFERS: [(&str, &str); 2] =
    [("/proc/sys/net/ipv4/tcp_rmem", "4096 131072 262144"), ("/proc/sys/net/ipv4/tcp_wmem", "4096 16384 262144")];

/// The longest packet, which is otherwise 64 KiB on a loopback. One in each direction is kept for every connection even
/// where the memory for sockets is used up, so its size decides what many connections cost.
const PACKET_BYTES: u32 = 8 << 10;

/// What the gateway gets.
pub struct Network {
    /// TCP 80, TCP 443, UDP 53, TCP 53, then what [`Network::listen_on`] added.
    pub listeners: Vec<OwnedFd>,
    pub ipv6: bool,
    pub downgrades: Vec<String>,
}

impl Network {
    /// Opens further TCP ports.
    pub fn listen_on(&mut self, ports: &[u16]) -> Result<(), Failure> {
        for port in ports {
            self.listeners.push(tcp_listener(self.ipv6, *port)?);
        }
        Ok(())
    }
}

/// Prepares the network namespace that this process is in.
pub fn prepare() -> Result<Network, Failure> {
    let say = |what: &'static str| move || format!("{what} in the sandbox's network");
    let routes = Routes::open().because(Step::Network, say("no routing socket"))?;
    routes.loopback_up().because(Step::Network, say("the loopback could not be switched on"))?;
    routes.add_address(SOURCE).because(Step::Network, say("no source address"))?;
    routes.all_local_v4(SOURCE).because(Step::Network, say("no route for IPv4"))?;
    require_low_ports_kept()?;
    let mut downgrades = bound_buffers();
    if let Err(errno) = routes.bound_packets(PACKET_BYTES) {
        downgrades.push(format!("packets in the sandbox's network are not bounded to {PACKET_BYTES} bytes: {errno}"));
    }
    let ipv6 = match routes.all_local_v6() {
        Ok(()) => true,
        Err(errno) => {
            downgrades.push(format!("IPv6 is not captured (the agent has IPv4 only): {errno}"));
            false
        }
    };
    Ok(Network { listeners: listen_everywhere(ipv6)?, ipv6, downgrades })
}

/// What this network has counted, for whoever asks when it is gone. Empty where the host hides it.
pub fn counters() -> Vec<OwnedFd> {
    // A host without IPv6 has no second one; without the first, the second would be taken for it.
    let open = |name: &str| fs::File::open(format!("/proc/self/net/{name}")).ok().map(OwnedFd::from);
    let Some(v4) = open("snmp") else { return Vec::new() };
    std::iter::once(v4).chain(open("snmp6")).collect()
}

/// New network namespaces begin with 1024; a host that changed the kernel's default must not hand port 80 to an agent.
fn require_low_ports_kept() -> Result<(), Failure> {
    let text = fs::read_to_string(FIRST_FREE_PORT).because(Step::Network, || format!("{FIRST_FREE_PORT} can't be read"))?;
    let first: u16 = text.trim().parse().map_err(|_| failure(Step::Network, format!("{FIRST_FREE_PORT} is no number")))?;
    if first >= 1024 {
        return Ok(());
    }
    fs::write(FIRST_FREE_PORT, "1024").because(Step::Network, || format!("{FIRST_FREE_PORT} is {first} and can't be set to 1024"))
}

/// Belongs to the network namespace, so its owner may set it, unless somebody has mounted `/proc/sys` read-only.
fn bound_buffers() -> Vec<String> {
    let told = |(path, values)| Some(format!("{path} is not lowered to {values}: {}", fs::write(path, values).err()?));
    BUFFERS.into_iter().filter_map(told).collect()
}

fn listen_everywhere(ipv6: bool) -> Result<Vec<OwnedFd>, Failure> {
    let udp = listener(ipv6, SocketType::DGRAM, 53).because(Step::Network, || "no listener on UDP 53".into());
    Ok(vec![tcp_listener(ipv6, 80)?, tcp_listener(ipv6, 443)?, udp?, tcp_listener(ipv6, 53)?])
}

fn tcp_listener(ipv6: bool, port: u16) -> Result<OwnedFd, Failure> {
    listener(ipv6, SocketType::STREAM, port).because(Step::Network, || format!("no listener on TCP {port}"))
}

fn listener(ipv6: bool, kind: SocketType, port: u16) -> Result<OwnedFd, Errno> {
    let (family, everywhere) = match ipv6 {
        true => (AddressFamily::INET6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        false => (AddressFamily::INET, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if ipv6 {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    if kind == SocketType::DGRAM {
        sys::switch_on(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
        if ipv6 {
            sys::switch_on(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
            // Without it IPv6 lets an answer come only from addresses of an interface, not from routed ones.
            sys::switch_on(&socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND)?;
        }
    }
    bind(&socket, &everywhere)?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
