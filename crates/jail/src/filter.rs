//! The agent's system calls, as far as they are judged: which sockets it can make, and no way around that.
//!
//! Network namespaces hold the internet's families only. Others reach past them (AF_VSOCK speaks with the hypervisor
//! and takes ports of the whole host), or make the kernel load code that no agent needs. So families are named, not
//! excluded. Everything else is allowed here and judged by users, capabilities and namespaces; a list of allowed calls
//! is a later change.
//!
//! The program is classic BPF (seccomp(2)) over the call's number, architecture and arguments. Arguments that the kernel
//! takes as `int` are compared by their lower half alone, because the kernel does not see more of them either.

use jail::{Failure, Step};
use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W,
    EAFNOSUPPORT, ENOSYS, IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, NETLINK_ROUTE, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    SECCOMP_RET_KILL_PROCESS, SOCK_DGRAM, SOCK_STREAM, c_int, c_long, sock_filter,
};

use crate::failure::Because;
use crate::sys;

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_endian = "little")))]
compile_error!("the filter of system calls knows x86_64 and little-endian aarch64 only");

/// What the kernel calls this architecture (`AUDIT_ARCH_*`).
const ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

/// From here on x86_64 counts the calls of x32, a second set of numbers for the same calls.
const X32_FIRST: u32 = 0x4000_0000;

/// `struct seccomp_data`: number, architecture, instruction pointer, six arguments of eight bytes.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const FAMILY_AT: u32 = 16;
const TYPE_AT: u32 = 24;
const PROTOCOL_AT: u32 = 32;

/// The part of a socket's type that is no flag (`SOCK_TYPE_MASK`).
const TYPE_MASK: u32 = 0xf;

const REFUSED: u32 = SECCOMP_RET_ERRNO | EAFNOSUPPORT.cast_unsigned();

/// io_uring makes sockets without the call that is judged; programs know kernels without it.
const ABSENT: u32 = SECCOMP_RET_ERRNO | ENOSYS.cast_unsigned();
const ABSENT_CALLS: [c_long; 3] = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Judges every system call of this process from here on, and of whatever it becomes or starts.
pub fn install() -> Result<(), Failure> {
    sys::filter_calls(&program()).because(Step::Identity, || {
        "the agent's system calls can't be filtered: the kernel needs CONFIG_SECCOMP_FILTER, and nothing around the gateway \
         may forbid seccomp(2)"
            .into()
    })
}

fn program() -> Vec<sock_filter> {
    let kill = || vec![verdict(SECCOMP_RET_KILL_PROCESS)];
    let mut program = vec![load(ARCHITECTURE_AT)];
    program.extend(require(&[ARCHITECTURE], SECCOMP_RET_KILL_PROCESS));
    program.push(load(NUMBER_AT));
    if cfg!(target_arch = "x86_64") {
        program.extend(when(BPF_JGE, X32_FIRST, kill()));
    }
    for call in ABSENT_CALLS {
        program.extend(when(BPF_JEQ, number(call), vec![verdict(ABSENT)]));
    }
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        program.extend(when(BPF_JEQ, number(call), judge_socket()));
    }
    program.push(verdict(SECCOMP_RET_ALLOW));
    program
}

/// Ends in a verdict. Of the internet's sockets only TCP and UDP: further protocols are further code in the kernel, and
/// the sandbox's network answers nothing else.
fn judge_socket() -> Vec<sock_filter> {
    let mut rules = vec![load(FAMILY_AT)];
    rules.extend(when(BPF_JEQ, bits(AF_UNIX), vec![verdict(SECCOMP_RET_ALLOW)]));
    let mut netlink = vec![load(PROTOCOL_AT)];
    netlink.extend(require(&[bits(NETLINK_ROUTE)], REFUSED));
    netlink.push(verdict(SECCOMP_RET_ALLOW));
    rules.extend(when(BPF_JEQ, bits(AF_NETLINK), netlink));
    rules.extend(require(&[bits(AF_INET), bits(AF_INET6)], REFUSED));
    rules.extend([load(TYPE_AT), instruction(BPF_ALU | BPF_AND | BPF_K, TYPE_MASK, 0, 0)]);
    rules.extend(require(&[bits(SOCK_STREAM), bits(SOCK_DGRAM)], REFUSED));
    rules.push(load(PROTOCOL_AT));
    rules.extend(require(&[bits(IPPROTO_IP), bits(IPPROTO_TCP), bits(IPPROTO_UDP)], REFUSED));
    rules.push(verdict(SECCOMP_RET_ALLOW));
    rules
}

/// Goes on behind this if the loaded value is one of these, otherwise gives the verdict.
fn require(values: &[u32], otherwise: u32) -> Vec<sock_filter> {
    let jumps = values.iter().zip((1..=values.len()).rev()).map(|(value, past)| jump(BPF_JEQ, *value, past, 0));
    jumps.chain([verdict(otherwise)]).collect()
}

/// Does `then`, which ends in a verdict, if the loaded value compares so; otherwise goes on behind it.
fn when(comparison: u32, value: u32, then: Vec<sock_filter>) -> Vec<sock_filter> {
    let mut rules = vec![jump(comparison, value, 0, then.len())];
    rules.extend(then);
    rules
}

fn load(at: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, at, 0, 0)
}

fn verdict(value: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, value, 0, 0)
}

fn jump(comparison: u32, value: u32, if_true: usize, if_false: usize) -> sock_filter {
    instruction(BPF_JMP | comparison | BPF_K, value, if_true, if_false)
}

fn instruction(code: u32, k: u32, if_true: usize, if_false: usize) -> sock_filter {
    let short = |length: usize| u8::try_from(length).expect("blocks of this program are short, which its test proves");
    sock_filter { code: u16::try_from(code).expect("codes have 16 bits"), jt: short(if_true), jf: short(if_false), k }
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).expect("numbers of calls are small")
}

const fn bits(value: c_int) -> u32 {
    value.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: u32 = SECCOMP_RET_KILL_PROCESS;
    const ALLOW: u32 = SECCOMP_RET_ALLOW;

    /// What the kernel's interpreter would answer.
    fn judge(architecture: u32, number: u32, arguments: [u64; 3]) -> u32 {
        let mut data = [number.to_ne_bytes(), architecture.to_ne_bytes()].concat();
        data.extend([0; 8]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        data.resize(64, 0);
        let program = program();
        let (mut at, mut loaded) = (0, 0_u32);
        loop {
            let step = program.get(at).expect("a jump stays inside");
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            at += 1;
            match u32::from(step.code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    let from = usize::try_from(step.k).expect("an offset");
                    let word = data.get(from..).and_then(<[u8]>::first_chunk).expect("inside the data");
                    loaded = u32::from_ne_bytes(*word);
                }
                code if code == BPF_ALU | BPF_AND | BPF_K => loaded &= step.k,
                code if code == BPF_JMP | BPF_JEQ | BPF_K => at += jump(loaded == step.k),
                code if code == BPF_JMP | BPF_JGE | BPF_K => at += jump(loaded >= step.k),
                code if code == BPF_RET | BPF_K => return step.k,
                code => panic!("no such instruction is meant: {code:#x}"),
            }
        }
    }

    fn call(call: c_long, arguments: [c_int; 3]) -> u32 {
        judge(ARCHITECTURE, number(call), arguments.map(|argument| u64::from(bits(argument))))
    }

    #[test]
    fn every_jump_lands_before_a_verdict() {
        let program = program();
        assert!(program.len() < 128, "{} instructions", program.len());
        for (at, step) in program.iter().enumerate() {
            let farthest = at + 1 + usize::from(step.jt.max(step.jf));
            let is_verdict = u32::from(step.code) == BPF_RET | BPF_K;
            assert!(is_verdict || farthest < program.len(), "instruction {at}");
        }
        assert_eq!(program.last().map(|step| u32::from(step.code)), Some(BPF_RET | BPF_K));
    }

    #[test]
    fn only_this_architecture_may_call() {
        let (i386, arm, x86_64, aarch64) = (0x4000_0003, 0x4000_0028, 0xc000_003e, 0xc000_00b7);
        for architecture in [i386, arm, x86_64, aarch64] {
            let expected = if architecture == ARCHITECTURE { ALLOW } else { KILL };
            assert_eq!(judge(architecture, number(libc::SYS_getpid), [0; 3]), expected, "{architecture:#x}");
        }
        if cfg!(target_arch = "x86_64") {
            for number in [X32_FIRST, X32_FIRST | 39, u32::MAX] {
                assert_eq!(judge(ARCHITECTURE, number, [0; 3]), KILL, "{number:#x}");
            }
            assert_eq!(judge(ARCHITECTURE, X32_FIRST - 1, [0; 3]), ALLOW);
        }
    }

    #[test]
    fn sockets_are_named_by_family_kind_and_protocol() {
        let (stream, dgram) = (SOCK_STREAM | libc::SOCK_CLOEXEC, SOCK_DGRAM | libc::SOCK_NONBLOCK);
        let raw = libc::SOCK_RAW;
        let packet = 10; // SOCK_PACKET, which the kernel takes for the family AF_PACKET
        for number in [libc::SYS_socket, libc::SYS_socketpair] {
            for allowed in [
                [AF_UNIX, stream, 0],
                [AF_UNIX, libc::SOCK_SEQPACKET, 0],
                [AF_INET, stream, 0],
                [AF_INET, dgram, IPPROTO_UDP],
                [AF_INET6, stream, IPPROTO_TCP],
                [AF_INET6, dgram, 0],
                [AF_NETLINK, raw | libc::SOCK_CLOEXEC, NETLINK_ROUTE],
            ] {
                assert_eq!(call(number, allowed), ALLOW, "{number}: {allowed:?}");
            }
            for refused in [
                [AF_INET, raw, IPPROTO_TCP],
                [AF_INET, packet, 0],
                [AF_INET, libc::SOCK_SEQPACKET, 0],
                [AF_INET, stream, libc::IPPROTO_SCTP],
                [AF_INET6, stream, libc::IPPROTO_MPTCP],
                [AF_INET, dgram, libc::IPPROTO_ICMP],
                [AF_NETLINK, raw, libc::NETLINK_NETFILTER],
                [-1, stream, 0],
            ] {
                assert_eq!(call(number, refused), REFUSED, "{number}: {refused:?}");
            }
            let named = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];
            for family in (0..1024).filter(|family| !named.contains(family)) {
                assert_eq!(call(number, [family, stream, 0]), REFUSED, "{number}: family {family}");
            }
        }
    }

    #[test]
    fn the_upper_half_of_an_argument_hides_nothing() {
        let upper = 1 << 32;
        let vsock = [upper | u64::from(bits(libc::AF_VSOCK)), 1, 0];
        assert_eq!(judge(ARCHITECTURE, number(libc::SYS_socket), vsock), REFUSED);
        let audit = [u64::from(bits(AF_NETLINK)), 3, upper | u64::from(bits(libc::NETLINK_AUDIT))];
        assert_eq!(judge(ARCHITECTURE, number(libc::SYS_socket), audit), REFUSED);
    }

    #[test]
    fn io_uring_is_absent_and_the_rest_allowed() {
        for number in ABSENT_CALLS {
            assert_eq!(call(number, [0; 3]), ABSENT, "{number}");
        }
        for number in [libc::SYS_read, libc::SYS_execve, libc::SYS_connect, libc::SYS_clone3, libc::SYS_openat2] {
            assert_eq!(call(number, [libc::AF_VSOCK; 3]), ALLOW, "{number}");
        }
    }
}
