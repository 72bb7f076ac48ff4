//! Five messages to the kernel's routing tables (rtnetlink(7)), written out, in place of a program or a library.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// The loopback interface is the first and only one of a new network namespace.
const LOOPBACK: u32 = 1;

const HEADER_BYTES: usize = 16;

/// A conversation with the routing tables of the current network namespace.
pub struct Routes(OwnedFd);

impl Routes {
    pub fn open() -> Result<Self, Errno> {
        // No protocol is protocol 0, NETLINK_ROUTE.
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Self)
    }

    /// `ip link set lo up`
    pub fn loopback_up(&self) -> Result<(), Errno> {
        let up = libc::IFF_UP.cast_unsigned().to_ne_bytes();
        let body = [&[0; 4], &LOOPBACK.to_ne_bytes()[..], &up, &up].concat();
        self.ask(libc::RTM_NEWLINK, 0, &body)
    }

    /// `ip link set lo mtu BYTES gso_max_size BYTES`
    pub fn bound_packets(&self, bytes: u32) -> Result<(), Errno> {
        let (mtu, offload) =
            (attribute(libc::IFLA_MTU, bytes.to_ne_bytes()), attribute(libc::IFLA_GSO_MAX_SIZE, bytes.to_ne_bytes()));
        let body = [&[0; 4], &LOOPBACK.to_ne_bytes()[..], &[0; 8], &mtu, &offload].concat();
        self.ask(libc::RTM_NEWLINK, 0, &body)
    }

    /// `ip address add ADDRESS/32 dev lo`
    pub fn add_address(&self, address: Ipv4Addr) -> Result<(), Errno> {
        let head = [family(libc::AF_INET), 32, 0, libc::RT_SCOPE_UNIVERSE];
        let octets = address.octets();
        let body =
            [&head, &LOOPBACK.to_ne_bytes()[..], &attribute(libc::IFA_LOCAL, octets), &attribute(libc::IFA_ADDRESS, octets)]
                .concat();
        self.ask(libc::RTM_NEWADDR, CREATE, &body)
    }

    /// `ip route add local 0.0.0.0/0 dev lo src SOURCE`: every address is here.
    pub fn all_local_v4(&self, source: Ipv4Addr) -> Result<(), Errno> {
        let body = [
            &everything(libc::AF_INET, libc::RT_SCOPE_HOST)[..],
            &attribute(libc::RTA_OIF, LOOPBACK.to_ne_bytes()),
            &attribute(libc::RTA_PREFSRC, source.octets()),
        ]
        .concat();
        self.ask(libc::RTM_NEWROUTE, CREATE, &body)
    }

    /// `ip -6 route add local ::/0 dev lo`
    pub fn all_local_v6(&self) -> Result<(), Errno> {
        let body = [&everything(libc::AF_INET6, libc::RT_SCOPE_UNIVERSE)[..], &attribute(libc::RTA_OIF, LOOPBACK.to_ne_bytes())]
            .concat();
        self.ask(libc::RTM_NEWROUTE, CREATE, &body)
    }

    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
        let length = u32::try_from(HEADER_BYTES + body.len()).map_err(|_| Errno::MSGSIZE)?;
        let flags = flags | REQUEST_WITH_ANSWER;
        let header = [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &[0; 8], // Sequence number and port: one question at a time on a socket of our own.
        ];
        send(&self.0, &[&header.concat(), body].concat(), SendFlags::empty())?;
        let mut answer = [0; 1024];
        let (_, count) = recv(&self.0, &mut answer[..], RecvFlags::empty())?;
        read_answer(answer.get(..count).ok_or(Errno::MSGSIZE)?)
    }
}

const REQUEST_WITH_ANSWER: u16 = 1 | 4; // NLM_F_REQUEST | NLM_F_ACK
const CREATE: u16 = 0x400 | 0x200; // NLM_F_CREATE | NLM_F_EXCL

/// An answer is NLMSG_ERROR (2) with a negated error number, 0 for success, behind the header.
fn read_answer(answer: &[u8]) -> Result<(), Errno> {
    let kind = answer.get(4..6);
    let code = answer.get(HEADER_BYTES..).and_then(<[u8]>::first_chunk::<4>).map(|bytes| i32::from_ne_bytes(*bytes));
    match (kind, code) {
        (Some([2, 0] | [0, 2]), Some(0)) => Ok(()),
        (Some([2, 0] | [0, 2]), Some(code)) => Err(Errno::from_raw_os_error(code.saturating_neg())),
        _ => Err(Errno::PROTO),
    }
}

/// The route message of a local route to everything: no destination, table local, set up at start.
fn everything(address_family: i32, scope: u8) -> [u8; 12] {
    const PROTOCOL_BOOT: u8 = 3;
    [family(address_family), 0, 0, 0, libc::RT_TABLE_LOCAL, PROTOCOL_BOOT, scope, libc::RTN_LOCAL, 0, 0, 0, 0]
}

/// An attribute of four bytes: length 8, kind, value.
fn attribute(kind: u16, value: [u8; 4]) -> [u8; 8] {
    let [length_a, length_b] = 8_u16.to_ne_bytes();
    let [kind_a, kind_b] = kind.to_ne_bytes();
    let [a, b, c, d] = value;
    [length_a, length_b, kind_a, kind_b, a, b, c, d]
}

fn family(number: i32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}
