//! System calls that no supported agent makes. Each is tried with arguments that would work for an ordinary user of an
//! ordinary kernel, so that a refusal is a rule's and not the arguments'.

use crate::kit::{Facts, Probe, Seen, address, all, call, probe, refused, seen};
use crate::processes::policy;
use libc::{c_int, c_long};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const NO_CALL: &str = "refused by a rule";

pub const PROBES: &[Probe] = &[
    probe("calls.bpf", "load a program into the kernel (bpf)", NO_CALL, |_| {
        let map = [1_u32, 4, 4, 1, 0, 0, 0, 0]; // an ordinary hash table, which unprivileged users may make on some hosts
        policy(call(libc::SYS_bpf, &[0, address(&map), 32]))
    }),
    probe("calls.perf", "measure the kernel (perf_event_open)", NO_CALL, |_| {
        let mut event = [0_u32; 32];
        let [kind, size, ..] = &mut event;
        (*kind, *size) = (1, 128); // a software event: the processor's clock
        policy(call(libc::SYS_perf_event_open, &[address(&event), 0, -1, -1, 0]))
    }),
    probe("calls.userfaultfd", "stop the kernel in the middle of a copy (userfaultfd)", NO_CALL, |_| {
        const USER_MODE_ONLY: c_long = 1;
        policy(call(libc::SYS_userfaultfd, &[USER_MODE_ONLY]))
    }),
    probe("calls.keyring", "keep keys in the kernel (keyctl, add_key)", NO_CALL, |_| {
        let (kind, name) = (*b"user\0", *b"hexward\0");
        all(vec![
            ("keyctl".to_owned(), policy(call(libc::SYS_keyctl, &[0, -4, 1]))),
            ("add_key".to_owned(), policy(call(libc::SYS_add_key, &[address(&kind), address(&name), address(&name), 7, -4]))),
        ])
    }),
    probe("calls.trace_child", "trace a process of its own (ptrace)", NO_CALL, |_| {
        policy(call(libc::SYS_ptrace, &[c_long::from(libc::PTRACE_TRACEME)]))
    }),
    probe("calls.read_own", "read its own memory by the call for others' (process_vm_readv)", NO_CALL, |_| {
        let (from, to) = ([1_u8; 8], [0_u8; 8]);
        let (local, remote) = ([address(&to), 8], [address(&from), 8]);
        let pid = c_long::from(std::process::id());
        policy(call(libc::SYS_process_vm_readv, &[pid, address(&local), 1, address(&remote), 1, 0]))
    }),
    probe("calls.take_own", "copy a descriptor of its own by pidfd_getfd", NO_CALL, |_| {
        let pid = c_long::from(std::process::id());
        policy(call(libc::SYS_pidfd_open, &[pid, 0]).and_then(|pidfd| call(libc::SYS_pidfd_getfd, &[pidfd, 0, 0])))
    }),
    probe("calls.personality", "switch off the randomness of addresses (personality)", NO_CALL, |_| {
        const ADDR_NO_RANDOMIZE: c_long = 0x0004_0000;
        policy(call(libc::SYS_personality, &[ADDR_NO_RANDOMIZE]))
    }),
    probe("calls.memory_program", "execute a program that never was a file (memfd_create)", NO_CALL, memory_program),
    probe("calls.splice", "move pages between files and pipes (splice, vmsplice)", NO_CALL, |_| {
        let Ok((from, to)) = std::io::pipe() else { return seen(false, "no pipe") };
        let (fd_in, fd_out) = (c_long::from(from.as_raw_fd()), c_long::from(to.as_raw_fd()));
        let (bytes, piece) = ([1_u8; 8], 8);
        let vector = [address(&bytes), piece];
        all(vec![
            ("vmsplice".to_owned(), policy(call(libc::SYS_vmsplice, &[fd_out, address(&vector), 1, 0]))),
            ("tee".to_owned(), policy(call(libc::SYS_tee, &[fd_in, fd_out, 1, c_long::from(libc::SPLICE_F_NONBLOCK)]))),
        ])
    }),
    probe("calls.queues", "keep memory in System V queues and segments", NO_CALL, |_| {
        all(vec![
            ("shmget".to_owned(), policy(call(libc::SYS_shmget, &[0, 4096, 0o1600]))),
            ("msgget".to_owned(), policy(call(libc::SYS_msgget, &[0, 0o1600]))),
            ("semget".to_owned(), policy(call(libc::SYS_semget, &[0, 1, 0o1600]))),
        ])
    }),
    probe("calls.watch_files", "watch every file of a mount (fanotify)", NO_CALL, |_| {
        const REPORT_FID: c_long = 0x200;
        policy(call(libc::SYS_fanotify_init, &[REPORT_FID, 0]))
    }),
    probe("calls.segments", "change the processor's tables (modify_ldt)", NO_CALL, segments),
    probe("calls.secret_memory", "memory that even the kernel can't see (memfd_secret)", NO_CALL, |_| {
        policy(call(libc::SYS_memfd_secret, &[0]))
    }),
    probe("calls.limit_first", "take the first process's limits away (prlimit64)", NO_CALL, |_| {
        const CORE: c_long = 4;
        let none = [0_u64, 0];
        policy(call(libc::SYS_prlimit64, &[1, CORE, address(&none)]))
    }),
    probe("calls.namespaces", "make namespaces, refused by a rule and not by a count", NO_CALL, |_| {
        all([libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET]
            .iter()
            .map(|flag| (flag.to_string(), policy(call(libc::SYS_unshare, &[c_long::from(*flag)]))))
            .collect())
    }),
    probe("calls.unknown", "calls that no kernel has yet", "no such call", |_| refused(call(1023, &[0]))),
];

/// Copies its own program into memory and executes it from there.
fn memory_program(_: &Facts) -> Seen {
    const CLOSE_ON_EXEC: c_long = 1;
    let name = *b"hexward\0";
    let made = match call(libc::SYS_memfd_create, &[address(&name), CLOSE_ON_EXEC]) {
        Ok(fd) => fd,
        Err(error) => return policy(Err(error)),
    };
    // SAFETY: the kernel just gave it to us alone.
    let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(c_int::try_from(made).unwrap_or(-1)) });
    let copied = std::fs::read("/proc/self/exe").and_then(|bytes| file.write_all(&bytes));
    let path = format!("/proc/self/fd/{made}");
    let started = std::process::Command::new(path).arg("--nothing").status();
    seen(copied.is_err() || !started.as_ref().is_ok_and(std::process::ExitStatus::success), format!("{started:?}"))
}

#[cfg(target_arch = "x86_64")]
fn segments(_: &Facts) -> Seen {
    let table = [0_u8; 64];
    policy(call(libc::SYS_modify_ldt, &[0, address(&table), 64]))
}

#[cfg(not(target_arch = "x86_64"))]
fn segments(_: &Facts) -> Seen {
    seen(true, "no such call on this architecture")
}
