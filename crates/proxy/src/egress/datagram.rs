//! Datagrams with the address they were sent to: an answer must come from there, or its asker will not take it.

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use std::io::{IoSlice, IoSliceMut, Result};
use std::os::fd::AsRawFd;
use tokio::net::UdpSocket;

/// A datagram that was received.
pub(super) struct Received {
    /// Its bytes in the buffer.
    pub(super) length: usize,
    from: SockaddrStorage,
    to: Option<Local>,
}

/// The local address, in the form of the socket's family.
enum Local {
    V4(nix::libc::in_pktinfo),
    V6(nix::libc::in6_pktinfo),
}

/// Receives once.
#[expect(clippy::wildcard_enum_match_arm, reason = "the kernel may add kinds of control messages; only addresses are read")]
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Result<Received> {
    let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo, nix::libc::in_pktinfo);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let to = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Local::V4(info)),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Local::V6(info)),
        _ => None,
    });
    let from = message.address.ok_or_else(|| std::io::Error::other("a datagram without a sender"))?;
    Ok(Received { length: message.bytes, from, to })
}

/// Sends an answer to where a datagram came from, from where it was sent to.
pub(super) fn send_back(socket: &UdpSocket, asked: &Received, answer: &[u8]) -> Result<()> {
    let slices = [IoSlice::new(answer)];
    let control = asked.to.as_ref().map(|local| match local {
        Local::V4(info) => ControlMessage::Ipv4PacketInfo(info),
        Local::V6(info) => ControlMessage::Ipv6PacketInfo(info),
    });
    sendmsg(socket.as_raw_fd(), &slices, control.as_slice(), MsgFlags::MSG_DONTWAIT, Some(&asked.from))?;
    Ok(())
}
