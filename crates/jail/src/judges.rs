//! Calls that are allowed with some arguments and not with others: each judge loads what it looks at and ends in a
//! verdict. Which calls have one stands in `profiles/syscalls.toml`.
//!
//! Arguments that the kernel takes as `int` are compared by their lower half alone, because the kernel does not see more
//! of them either. What an argument points at can't be judged: another thread could change it behind the judge's back.

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, BPF_JEQ, EAFNOSUPPORT, EINVAL, EPERM, IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP,
    NETLINK_ROUTE, SECCOMP_RET_ALLOW, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, c_int, c_long, sock_filter,
};

use crate::bpf::{argument, bits, fail_with, forbid, forbid_bits, mask, require, verdict, when};

pub const NO_SUCH_SOCKET: u32 = fail_with(EAFNOSUPPORT);
pub const NOT_PERMITTED: u32 = fail_with(EPERM);
/// What the kernel answers to operations of prctl(2) that it does not know.
pub const NO_SUCH_OPERATION: u32 = fail_with(EINVAL);

/// The part of a socket's type that is no flag (`SOCK_TYPE_MASK`).
const TYPE_MASK: u32 = 0xf;

/// Every namespace that clone(2) can make; that of clocks is made by other calls only.
pub const NEW_NAMESPACES: u32 = bits(
    libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET,
);

/// Typing into a terminal, its clipboard (which types too), its line discipline, and taking the console's messages.
pub const TERMINAL_REQUESTS: [u32; 4] = [0x5412, 0x541c, 0x5423, 0x541d]; // TIOCSTI, TIOCLINUX, TIOCSETD, TIOCCONS

/// Level and name of socket options that run programs on a socket or put a protocol layer of the kernel on it.
pub const SOCKET_OPTIONS: [(c_int, c_int); 6] = [
    (IPPROTO_UDP, libc::UDP_ENCAP),
    (IPPROTO_TCP, libc::TCP_ULP),
    (SOL_SOCKET, libc::SO_ATTACH_FILTER),
    (SOL_SOCKET, libc::SO_ATTACH_BPF),
    (SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF),
    (SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF),
];

/// What a program may ask and tell about itself by prctl(2).
pub const OWN_AFFAIRS: [c_int; 16] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_VMA,
    libc::PR_SET_PDEATHSIG,
    libc::PR_GET_PDEATHSIG,
    libc::PR_GET_DUMPABLE,
    libc::PR_SET_DUMPABLE,
    libc::PR_CAPBSET_READ,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_SECCOMP,
    libc::PR_GET_KEEPCAPS,
    libc::PR_GET_CHILD_SUBREAPER,
    libc::PR_SET_CHILD_SUBREAPER,
    libc::PR_GET_TIMERSLACK,
    libc::PR_GET_THP_DISABLE,
];

/// The usual one, and the question (personality(2)).
pub const PERSONALITIES: [u32; 2] = [0, u32::MAX];

/// The judge of a call.
pub fn of(call: c_long) -> Option<Vec<sock_filter>> {
    Some(match call {
        libc::SYS_socket | libc::SYS_socketpair => sockets(),
        libc::SYS_clone => [vec![argument(0)], forbid_bits(NEW_NAMESPACES, NOT_PERMITTED), allow()].concat(),
        libc::SYS_ioctl => [vec![argument(1)], forbid(&TERMINAL_REQUESTS, NOT_PERMITTED), allow()].concat(),
        libc::SYS_setsockopt => socket_options(),
        libc::SYS_prctl => only(0, &OWN_AFFAIRS.map(bits), NO_SUCH_OPERATION),
        libc::SYS_prlimit64 => only(0, &[0], NOT_PERMITTED),
        libc::SYS_personality => only(0, &PERSONALITIES, NOT_PERMITTED),
        libc::SYS_mknodat => pipes_only(2),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mknod => pipes_only(1),
        _ => return None,
    })
}

fn allow() -> Vec<sock_filter> {
    vec![verdict(SECCOMP_RET_ALLOW)]
}

fn only(index: u32, values: &[u32], otherwise: u32) -> Vec<sock_filter> {
    [vec![argument(index)], require(values, otherwise), allow()].concat()
}

fn pipes_only(mode: u32) -> Vec<sock_filter> {
    [vec![argument(mode), mask(libc::S_IFMT)], require(&[libc::S_IFIFO], NOT_PERMITTED), allow()].concat()
}

fn socket_options() -> Vec<sock_filter> {
    let mut rules = vec![argument(1)];
    for level in [IPPROTO_UDP, IPPROTO_TCP, SOL_SOCKET] {
        let names: Vec<u32> = SOCKET_OPTIONS.iter().filter(|(of, _)| *of == level).map(|(_, name)| bits(*name)).collect();
        let judge = [vec![argument(2)], forbid(&names, NOT_PERMITTED), allow()].concat();
        rules.extend(when(BPF_JEQ, bits(level), judge));
    }
    [rules, allow()].concat()
}

/// Network namespaces hold the internet's families only. Others reach past them (AF_VSOCK speaks with the hypervisor
/// and takes ports of the whole host), or make the kernel load code that no agent needs. So families are named, not
/// excluded. Of the internet's sockets only TCP and UDP: further protocols are further code in the kernel, and the
/// sandbox's network answers nothing else.
fn sockets() -> Vec<sock_filter> {
    let mut rules = vec![argument(0)];
    rules.extend(when(BPF_JEQ, bits(AF_UNIX), allow()));
    rules.extend(when(BPF_JEQ, bits(AF_NETLINK), only(2, &[bits(NETLINK_ROUTE)], NO_SUCH_SOCKET)));
    rules.extend(require(&[bits(AF_INET), bits(AF_INET6)], NO_SUCH_SOCKET));
    rules.extend([argument(1), mask(TYPE_MASK)]);
    rules.extend(require(&[bits(SOCK_STREAM), bits(SOCK_DGRAM)], NO_SUCH_SOCKET));
    rules.extend(only(2, &[bits(IPPROTO_IP), bits(IPPROTO_TCP), bits(IPPROTO_UDP)], NO_SUCH_SOCKET));
    rules
}
