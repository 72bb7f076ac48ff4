//! Ports that nobody listens on refuse by themselves, without us. How often that happened is counted by the sandbox's own network.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// A file of counters is a few kilobytes.
const FILE_BYTES_MAX: usize = 64 << 10;

/// The counters of one sandbox's network. The open files keep its network, so they can be read when nothing else of it is left.
#[derive(Debug)]
pub struct RefusedPorts {
    v4: File,
    v6: Option<File>,
}

/// What was refused without anybody being asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// TCP connections that were never established.
    pub tcp: u64,
    /// Datagrams to ports that nobody has.
    pub udp: u64,
}

impl RefusedPorts {
    /// Of the network that a process is in.
    ///
    /// # Errors
    /// An I/O error when the process is gone or its counters can't be read.
    pub fn of(pid: u32) -> std::io::Result<Self> {
        let open = |name: &str| File::open(format!("/proc/{pid}/net/{name}"));
        // A host without IPv6 has no such file.
        Ok(Self { v4: open("snmp")?, v6: open("snmp6").ok() })
    }

    /// Of a network whose counters somebody in it has opened: those of IPv4, and of IPv6 where there are any.
    #[must_use]
    pub fn opened(counters: impl IntoIterator<Item = OwnedFd>) -> Option<Self> {
        let mut counters = counters.into_iter().map(File::from);
        Some(Self { v4: counters.next()?, v6: counters.next() })
    }

    /// How often so far, also when the process is gone.
    ///
    /// # Errors
    /// An I/O error when the counters can't be read.
    pub fn read(&self) -> std::io::Result<Refused> {
        let (v4, v6) = (text(&self.v4)?, self.v6.as_ref().map(text).transpose()?.unwrap_or_default());
        Ok(counted(&v4, &v6))
    }
}

fn text(file: &File) -> std::io::Result<String> {
    let mut bytes = vec![0; FILE_BYTES_MAX];
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let read = file.read_at(rest, u64::try_from(length).unwrap_or(u64::MAX))?;
        if read == 0 {
            break;
        }
        length += read;
    }
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(std::io::Error::other)
}

/// RFC 4022: `AttemptFails` counts connections that were refused before they were there. It is one counter for IPv4 and IPv6.
fn counted(v4: &str, v6: &str) -> Refused {
    let v6_udp = v6.lines().filter_map(|line| line.strip_prefix("Udp6NoPorts")).find_map(|rest| rest.trim().parse().ok());
    Refused { tcp: of_pair(v4, "Tcp:", "AttemptFails"), udp: of_pair(v4, "Udp:", "NoPorts").saturating_add(v6_udp.unwrap_or(0)) }
}

/// Two lines with the same beginning: names, then numbers.
fn of_pair(text: &str, begins: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with(begins));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split_whitespace().position(|known| known == name);
    at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let v4 = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: ActiveOpens PassiveOpens AttemptFails\nTcp: 9 8 7\n\
                  Udp: InDatagrams NoPorts\nUdp: 3 2\nUdpLite: InDatagrams NoPorts\nUdpLite: 50 60\n";
        assert_eq!(counted(v4, "Udp6InDatagrams 4\nUdp6NoPorts                    \t5\n"), Refused { tcp: 7, udp: 7 });
        assert_eq!(counted("", ""), Refused::default());
        assert_eq!(counted("Tcp: AttemptFails\nTcp: x\n", "garbage"), Refused::default());
    }

    #[test]
    fn our_own_network_has_counters() {
        let counters = RefusedPorts::of(std::process::id()).expect("counters");
        let before = counters.read().expect("readable");
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens there");
        assert!(counters.read().expect("readable").tcp > before.tcp);
    }
}
