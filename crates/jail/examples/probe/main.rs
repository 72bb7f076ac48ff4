//! What the tests execute inside sandboxes: says in JSON what it sees and what it may do. Not part of the product.

mod sockets;
mod wall;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Resource, Rlimit, Signal, chroot, getrlimit, kill_process, pivot_root, prlimit};
use rustix::thread::{CapabilitySet, UnshareFlags, capability_is_in_bounding_set};
use serde_json::{Value, json};

const NETWORK_WAIT: Duration = Duration::from_secs(5);
const LINGER: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match words.as_slice() {
        ["facts", ..] => facts(),
        ["attack", ..] => json!({ "attacks": attack(), "sockets": sockets::odd(), "calls": odd_calls() }),
        ["sockets", ..] => json!({ "odd": sockets::odd(), "calls": odd_calls(), "plain": sockets::plain() }),
        ["calls", ..] => wall::calls(),
        ["files", folder] => {
            // Until the test has prepared what is around.
            let _line = std::io::stdin().read_line(&mut String::new());
            wall::files(folder)
        }
        ["strange-call", which] => strange_call(which),
        ["forbid-filters", program] => forbid_filters(program),
        ["connect", addresses @ ..] => addresses.iter().map(|address| connect(address)).collect(),
        ["ask", address] => ask(address),
        ["allocate", megabytes] => allocate(megabytes.parse().unwrap_or(0)),
        ["hoard", kind, megabytes] => sockets::hoard(kind, megabytes.parse().unwrap_or(0)),
        ["processes", most] => processes(most.parse().unwrap_or(0)),
        ["fill", path, megabytes] => fill(path, megabytes.parse().unwrap_or(0)),
        ["create", path, most] => create(path, most.parse().unwrap_or(0)),
        ["read", paths @ ..] => paths.iter().map(|path| read(path)).collect(),
        ["linger", id] => linger(id),
        ["sleep", ..] => sleep(),
        ["burn"] => burn(),
        ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap_or(1)),
        ["die"] => outcome(kill_process(rustix::process::getpid(), Signal::TERM)),
        _ => json!("no such probe"),
    };
    println!("{answer}");
    ExitCode::SUCCESS
}

fn outcome<T>(result: Result<T, Errno>) -> Value {
    result.map_or_else(|errno| json!(errno.raw_os_error()), |_| json!("done"))
}

fn io_outcome<T>(result: std::io::Result<T>) -> Value {
    result.map_or_else(|error| json!(error.raw_os_error()), |_| json!("done"))
}

fn names(folder: &str) -> Value {
    let mut names: Vec<String> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into()).collect();
    names.sort();
    json!(names)
}

/// Which namespaces this process is in, by kind.
fn namespaces() -> BTreeMap<String, String> {
    let link =
        |kind: &str| Some((kind.to_owned(), fs::read_link(format!("/proc/self/ns/{kind}")).ok()?.to_string_lossy().into()));
    ["user", "pid", "mnt", "net", "uts", "ipc", "cgroup"].into_iter().filter_map(link).collect()
}

fn status() -> BTreeMap<String, String> {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

#[expect(clippy::disallowed_methods, reason = "what the environment is, is the question")]
fn facts() -> Value {
    let present: BTreeMap<&str, bool> =
        ["/etc/shadow", "/root", "/home", "/sys", "/run", "/var", "/boot", "/proc/sys", "/proc/kcore"]
            .into_iter()
            .map(|path| (path, fs::symlink_metadata(path).is_ok()))
            .collect();
    let links: Vec<String> = [0, 1, 2]
        .iter()
        .map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).map(|link| link.to_string_lossy().into()).unwrap_or_default())
        .collect();
    let limit = |resource| json!(getrlimit(resource).maximum);
    json!({
        "pid": std::process::id(),
        "session": session(),
        "status": status(),
        "bounding": (0..41).filter(|n| capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << n)) == Ok(true)).count(),
        "env": std::env::vars().collect::<BTreeMap<_, _>>(),
        "fds": names("/proc/self/fd"),
        "streams": links,
        "processes": names("/proc"),
        "root": names("/"),
        "dev": names("/dev"),
        "cwd": std::env::current_dir().unwrap_or_default(),
        "hostname": rustix::system::uname().nodename().to_string_lossy(),
        "interfaces": fs::read_to_string("/proc/self/net/dev").unwrap_or_default(),
        "mounts": fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
        "namespaces": namespaces(),
        "uid_map": fs::read_to_string("/proc/self/uid_map").unwrap_or_default(),
        "present": present,
        "keyring": session_keyring(),
        "limits": {"core": limit(Resource::Core), "nofile": limit(Resource::Nofile), "fsize": limit(Resource::Fsize)},
        "devices_work": fs::read("/dev/null").is_ok_and(|bytes| bytes.is_empty())
            && fs::write("/dev/null", "x").is_ok()
            && fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut [0; 16])).is_ok(),
    })
}

#[expect(unsafe_code, reason = "the call is expected to be refused, and if not, one thread shares nothing")]
fn unshare(flags: UnshareFlags) -> Value {
    // SAFETY: descriptors are not unshared.
    outcome(unsafe { rustix::thread::unshare_unsafe(flags) })
}

#[expect(unsafe_code, reason = "ptrace has no safe wrapper")]
fn trace_first_process() -> Value {
    // SAFETY: attaching to another process touches no memory of this one.
    let result = unsafe { libc::ptrace(libc::PTRACE_ATTACH, 1, 0, 0) };
    if result == 0 { json!("done") } else { json!(std::io::Error::last_os_error().raw_os_error()) }
}

#[expect(unsafe_code, reason = "keyctl has no safe wrapper")]
fn session_keyring() -> Value {
    const GET_KEYRING_ID: i32 = 0;
    const SESSION: i32 = -3;
    // SAFETY: numbers only.
    json!(unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, SESSION, 1) })
}

/// The session's leader: 0 where that is outside of this process namespace, which the safe wrapper takes for impossible.
#[expect(unsafe_code, reason = "getsid's safe wrapper asserts that the leader has a number")]
fn session() -> i32 {
    // SAFETY: numbers only.
    unsafe { libc::getsid(0) }
}

/// Everything here has to fail. Error numbers are told, so that a test can know why.
fn attack() -> Value {
    let none: Option<&std::ffi::CStr> = None;
    let first = Pid::INIT;
    let remount = MountFlags::BIND | MountFlags::NOSUID;
    json!({
        "bind_tcp_80": io_outcome(TcpListener::bind("127.0.0.1:80")),
        "bind_tcp_443_any": io_outcome(TcpListener::bind("[::]:443")),
        "bind_tcp_1000": io_outcome(TcpListener::bind("0.0.0.0:1000")),
        "bind_udp_53": io_outcome(UdpSocket::bind("8.8.8.8:53")),
        "unshare_user": unshare(UnshareFlags::NEWUSER),
        "unshare_net": unshare(UnshareFlags::NEWNET),
        "unshare_mount": unshare(UnshareFlags::NEWNS),
        "unshare_pid": unshare(UnshareFlags::NEWPID),
        "mount_tmpfs": outcome(mount("tmpfs", "/space", "tmpfs", MountFlags::empty(), none)),
        "remount_root": outcome(rustix::mount::mount_remount("/", remount, "")),
        "unmount_proc": outcome(unmount("/proc", UnmountFlags::DETACH)),
        "pivot_root": outcome(pivot_root(".", ".")),
        "chroot": outcome(chroot(".")),
        "device": outcome(mknodat(CWD, "device", FileType::CharacterDevice, Mode::RWXU, rustix::fs::makedev(1, 1))),
        "hostname": outcome(rustix::system::sethostname(b"mine")),
        "kill_first_effect": first_process_survives(),
        "limit_first": outcome(prlimit(Some(first), Resource::Cpu, Rlimit { current: Some(0), maximum: Some(0) })),
        "trace_first": trace_first_process(),
        "first_root": io_outcome(fs::read_dir("/proc/1/root")),
        "first_memory": io_outcome(fs::File::open("/proc/1/mem")),
        "become_root": outcome(rustix::thread::set_thread_uid(rustix::process::Uid::ROOT)),
        "write_root": io_outcome(fs::write("/made", "x")),
        "write_usr": io_outcome(fs::write("/usr/made", "x")),
        "write_dev": io_outcome(fs::write("/dev/made", "x")),
        "chmod_null": io_outcome(fs::set_permissions("/dev/null", std::os::unix::fs::PermissionsExt::from_mode(0o600))),
        "raise_files": outcome(rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(1 << 19), maximum: Some(1 << 19) })),
        "send_raw": outcome(rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::RAW, None)),
    })
}

/// Calls that go around a filter: an error number, or the signal that the caller died of.
#[expect(unsafe_code, reason = "the calls are expected to be refused")]
fn odd_calls() -> Value {
    let mut parameters = [0_u64; 15];
    // SAFETY: the parameters (120 bytes) outlive the call.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
    let ring = if ring < 0 { json!(std::io::Error::last_os_error().raw_os_error()) } else { json!("done") };
    let mut calls = BTreeMap::from([("io_uring", ring)]);
    if cfg!(target_arch = "x86_64") {
        calls.extend(["x32", "i386"].map(|which| (which, died_of(which))));
    }
    json!(calls)
}

fn died_of(which: &str) -> Value {
    let own = std::env::current_exe().unwrap_or_default();
    let status = Command::new(own).args(["strange-call", which]).stdout(Stdio::null()).status();
    status.map_or_else(|error| json!(error.to_string()), |status| json!(status.signal()))
}

/// Asks for the own process number in a way that is not this architecture's.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the calls have no safe wrapper")]
fn strange_call(which: &str) -> Value {
    const X32_GETPID: i64 = 0x4000_0000 | 39;
    const I386_GETPID: i32 = 20;
    if which == "x32" {
        // SAFETY: no memory is passed.
        return json!(unsafe { libc::syscall(X32_GETPID) });
    }
    let mut number = I386_GETPID;
    // SAFETY: no memory is passed; the kernel changes the one register, and r8 to r11 in old versions.
    unsafe { std::arch::asm!("int 0x80", inout("eax") number, out("r8") _, out("r9") _, out("r10") _, out("r11") _) };
    json!(number)
}

#[cfg(not(target_arch = "x86_64"))]
fn strange_call(which: &str) -> Value {
    json!(format!("no {which} here"))
}

/// Becomes a program around which no filter can be installed, as in a strict container.
#[expect(unsafe_code, reason = "filters have no safe wrapper")]
fn forbid_filters(program: &str) -> Value {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k };
    let seccomp = u32::try_from(libc::SYS_seccomp).unwrap_or(0);
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, seccomp),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, refused),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    if rustix::thread::set_no_new_privs(true).is_err() {
        return json!("no_new_privs");
    }
    // SAFETY: the head and its four instructions outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if result == 0 { json!(Command::new(program).exec().to_string()) } else { json!("refused") }
}

/// Signals to the first process must be without effect; that this line is reached at all is the proof.
fn first_process_survives() -> Value {
    let results = [Signal::KILL, Signal::TERM, Signal::STOP].map(|signal| kill_process(Pid::INIT, signal).is_ok());
    std::thread::sleep(Duration::from_millis(20));
    json!({ "sent": results })
}

fn connect(address: &str) -> Value {
    let Ok(parsed) = address.parse::<SocketAddr>() else { return json!("no address") };
    match TcpStream::connect_timeout(&parsed, NETWORK_WAIT) {
        Err(error) => json!(error.raw_os_error()),
        Ok(mut stream) => {
            let mut text = String::new();
            let talk = stream.set_read_timeout(Some(NETWORK_WAIT)).and_then(|()| stream.write_all(address.as_bytes()));
            match talk.and_then(|()| stream.read_to_string(&mut text)) {
                Ok(_) => json!(text),
                Err(error) => json!(error.to_string()),
            }
        }
    }
}

/// One datagram out, one back; says who the answer came from.
fn ask(address: &str) -> Value {
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let talk = || -> std::io::Result<String> {
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(NETWORK_WAIT))?;
        socket.connect(address)?; // so that an answer from elsewhere is not taken
        socket.send(b"question")?;
        let mut buffer = [0; 64];
        let count = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into())
    };
    talk().map_or_else(|error| json!(error.to_string()), |answer| json!(answer))
}

fn allocate(megabytes: usize) -> Value {
    let mut held = Vec::new();
    for _ in 0..megabytes {
        held.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&held);
    }
    json!(held.len())
}

fn processes(most: usize) -> Value {
    let mut children = Vec::new();
    let mut error = None;
    for _ in 0..most {
        match Command::new("/probe").arg("sleep").stdout(Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(refused) => {
                error = refused.raw_os_error();
                break;
            }
        }
    }
    let made = children.len();
    for mut child in children {
        if child.kill().is_ok() {
            let _status = child.wait();
        }
    }
    json!({ "made": made, "errno": error })
}

fn fill(path: &str, megabytes: usize) -> Value {
    let Ok(mut file) = fs::File::create(path) else { return json!("not created") };
    let block = vec![7_u8; 1 << 20];
    for written in 0..megabytes {
        if let Err(error) = file.write_all(&block) {
            return json!({ "written": written, "errno": error.raw_os_error() });
        }
    }
    json!({ "written": megabytes, "errno": null })
}

fn create(path: &str, most: usize) -> Value {
    for made in 0..most {
        if let Err(error) = fs::write(Path::new(path).join(made.to_string()), "") {
            return json!({ "made": made, "errno": error.raw_os_error() });
        }
    }
    json!({ "made": most, "errno": null })
}

fn read(path: &str) -> Value {
    let content = fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    let (mode, owner) = fs::metadata(path).map_or((0, 0), |data| (data.mode() & 0o7777, data.uid()));
    json!({ "content": content, "mode": mode, "owner": owner, "append": io_outcome(fs::OpenOptions::new().append(true).open(path)) })
}

/// Leaves a child in a session of its own behind, and waits itself.
fn linger(id: &str) -> Value {
    let child = Command::new("/probe").args(["sleep", id]).process_group(0).stdout(Stdio::null()).spawn();
    println!("{}", json!(child.is_ok()));
    sleep()
}

/// Uses up a processor.
fn burn() -> Value {
    let begun = std::time::Instant::now();
    while begun.elapsed() < LINGER {
        std::hint::black_box(begun);
    }
    json!(null)
}

fn sleep() -> Value {
    std::thread::sleep(LINGER);
    json!(null)
}
