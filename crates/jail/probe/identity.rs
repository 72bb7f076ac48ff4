//! Who the agent is, and whether it can become more.

use crate::kit::{Facts, Probe, Seen, all, call, probe, refused, seen};
use std::fs;
use std::os::fd::AsRawFd;

const REFUSED: &str = "refused: any errno";

pub const PROBES: &[Probe] = &[
    probe("identity.user", "be root, or somebody of the host", "user and group 1000, all four kinds", |_| {
        let ids = [line("Uid:"), line("Gid:")];
        seen(ids.iter().all(|ids| ids == "1000 1000 1000 1000"), ids.join(" / "))
    }),
    probe("identity.capabilities", "hold a capability", "all five sets empty", |_| {
        let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(line);
        seen(sets.iter().all(|set| set == "0000000000000000"), sets.join(" "))
    }),
    probe("identity.no_new_privileges", "gain privileges by executing something", "no_new_privs is set", |_| {
        seen(line("NoNewPrivs:") == "1", format!("NoNewPrivs: {}", line("NoNewPrivs:")))
    }),
    probe("identity.filter", "run without a filter of system calls", "mode 2", |_| {
        seen(line("Seccomp:") == "2", format!("Seccomp: {}", line("Seccomp:")))
    }),
    probe("identity.become_root", "become user 0 by every call that sets one", REFUSED, |_| {
        let calls = [
            ("setuid", call(libc::SYS_setuid, &[0])),
            ("setreuid", call(libc::SYS_setreuid, &[0, 0])),
            ("setresuid", call(libc::SYS_setresuid, &[0, 0, 0])),
            ("setgid", call(libc::SYS_setgid, &[0])),
            ("setresgid", call(libc::SYS_setresgid, &[0, 0, 0])),
        ];
        all(calls.into_iter().map(|(name, result)| (name.to_owned(), refused(result))).collect())
    }),
    probe("identity.groups", "join groups of the host", REFUSED, |_| {
        let groups = [0_u32, 27];
        refused(call(libc::SYS_setgroups, &[2, crate::kit::address(&groups)]))
    }),
    probe("identity.maps", "change which users of the host its users are", REFUSED, |_| {
        crate::kit::each(&["uid_map", "gid_map", "setgroups"], |file| refused(fs::write(format!("/proc/self/{file}"), "0 0 1")))
    }),
    probe("identity.capset", "give itself capabilities", REFUSED, capset),
    probe("identity.bounding", "raise an ambient capability", REFUSED, |_| {
        const SYS_ADMIN: libc::c_long = 21;
        refused(call(
            libc::SYS_prctl,
            &[libc::c_long::from(libc::PR_CAP_AMBIENT), libc::c_long::from(libc::PR_CAP_AMBIENT_RAISE), SYS_ADMIN],
        ))
    }),
    probe("identity.descriptors", "use descriptors that were left open", "three streams, all of them pipes", descriptors),
    probe("identity.terminal", "type into a terminal of the operator's (TIOCSTI)", REFUSED, terminal),
    probe("identity.limits", "raise its own limits", REFUSED, |_| {
        let limit = |resource, value| libc::rlimit64 { rlim_cur: value, rlim_max: value.max(resource) };
        let raised = limit(0, 1 << 20);
        let core = limit(0, u64::MAX);
        all(vec![
            ("files".to_owned(), refused(call(libc::SYS_prlimit64, &[0, 7, crate::kit::address(&raised)]))),
            ("core".to_owned(), refused(call(libc::SYS_prlimit64, &[0, 4, crate::kit::address(&core)]))),
        ])
    }),
    probe("identity.core", "leave a core dump with what was in memory", "none", |_| {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let core = limits.lines().find(|line| line.starts_with("Max core")).unwrap_or("unknown").to_owned();
        let words: Vec<&str> = core.split_whitespace().collect();
        seen(words.get(4..6) == Some(&["0", "0"]), words.join(" "))
    }),
    probe("identity.oom", "make others die before itself when memory is short", REFUSED, |_| {
        refused(fs::write("/proc/self/oom_score_adj", "-1000"))
    }),
    probe("identity.priority", "take the processor from others", REFUSED, |_| {
        let parameter = 50_i32;
        all(vec![
            ("nice".to_owned(), refused(call(libc::SYS_setpriority, &[0, 0, -20]))),
            ("fifo".to_owned(), refused(call(libc::SYS_sched_setscheduler, &[0, 1, crate::kit::address(&parameter)]))),
        ])
    }),
];

/// A line of `/proc/self/status`, its words separated by one blank.
fn line(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown");
    found.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn capset(_: &Facts) -> Seen {
    const VERSION_3: u32 = 0x2008_0522;
    let head = [VERSION_3, 0];
    let data = [u32::MAX, u32::MAX, 0, 0, 0, 0];
    refused(call(libc::SYS_capset, &[crate::kit::address(&head), crate::kit::address(&data)]))
}

/// This process has a pipe to its parent and the folder that is being read beside what it was given.
fn descriptors(_: &Facts) -> Seen {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let links = open.map(|entry| fs::read_link(entry.path()).unwrap_or_default().display().to_string());
    let strange: Vec<String> =
        links.filter(|link| !link.starts_with("pipe:") && !link.contains("/fd") && !link.is_empty()).collect();
    seen(strange.is_empty(), format!("beside pipes: {strange:?}"))
}

fn terminal(_: &Facts) -> Seen {
    const LETTER: [u8; 1] = *b"x";
    let streams = [std::io::stdin().as_raw_fd(), std::io::stdout().as_raw_fd(), 2];
    let request = i64::try_from(libc::TIOCSTI).unwrap_or(0);
    let try_one = |fd: i32| refused(call(libc::SYS_ioctl, &[libc::c_long::from(fd), request, crate::kit::address(&LETTER)]));
    all(streams.iter().map(|fd| (format!("stream {fd}"), try_one(*fd))).collect())
}
