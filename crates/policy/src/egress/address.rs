//! Which addresses may be dialled for a name that an operator allowed. Whoever holds a name decides where it points, so the
//! decision is made about the address that will be dialled, in every form in which one address can hide in another.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// This host.
    #[error("a loopback address")]
    Loopback,
    /// An address of one of this host's interfaces.
    #[error("an address of the gateway's own host")]
    Own,
    /// A network that is not the internet.
    #[error("a private address")]
    Private,
    /// The provider of this host would answer as itself, with credentials (RFC 3927, and the clouds' own).
    #[error("a metadata or link-local address")]
    Metadata,
    /// Multicast, broadcast, unspecified, reserved, for documentation or benchmarks.
    #[error("an address that is no host")]
    NoHost,
    /// An address that stands for another one and would be translated on its way.
    #[error("an address that hides another one")]
    Hidden,
}

impl AddressFault {
    /// Whether an operator may accept this kind, with a key that is called dangerous.
    #[must_use]
    pub const fn may_be_accepted(self) -> bool {
        match self {
            Self::Loopback | Self::Own | Self::Private => true,
            Self::Metadata | Self::NoHost | Self::Hidden => false,
        }
    }
}

/// What clouds answer on, outside of the link-local ranges: Alibaba, Azure, Amazon over IPv6.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Ranges by their first address and number of fixed bits, the first that fits decides (IANA special-purpose registry).
const V4: &[(Ipv4Addr, u32, AddressFault)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, AddressFault::NoHost),
    (Ipv4Addr::new(10, 0, 0, 0), 8, AddressFault::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, AddressFault::Private),
    (Ipv4Addr::new(127, 0, 0, 0), 8, AddressFault::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, AddressFault::Metadata),
    (Ipv4Addr::new(172, 16, 0, 0), 12, AddressFault::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, AddressFault::NoHost),
    (Ipv4Addr::new(192, 0, 2, 0), 24, AddressFault::NoHost),
    (Ipv4Addr::new(192, 88, 99, 0), 24, AddressFault::Hidden),
    (Ipv4Addr::new(192, 168, 0, 0), 16, AddressFault::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, AddressFault::NoHost),
    (Ipv4Addr::new(198, 51, 100, 0), 24, AddressFault::NoHost),
    (Ipv4Addr::new(203, 0, 113, 0), 24, AddressFault::NoHost),
    (Ipv4Addr::new(224, 0, 0, 0), 3, AddressFault::NoHost),
];

/// Only `2000::/3` is the internet, and not all of it.
const V6: &[(Ipv6Addr, u32, AddressFault)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, AddressFault::NoHost),
    (Ipv6Addr::LOCALHOST, 128, AddressFault::Loopback),
    // IPv4-compatible, and NAT64 of a network's own (RFC 8215), whose translation nobody here knows.
    (Ipv6Addr::UNSPECIFIED, 96, AddressFault::Hidden),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, AddressFault::Hidden),
    // IPv4-translated (RFC 2765).
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, AddressFault::Hidden),
    // Teredo and its neighbours, documentation, 6to4.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, AddressFault::Hidden),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, AddressFault::NoHost),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, AddressFault::NoHost),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, AddressFault::Hidden),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, AddressFault::NoHost),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, AddressFault::Private),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, AddressFault::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, AddressFault::Metadata),
];

/// The translation to IPv4 that everybody knows (RFC 6052): what counts is the address inside.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// Whether an address may be dialled. `own` are the addresses of this host's interfaces.
///
/// # Errors
/// [`AddressFault`].
pub fn vet_address(address: IpAddr, own: &[IpAddr]) -> Result<(), AddressFault> {
    let plain = address.to_canonical();
    let inner = match plain {
        IpAddr::V6(v6) if has_prefix(v6, NAT64, 96) => IpAddr::V4(low_v4(v6)),
        IpAddr::V4(_) | IpAddr::V6(_) => plain,
    };
    let known = match inner {
        IpAddr::V4(v4) => fault_v4(v4),
        IpAddr::V6(v6) => fault_v6(v6),
    };
    if let Some(fault) = known {
        return Err(fault);
    }
    if own.iter().any(|own| [address, plain, inner].contains(&own.to_canonical())) {
        return Err(AddressFault::Own);
    }
    Ok(())
}

fn fault_v4(address: Ipv4Addr) -> Option<AddressFault> {
    if METADATA_V4.contains(&address) {
        return Some(AddressFault::Metadata);
    }
    let inside = |(first, bits, _): &&(Ipv4Addr, u32, AddressFault)| {
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        address.to_bits() & mask == first.to_bits() & mask
    };
    V4.iter().find(inside).map(|(_, _, fault)| *fault)
}

fn fault_v6(address: Ipv6Addr) -> Option<AddressFault> {
    if address == METADATA_V6 {
        return Some(AddressFault::Metadata);
    }
    let known = V6.iter().find(|(first, bits, _)| has_prefix(address, *first, *bits)).map(|(_, _, fault)| *fault);
    let is_internet = has_prefix(address, Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    known.or((!is_internet).then_some(AddressFault::NoHost))
}

fn has_prefix(address: Ipv6Addr, first: Ipv6Addr, bits: u32) -> bool {
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    address.to_bits() & mask == first.to_bits() & mask
}

fn low_v4(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use AddressFault::{Hidden, Loopback, Metadata, NoHost, Own, Private};

    fn vet(address: &str) -> Result<(), AddressFault> {
        let own = ["93.184.216.34", "2606:4700::7"].map(|own| own.parse().expect("an address"));
        vet_address(address.parse().expect("an address"), &own)
    }

    #[test]
    fn hosts_of_the_internet_are_dialled() {
        for good in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert_eq!(vet(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn every_form_of_an_inner_address_is_refused() {
        for (bad, fault) in [
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("0.0.0.0", NoHost),
            ("0.1.2.3", NoHost),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("100.127.255.255", Private),
            ("169.254.169.254", Metadata),
            ("169.254.1.1", Metadata),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("192.0.0.192", NoHost),
            ("192.0.2.1", NoHost),
            ("192.88.99.1", Hidden),
            ("198.18.0.10", NoHost),
            ("198.19.255.255", NoHost),
            ("198.51.100.1", NoHost),
            ("203.0.113.1", NoHost),
            ("224.0.0.1", NoHost),
            ("239.255.255.250", NoHost),
            ("240.0.0.1", NoHost),
            ("255.255.255.255", NoHost),
            ("93.184.216.34", Own),
            ("::", NoHost),
            ("::1", Loopback),
            ("::127.0.0.1", Hidden),
            ("::7f00:1", Hidden),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:169.254.169.254", Metadata),
            ("::ffff:10.0.0.1", Private),
            ("::ffff:93.184.216.34", Own),
            ("::ffff:0:127.0.0.1", Hidden),
            ("64:ff9b::127.0.0.1", Loopback),
            ("64:ff9b::169.254.169.254", Metadata),
            ("64:ff9b::10.1.2.3", Private),
            ("64:ff9b::93.184.216.34", Own),
            ("64:ff9b:1::1.1.1.1", Hidden),
            ("2002:7f00:1::", Hidden),
            ("2002:808:808::1", Hidden),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Hidden),
            ("2001:2::1", NoHost),
            ("2001:db8::1", NoHost),
            ("3fff::1", NoHost),
            ("fc00::1", Private),
            ("fd12:3456::1", Private),
            ("fd00:ec2::254", Metadata),
            ("fe80::1", Metadata),
            ("febf::1", Metadata),
            ("fec0::1", Private),
            ("ff02::1", NoHost),
            ("100::1", NoHost),
            ("4000::1", NoHost),
            ("2606:4700::7", Own),
        ] {
            assert_eq!(vet(bad), Err(fault), "{bad}");
        }
    }

    #[test]
    fn what_is_dangerous_to_accept_is_still_not_everything() {
        assert!(Loopback.may_be_accepted() && Private.may_be_accepted() && Own.may_be_accepted());
        assert!(!Metadata.may_be_accepted() && !NoHost.may_be_accepted() && !Hidden.may_be_accepted());
    }

    #[test]
    fn an_ipv4_address_is_judged_alike_in_each_of_its_forms() {
        let step = 0x0103_0507_u32;
        for sample in 0..4000_u32 {
            let v4 = Ipv4Addr::from_bits(sample.wrapping_mul(step));
            let plain = vet_address(IpAddr::V4(v4), &[]);
            assert_eq!(vet_address(IpAddr::V6(v4.to_ipv6_mapped()), &[]), plain, "{v4}");
            let nat64 = Ipv6Addr::from_bits(NAT64.to_bits() | u128::from(v4.to_bits()));
            assert_eq!(vet_address(IpAddr::V6(nat64), &[]), plain, "{v4}");
        }
    }
}
