//! Ways out by namespaces and mounts.

use crate::kit::{Facts, Probe, Seen, address, all, call, each, probe, refused, seen};
use libc::{c_int, c_long};
use std::ffi::CString;
use std::os::fd::AsRawFd;

const REFUSED: &str = "refused: any errno";

macro_rules! unshares {
    ($($id:literal, $title:literal, $flag:expr;)*) => {
        [$(probe($id, $title, REFUSED, |_| refused(call(libc::SYS_unshare, &[$flag as c_long])))),*]
    };
}

const UNSHARES: [Probe; 8] = unshares![
    "namespaces.user", "make a user namespace, in which it would be root", libc::CLONE_NEWUSER;
    "namespaces.user_mount", "the same together with a mount namespace", libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
    "namespaces.net", "make a network namespace without the gateway's listeners", libc::CLONE_NEWNET;
    "namespaces.mount", "make a mount namespace", libc::CLONE_NEWNS;
    "namespaces.pid", "make a process namespace", libc::CLONE_NEWPID;
    "namespaces.ipc", "make an IPC namespace", libc::CLONE_NEWIPC;
    "namespaces.cgroup", "make a control group namespace", libc::CLONE_NEWCGROUP;
    "namespaces.time", "make a time namespace", 0x80;
];

const OTHERS: [Probe; 12] = [
    probe("namespaces.clone", "be born into a user namespace (clone)", REFUSED, clone),
    probe("namespaces.clone3", "be born into a user namespace (clone3)", REFUSED, clone3),
    probe("namespaces.join", "join the namespaces of the first process", REFUSED, join),
    probe("mounts.tmpfs", "mount an empty folder over the certificates", REFUSED, |_| mount("tmpfs", "/etc", "tmpfs", 0)),
    probe("mounts.proc", "mount a /proc that shows everything", REFUSED, |_| mount("proc", "/tmp", "proc", 0)),
    probe("mounts.bind", "bind a folder over the program", REFUSED, |_| mount("/tmp", "/opt", "", libc::MS_BIND)),
    probe("mounts.remount", "make the tree writable", REFUSED, |_| {
        each(&["/", "/etc", "/opt/agent/agent"], |target| mount("", target, "", libc::MS_REMOUNT | libc::MS_BIND))
    }),
    probe("mounts.unmount", "take away what hides something", REFUSED, |_| {
        each(&["/proc", "/dev", "/etc/passwd", "/opt/agent/agent", "/"], |target| {
            let target = text(target);
            refused(call(libc::SYS_umount2, &[address(&*target), c_long::from(libc::MNT_DETACH)]))
        })
    }),
    probe("mounts.pivot", "turn the root around", REFUSED, |_| {
        let here = text(".");
        refused(call(libc::SYS_pivot_root, &[address(&*here), address(&*here)]))
    }),
    probe("mounts.chroot", "climb out by a second root", REFUSED, |_| {
        let folder = text("/tmp");
        refused(call(libc::SYS_chroot, &[address(&*folder)]))
    }),
    probe("mounts.by_descriptor", "mount by descriptors (fsopen, open_tree)", REFUSED, by_descriptor),
    probe("mounts.attributes", "change a mount's attributes", REFUSED, attributes),
];

pub const PROBES: &[Probe] = &{
    let [a, b, c, d, e, f, g, h] = UNSHARES;
    let [i, j, k, l, m, n, o, p, q, r, s, t] = OTHERS;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t]
};

fn text(value: &str) -> CString {
    CString::new(value).unwrap_or_default()
}

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong) -> Seen {
    let (source, target, kind) = (text(source), text(target), text(kind));
    let flags = c_long::try_from(flags).unwrap_or(0);
    refused(call(libc::SYS_mount, &[address(&*source), address(&*target), address(&*kind), flags, 0]))
}

/// As fork, but for the namespace. A child that came to be ends at once.
fn clone(_: &Facts) -> Seen {
    born(call(libc::SYS_clone, &[c_long::from(libc::CLONE_NEWUSER | libc::SIGCHLD)]))
}

fn clone3(_: &Facts) -> Seen {
    let mut arguments = [0_u64; 8]; // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
    let [flags, _, _, _, signal, ..] = &mut arguments;
    *flags = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    *signal = u64::from(libc::SIGCHLD.cast_unsigned());
    born(call(libc::SYS_clone3, &[address(&arguments), 64]))
}

fn born(result: std::io::Result<c_long>) -> Seen {
    if matches!(result, Ok(0)) {
        // SAFETY: ends the copy.
        unsafe { libc::_exit(0) }
    }
    refused(result)
}

fn join(_: &Facts) -> Seen {
    let kinds = ["user", "net", "mnt", "pid", "ipc", "uts", "cgroup"];
    all(kinds
        .iter()
        .map(|kind| {
            let joined = std::fs::File::open(format!("/proc/1/ns/{kind}"))
                .and_then(|file| call(libc::SYS_setns, &[c_long::from(file.as_raw_fd()), 0]));
            ((*kind).to_owned(), refused(joined))
        })
        .collect())
}

fn by_descriptor(_: &Facts) -> Seen {
    const OPEN_TREE_CLONE: c_long = 1;
    const AT_FDCWD: c_int = -100;
    let (kind, path) = (text("tmpfs"), text("/tmp"));
    all(vec![
        ("fsopen".to_owned(), refused(call(libc::SYS_fsopen, &[address(&*kind), 0]))),
        ("open_tree".to_owned(), refused(call(libc::SYS_open_tree, &[c_long::from(AT_FDCWD), address(&*path), OPEN_TREE_CLONE]))),
    ])
}

fn attributes(_: &Facts) -> Seen {
    let (path, attributes) = (text("/"), [0_u64, 1, 0, 0]); // set, clear (read-only), propagation, userns
    let done = call(libc::SYS_mount_setattr, &[-100, address(&*path), 0, address(&attributes), 32]);
    match std::fs::write("/made", "x") {
        Ok(()) => seen(false, "the root became writable"),
        Err(_) => refused(done),
    }
}
