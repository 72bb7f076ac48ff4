//! What the list of system calls and the rules on files refuse, tried one by one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use libc::{c_int, c_long};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};

use crate::{io_outcome, outcome};

/// The lists that the filter is made of.
#[expect(dead_code, reason = "what is allowed is not tried here")]
mod tables {
    include!(concat!(env!("OUT_DIR"), "/calls.rs"));
}

#[expect(unsafe_code, reason = "the calls are expected to be refused; what they get, nobody could use")]
fn try_call(call: c_long, arguments: [c_long; 3]) -> Value {
    let [first, second, third] = arguments;
    // SAFETY: numbers and null pointers only; nothing of this process's memory is named.
    let result = unsafe { libc::syscall(call, first, second, third, 0, 0, 0) };
    if result == -1 { json!(std::io::Error::last_os_error().raw_os_error()) } else { json!(result) }
}

pub fn calls() -> Value {
    let try_all = |calls: &[c_long]| -> BTreeMap<String, Value> {
        calls.iter().map(|call| (call.to_string(), try_call(*call, [0; 3]))).collect()
    };
    let absent = [
        libc::SYS_clone3,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_mbind,
        libc::SYS_set_mempolicy,
        libc::SYS_memfd_secret,
        libc::SYS_pkey_alloc,
        470,
        1000,
    ];
    json!({ "refused": try_all(tables::REFUSED), "absent": try_all(&absent), "judged": judged() })
}

fn judged() -> Value {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").map_or(-1, |socket| c_long::from(socket.as_raw_fd()));
    let number = |value: c_int| c_long::from(value);
    let typed = |request: u64| try_call(libc::SYS_ioctl, [0, c_long::try_from(request).unwrap_or(0), 0]);
    json!({
        "type_into_terminal": typed(libc::TIOCSTI),
        "paste_into_terminal": typed(libc::TIOCLINUX),
        "upper_half": typed(libc::TIOCSTI | 1 << 32),
        "udp_encapsulation": try_call(libc::SYS_setsockopt, [udp, number(libc::IPPROTO_UDP), number(libc::UDP_ENCAP)]),
        "old_personality": try_call(libc::SYS_personality, [number(libc::ADDR_NO_RANDOMIZE), 0, 0]),
        "limits_of_first": try_call(libc::SYS_prlimit64, [1, 0, 0]),
        "namespace_by_clone": clone_into_namespace(),
        "device": outcome(mknodat(CWD, "device", FileType::CharacterDevice, Mode::RWXU, rustix::fs::makedev(1, 3))),
    })
}

#[expect(unsafe_code, reason = "if it were not refused, there would be a child, which ends at once")]
fn clone_into_namespace() -> Value {
    // SAFETY: without a stack of its own, and without shared memory, this is a fork.
    let result = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0) };
    if result == 0 {
        // SAFETY: touches no memory and does not return.
        unsafe { libc::_exit(0) }
    }
    if result < 0 { json!(std::io::Error::last_os_error().raw_os_error()) } else { json!(result) }
}

/// What may be done with files, and what only the rules on files refuse, because mounts and users would let it be.
pub fn files(folder: &str) -> Value {
    let folder = Path::new(folder);
    json!({
        "write_folder": io_outcome(fs::write(folder.join("file"), "x")),
        "truncate": io_outcome(fs::OpenOptions::new().write(true).truncate(true).open(folder.join("file"))),
        "move_to_other_folder": io_outcome(fs::create_dir(folder.join("below")).and_then(|()| fs::rename(folder.join("file"), folder.join("below/file")))),
        "link": io_outcome(std::os::unix::fs::symlink("/", folder.join("link"))),
        "pipe": outcome(mknodat(CWD, folder.join("pipe"), FileType::Fifo, Mode::RWXU, 0)),
        "local_socket": io_outcome(UnixListener::bind(folder.join("socket"))),
        "shared_memory": io_outcome(fs::write("/dev/shm/memory", "x")),
        "write_null": io_outcome(fs::write("/dev/null", "x")),
        "spawn": io_outcome(Command::new("/probe").args(["exit", "0"]).stdout(Stdio::null()).status()),
        "execute_own": execute_copy(&folder.join("copy")),
        "execute_shared_memory": execute_copy(Path::new("/dev/shm/copy")),
        "write_proc": io_outcome(fs::write("/proc/self/comm", "x")),
        "signal_first": outcome(test_kill_process(Pid::INIT)),
        "abstract_socket": abstract_socket(),
    })
}

fn execute_copy(to: &Path) -> Value {
    let copied = || -> std::io::Result<()> {
        let mut copy = fs::File::create(to)?;
        copy.write_all(&fs::read("/proc/self/exe")?)?;
        copy.rewind()?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o700))
    };
    match copied() {
        Ok(()) => io_outcome(Command::new(to).args(["exit", "0"]).stdout(Stdio::null()).status()),
        Err(error) => json!(format!("not copied: {error}")),
    }
}

/// A local socket by an abstract name, which a test has opened in this network from outside the sandbox.
fn abstract_socket() -> Value {
    io_outcome(SocketAddr::from_abstract_name("outside").and_then(|address| UnixStream::connect_addr(&address)))
}
