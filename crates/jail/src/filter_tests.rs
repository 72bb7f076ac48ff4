//! What the filter answers, by an interpreter like the kernel's.

use std::collections::BTreeSet;

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_RET, BPF_W, IPPROTO_TCP, IPPROTO_UDP, NETLINK_ROUTE, SOCK_DGRAM, SOCK_STREAM, c_int,
};

use super::*;
use crate::bpf::bits;
use crate::judges::{NEW_NAMESPACES, NO_SUCH_OPERATION, NO_SUCH_SOCKET, OWN_AFFAIRS, SOCKET_OPTIONS, TERMINAL_REQUESTS};

#[path = "../build/rules.rs"]
mod rules;

use rules::Rules;

const KILL: u32 = SECCOMP_RET_KILL_PROCESS;
const ALLOW: u32 = SECCOMP_RET_ALLOW;
const LEVELS: [Calls; 2] = [Calls::Agent, Calls::Code];
const RULES: &str = include_str!("../../../profiles/syscalls.toml");

/// What the kernel's interpreter would answer.
fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 3]) -> u32 {
    let mut data = [number.to_ne_bytes(), architecture.to_ne_bytes()].concat();
    data.extend([0; 8]);
    data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
    data.resize(64, 0);
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
            code if code == BPF_JMP | BPF_JSET | BPF_K => at += jump(loaded & step.k != 0),
            code if code == BPF_JMP | BPF_JA => at += usize::try_from(step.k).expect("a distance"),
            code if code == BPF_RET | BPF_K => return step.k,
            code => panic!("no such instruction is meant: {code:#x}"),
        }
    }
}

fn judge(number: u32, arguments: [u64; 3]) -> u32 {
    let [agent, code] = LEVELS.map(|level| run(&program(level), ARCHITECTURE, number, arguments));
    assert_eq!(agent, code, "call {number} with {arguments:?}: both levels judge alike");
    agent
}

fn call(call: c_long, arguments: [c_int; 3]) -> u32 {
    judge(number(call), arguments.map(|argument| u64::from(bits(argument))))
}

fn numbers(list: &[c_long]) -> BTreeSet<u32> {
    list.iter().map(|call| number(*call)).collect()
}

#[test]
fn every_instruction_leads_to_a_verdict() {
    for level in LEVELS {
        let program = program(level);
        assert!(program.len() < 1024, "{} instructions", program.len());
        for (at, step) in program.iter().enumerate() {
            let code = u32::from(step.code);
            let further = if code == BPF_JMP | BPF_JA { usize::try_from(step.k).expect("a distance") } else { 0 };
            let farthest = at + 1 + further.max(usize::from(step.jt.max(step.jf)));
            assert!(code == BPF_RET | BPF_K || farthest < program.len(), "{level:?}: instruction {at}");
        }
    }
}

#[test]
fn each_number_has_the_fate_that_its_list_says() {
    let (allowed, judged, refused) = (numbers(tables::ALLOWED), numbers(tables::JUDGED), numbers(tables::REFUSED));
    let code: BTreeSet<u32> = allowed.union(&numbers(tables::ALLOWED_TO_CODE)).copied().collect();
    for (level, allowed) in [(Calls::Agent, allowed), (Calls::Code, code)] {
        let program = program(level);
        let beyond = [X32_FIRST - 1];
        for number in (0..2000).chain(beyond).filter(|number| !judged.contains(number)) {
            let expected = match () {
                () if allowed.contains(&number) => ALLOW,
                () if refused.contains(&number) => NOT_PERMITTED,
                () => ABSENT,
            };
            assert_eq!(run(&program, ARCHITECTURE, number, [0; 3]), expected, "{level:?}: call {number}");
        }
    }
    for call in tables::JUDGED {
        assert!(judges::of(*call).is_some(), "call {call} has no judge");
    }
    let further = (0..2000).filter(|number| judges::of(*number).is_some()).count();
    assert_eq!(further, judged.len(), "a judge without a call");
}

#[test]
fn only_this_architecture_may_call() {
    let (i386, arm, x86_64, aarch64) = (0x4000_0003, 0x4000_0028, 0xc000_003e, 0xc000_00b7);
    for level in LEVELS {
        for architecture in [i386, arm, x86_64, aarch64] {
            let expected = if architecture == ARCHITECTURE { ALLOW } else { KILL };
            assert_eq!(run(&program(level), architecture, number(libc::SYS_getpid), [0; 3]), expected, "{architecture:#x}");
        }
    }
    if cfg!(target_arch = "x86_64") {
        for number in [X32_FIRST, X32_FIRST | 39, u32::MAX] {
            assert_eq!(judge(number, [0; 3]), KILL, "{number:#x}");
        }
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
            assert_eq!(call(number, refused), NO_SUCH_SOCKET, "{number}: {refused:?}");
        }
        let named = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK];
        for family in (0..1024).filter(|family| !named.contains(family)) {
            assert_eq!(call(number, [family, stream, 0]), NO_SUCH_SOCKET, "{number}: family {family}");
        }
    }
}

#[test]
fn the_upper_half_of_an_argument_hides_nothing() {
    let upper = 1 << 32;
    let vsock = [upper | u64::from(bits(libc::AF_VSOCK)), 1, 0];
    assert_eq!(judge(number(libc::SYS_socket), vsock), NO_SUCH_SOCKET);
    let audit = [u64::from(bits(AF_NETLINK)), 3, upper | u64::from(bits(libc::NETLINK_AUDIT))];
    assert_eq!(judge(number(libc::SYS_socket), audit), NO_SUCH_SOCKET);
    let typing = [0, upper | libc::TIOCSTI, 0];
    assert_eq!(judge(number(libc::SYS_ioctl), typing), NOT_PERMITTED);
    let users = [upper | u64::from(bits(libc::CLONE_NEWUSER)), 0, 0];
    assert_eq!(judge(number(libc::SYS_clone), users), NOT_PERMITTED);
}

#[test]
fn no_namespace_is_made_by_clone() {
    let thread = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    for plain in [thread, libc::SIGCHLD, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD] {
        assert_eq!(call(libc::SYS_clone, [plain, 0, 0]), ALLOW, "{plain:#x}");
    }
    for bit in (0..32).map(|shift| 1_u32 << shift).filter(|bit| NEW_NAMESPACES & bit != 0) {
        assert_eq!(judge(number(libc::SYS_clone), [u64::from(bit) | 17, 0, 0]), NOT_PERMITTED, "{bit:#x}");
    }
    assert_eq!(NEW_NAMESPACES.count_ones(), 7);
    assert_eq!(call(libc::SYS_clone3, [0; 3]), ABSENT, "its flags can't be read");
}

#[test]
fn terminals_options_and_own_affairs_are_judged() {
    for request in TERMINAL_REQUESTS {
        assert_eq!(judge(number(libc::SYS_ioctl), [0, u64::from(request), 0]), NOT_PERMITTED, "{request:#x}");
    }
    for request in [libc::TCGETS, libc::TIOCGWINSZ, libc::FIONBIO, libc::FIONREAD] {
        assert_eq!(judge(number(libc::SYS_ioctl), [0, request, 0]), ALLOW, "{request:#x}");
    }
    for (level, name) in SOCKET_OPTIONS {
        assert_eq!(call(libc::SYS_setsockopt, [3, level, name]), NOT_PERMITTED, "{level} {name}");
    }
    for (level, name) in [(IPPROTO_TCP, libc::TCP_NODELAY), (libc::SOL_SOCKET, libc::SO_KEEPALIVE), (0, libc::IP_RECVERR)] {
        assert_eq!(call(libc::SYS_setsockopt, [3, level, name]), ALLOW, "{level} {name}");
    }
    for operation in 0..100 {
        let expected = if OWN_AFFAIRS.contains(&operation) { ALLOW } else { NO_SUCH_OPERATION };
        assert_eq!(call(libc::SYS_prctl, [operation, 0, 0]), expected, "{operation}");
    }
    for forbidden in [libc::PR_SET_MM, libc::PR_SET_SECCOMP, libc::PR_SET_PTRACER, libc::PR_CAP_AMBIENT, libc::PR_SET_KEEPCAPS] {
        assert!(!OWN_AFFAIRS.contains(&forbidden), "{forbidden}");
    }
}

#[test]
fn limits_personalities_and_nodes_are_judged() {
    assert_eq!(call(libc::SYS_prlimit64, [0, 7, 0]), ALLOW);
    assert_eq!(call(libc::SYS_prlimit64, [1, 7, 0]), NOT_PERMITTED);
    for (personality, expected) in [(0, ALLOW), (-1, ALLOW), (0x0004_0000, NOT_PERMITTED), (8, NOT_PERMITTED)] {
        assert_eq!(call(libc::SYS_personality, [personality, 0, 0]), expected, "{personality:#x}");
    }
    for (kind, expected) in [
        (libc::S_IFIFO, ALLOW),
        (libc::S_IFCHR, NOT_PERMITTED),
        (libc::S_IFBLK, NOT_PERMITTED),
        (libc::S_IFSOCK, NOT_PERMITTED),
        (0, NOT_PERMITTED),
    ] {
        assert_eq!(judge(number(libc::SYS_mknodat), [0, 0, u64::from(kind | 0o600)]), expected, "{kind:o}");
    }
}

/// Docker's documentation lists what its default profile refuses to a container without capabilities ("Significant
/// syscalls blocked by the default profile"). Nothing of it is allowed here but what a judge looks at.
#[test]
fn no_more_is_allowed_than_to_an_ordinary_container() {
    let refused_there = "acct add_key bpf clock_adjtime clock_settime clone create_module delete_module finit_module \
        get_kernel_syms get_mempolicy init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind mount \
        move_pages nfsservctl open_by_handle_at perf_event_open personality pivot_root process_vm_readv process_vm_writev ptrace \
        query_module quotactl reboot request_key set_mempolicy setns settimeofday stime swapon swapoff sysfs _sysctl umount \
        umount2 unshare uselib userfaultfd ustat vm86 vm86old";
    let refused_there: BTreeSet<&str> = refused_there.split_whitespace().collect();
    let rules = shipped().expect("the shipped rules");
    let names = |groups: &[rules::Group]| groups.iter().flat_map(|group| group.calls.clone()).collect::<Vec<_>>();
    let allowed = names(&rules.allow);
    let more: Vec<&String> = allowed.iter().filter(|call| refused_there.contains(call.as_str())).collect();
    assert!(more.is_empty(), "{more:?}");
    let judged = names(&rules.judge);
    let judged: Vec<&String> = judged.iter().filter(|call| refused_there.contains(call.as_str())).collect();
    assert_eq!(judged, ["clone", "personality"], "as there, judged by their arguments");
}

fn shipped() -> Result<Rules, Vec<String>> {
    Rules::parse(RULES, trace)
}

fn trace(name: &str) -> Option<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles/traces");
    std::fs::read_to_string(folder.join(format!("{name}.txt"))).ok()
}

#[test]
fn a_rule_without_trace_or_reason_is_refused() {
    let faults = |text: &str| Rules::parse(text, trace).err().unwrap_or_default().join("\n");
    let with = |more: &str| faults(&format!("{RULES}\n{more}\n"));
    assert_eq!(faults(RULES), "");
    assert!(with("[[allow]]\nlevel = \"agent\"\ncalls = [\"afs_syscall\"]").contains("neither a reason nor a trace"));
    assert!(with("[[allow]]\nlevel = \"agent\"\nreason = \" \"\ncalls = [\"afs_syscall\"]").contains("neither a reason"));
    assert!(with("[[allow]]\nlevel = \"code\"\nseen = \"agent\"\ncalls = [\"afs_syscall\"]").contains("not in the trace agent"));
    assert!(with("[[allow]]\nlevel = \"code\"\nseen = \"dream\"\ncalls = [\"afs_syscall\"]").contains("no trace dream"));
    assert!(with("[[refuse]]\nreason = \"again\"\ncalls = [\"read\"]").contains("read stands twice"));
    assert!(with("[[allow]]\nreason = \"no level\"\ncalls = [\"afs_syscall\"]").contains("a level belongs to"));
    assert!(with("[[refuse]]\nbecause = \"mistyped\"\ncalls = []").contains("because"));
}

/// That the compiler gets every name is what makes an unknown one fail the build.
#[test]
fn every_name_is_left_to_the_compiler() {
    let rules = shipped().expect("the shipped rules");
    let (x86_64, other) = (rules.tables(true), rules.tables(false));
    for group in rules.allow.iter().chain(&rules.judge).chain(&rules.refuse) {
        for call in &group.calls {
            let name = format!("libc::SYS_{call}, ");
            assert!(x86_64.contains(&name), "{call}");
            assert_eq!(other.contains(&name), group.only.is_none(), "{call}");
        }
    }
}

/// What the agent was seen to do and is absent all the same: it falls back.
#[test]
fn what_was_seen_is_allowed_or_known_to_be_dispensable() {
    for (level, name, dispensable) in [
        (Calls::Agent, "agent", ["clone3"].as_slice()),
        (Calls::Code, "shell", &["get_mempolicy", "set_mempolicy"]),
        (Calls::Code, "git", &["clone3"]),
        (Calls::Code, "python", &["clone3"]),
        (Calls::Code, "node", &["clone3", "pkey_alloc"]),
    ] {
        let rules = shipped().expect("the shipped rules");
        let open = rules.allow.iter().filter(|group| level == Calls::Code || group.level == Some(rules::Level::Agent));
        let open: BTreeSet<&String> = open.chain(&rules.judge).flat_map(|group| &group.calls).collect();
        let text = trace(name).expect("a trace");
        let made = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
        let closed: Vec<String> = made.filter(|call| !open.contains(call)).collect();
        assert_eq!(closed, dispensable, "{name}");
    }
}
