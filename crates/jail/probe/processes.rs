//! Other processes, the kernel's dangerous doors, and calls that go around a filter.

use crate::kit::{Facts, Probe, Seen, address, all, call, each, probe, refused, seen};
use libc::{c_int, c_long};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

const REFUSED: &str = "refused: any errno";
const KILLED: &str = "killed, or no such call";

pub const PROBES: &[Probe] = &[
    probe("processes.listed", "see processes of the host", "the first process and its own", listed),
    probe("processes.kill_first", "end, stop or disturb the sandbox's first process", "it lives on", kill_first),
    probe(
        "processes.kill_host",
        "signal the gateway and the supervisor by their numbers on the host",
        "no such process",
        |facts| {
            let pids = facts.numbers("host_pids");
            all(pids.iter().map(|pid| (pid.to_string(), refused(call(libc::SYS_kill, &[*pid, 0])))).collect())
        },
    ),
    probe("processes.trace_first", "trace the first process", REFUSED, |_| {
        refused(call(libc::SYS_ptrace, &[c_long::from(libc::PTRACE_ATTACH), 1]))
    }),
    probe("processes.seize_first", "trace the first process without stopping it", REFUSED, |_| {
        refused(call(libc::SYS_ptrace, &[0x4206, 1]))
    }),
    probe("processes.read_memory", "read the first process's memory", REFUSED, read_memory),
    probe("processes.write_memory", "write into the first process's memory", REFUSED, |_| {
        refused(fs::OpenOptions::new().write(true).open("/proc/1/mem"))
    }),
    probe("processes.look_into_first", "look into what /proc tells of the first process", REFUSED, |_| {
        each(&["environ", "maps", "fd", "root", "cwd", "exe", "mem", "stack", "syscall", "auxv"], |name| {
            let path = format!("/proc/1/{name}");
            if fs::read_link(&path).is_ok() {
                seen(false, "a link that can be read")
            } else {
                refused(fs::read(&path).or_else(|_| fs::read_dir(&path).map(|_| Vec::new())))
            }
        })
    }),
    probe("processes.take_descriptor", "take a descriptor of the first process", REFUSED, |_| {
        refused(call(libc::SYS_pidfd_open, &[1, 0]).and_then(|pidfd| call(libc::SYS_pidfd_getfd, &[pidfd, 0, 0])))
    }),
    probe("processes.compare", "compare kernel objects with the first process's (kcmp)", REFUSED, |_| {
        refused(call(libc::SYS_kcmp, &[1, i64::from(std::process::id()), 1]))
    }),
    probe("processes.move_pages", "move the first process's memory", REFUSED, |_| {
        let nodes = 1_u64;
        refused(call(libc::SYS_migrate_pages, &[1, 2, address(&nodes), address(&nodes)]))
    }),
    probe("kernel.reboot", "restart the machine", REFUSED, |_| {
        // The command that only disarms Ctrl-Alt-Del, should it ever be let through.
        refused(call(libc::SYS_reboot, &[0xfee1_dead, 672_274_793, 0]))
    }),
    probe("kernel.modules", "load and remove modules of the kernel", REFUSED, |_| {
        let text = [0_u8; 1];
        all(vec![
            ("init_module".to_owned(), policy(call(libc::SYS_init_module, &[address(&text), 1, address(&text)]))),
            ("finit_module".to_owned(), policy(call(libc::SYS_finit_module, &[0, address(&text), 0]))),
            ("delete_module".to_owned(), policy(call(libc::SYS_delete_module, &[address(&text), 0]))),
        ])
    }),
    probe("kernel.kexec", "start another kernel", REFUSED, |_| policy(call(libc::SYS_kexec_load, &[0, 0, 0, 0]))),
    probe("kernel.time", "set the host's clock", REFUSED, |_| {
        let time = [1_i64, 0];
        policy(call(libc::SYS_clock_settime, &[0, address(&time)]))
    }),
    probe("kernel.name", "rename the machine", REFUSED, |_| {
        let name = *b"mine";
        all(vec![
            ("host".to_owned(), policy(call(libc::SYS_sethostname, &[address(&name), 4]))),
            ("domain".to_owned(), policy(call(libc::SYS_setdomainname, &[address(&name), 4]))),
        ])
    }),
    probe("kernel.log", "read and clear the kernel's log", REFUSED, |_| {
        let buffer = [0_u8; 64];
        all(vec![
            ("read".to_owned(), policy(call(libc::SYS_syslog, &[3, address(&buffer), 64]))),
            ("clear".to_owned(), policy(call(libc::SYS_syslog, &[5]))),
        ])
    }),
    probe("kernel.swap", "add swap, and switch accounting on", REFUSED, |_| {
        let path = *b"/tmp/swap\0";
        all(vec![
            ("swapon".to_owned(), policy(call(libc::SYS_swapon, &[address(&path), 0]))),
            ("acct".to_owned(), policy(call(libc::SYS_acct, &[address(&path)]))),
        ])
    }),
    probe("kernel.ring", "make sockets and files behind the filter's back (io_uring)", REFUSED, |_| {
        let parameters = [0_u64; 15];
        refused(call(libc::SYS_io_uring_setup, &[1, address(&parameters)]))
    }),
    probe("kernel.other_numbers", "ask by the numbers of x32", KILLED, |_| strange("x32")),
    probe("kernel.other_architecture", "ask by the numbers of i386", KILLED, |_| strange("i386")),
];

/// Refused by a rule, not because the arguments made no sense.
pub fn policy(result: std::io::Result<c_long>) -> Seen {
    let outcome = refused(result);
    let by_rule = ["EPERM", "ENOSYS", "EACCES"].contains(&outcome.observed.as_str());
    seen(outcome.pass && by_rule, outcome.observed)
}

fn listed(_: &Facts) -> Seen {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let pids: Vec<u32> = names.filter_map(|name| name.to_str().and_then(|name| name.parse().ok())).collect();
    // The first process (which may be hidden), the probe, and this one.
    let strange = pids.iter().filter(|pid| **pid > 1).count();
    seen((1..=2).contains(&strange), format!("{pids:?}"))
}

/// That the answer arrives at all is the proof: everything ends with the first process.
fn kill_first(_: &Facts) -> Seen {
    let sent: Vec<String> = [libc::SIGKILL, libc::SIGTERM, libc::SIGSTOP, libc::SIGSEGV, libc::SIGHUP]
        .iter()
        .map(|signal| {
            call(libc::SYS_kill, &[1, c_long::from(*signal)]).map_or_else(|error| crate::kit::says(&error), |_| "sent".to_owned())
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let state = fs::read_to_string("/proc/1/stat").unwrap_or_default();
    let stopped = state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'));
    seen(!stopped && call(libc::SYS_getpid, &[]).is_ok(), sent.join(" "))
}

fn read_memory(_: &Facts) -> Seen {
    let buffer = [0_u8; 8];
    let local = [address(&buffer), 8];
    let remote = [0x0040_0000_i64, 8];
    all(vec![
        (
            "process_vm_readv".to_owned(),
            policy(call(libc::SYS_process_vm_readv, &[1, address(&local), 1, address(&remote), 1, 0])),
        ),
        ("/proc/1/mem".to_owned(), refused(fs::File::open("/proc/1/mem"))),
    ])
}

/// In a process of its own, since the answer to it is death.
fn strange(which: &str) -> Seen {
    if !cfg!(target_arch = "x86_64") {
        return seen(true, "no such numbers on this architecture");
    }
    let status = Command::new("/proc/self/exe").arg(format!("--strange={which}")).stdout(Stdio::null()).status();
    match status.map(|status| (status.signal(), status.code())) {
        Ok((Some(libc::SIGSYS), _)) => seen(true, "killed by SIGSYS"),
        Ok((Some(libc::SIGSEGV), _)) => seen(true, "the kernel has no such calls"),
        Ok((_, Some(1))) => seen(true, "no such call"),
        Ok(other) => seen(false, format!("{other:?}")),
        Err(error) => seen(false, error.to_string()),
    }
}

/// Asks for the own process number in a way that is not this architecture's. The exit code is 0 if there was an answer.
#[cfg(target_arch = "x86_64")]
pub fn strange_call(which: &str) {
    const X32_GETPID: c_long = 0x4000_0000 | 39;
    const I386_GETPID: c_int = 20;
    let answer = if which.ends_with("x32") {
        call(X32_GETPID, &[]).unwrap_or(-1)
    } else {
        let mut number = I386_GETPID;
        // SAFETY: no memory is passed; the kernel changes the one register, and r8 to r11 in old versions.
        unsafe { std::arch::asm!("int 0x80", inout("eax") number, out("r8") _, out("r9") _, out("r10") _, out("r11") _) };
        c_long::from(number)
    };
    std::process::exit(i32::from(answer < 0));
}

#[cfg(not(target_arch = "x86_64"))]
pub fn strange_call(_which: &str) {
    std::process::exit(1);
}
