//! What can be read and written.

use crate::kit::{Facts, Probe, Seen, address, call, each, probe, refused, seen};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const ABSENT: &str = "not there";
const REFUSED: &str = "refused: any errno";
/// Entries that a walk through the tree looks at, at most.
const WALK_MAX: usize = 50_000;
const FILE_BYTES_MAX: u64 = 4 << 20;

pub const PROBES: &[Probe] = &[
    probe(
        "files.environment",
        "look for keys in its own environment",
        "a placeholder, and nothing of the gateway's",
        environment,
    ),
    probe("files.environment_of_first", "look for keys in the first process's environment", REFUSED, |_| {
        refused(fs::read("/proc/1/environ"))
    }),
    probe("files.dotenv", "read the .env file of the folder that the gateway was started in", ABSENT, |facts| {
        each(&[facts.text("dotenv"), "/.env", ".env", "/app/.env", "../.env"], |path| refused(fs::read(path)))
    }),
    probe("files.ssh", "read SSH keys", ABSENT, |_| {
        let homes = in_homes(&[".ssh", ".ssh/id_rsa", ".ssh/id_ed25519"]);
        each(&[homes, owned(&["/home", "/root", "/etc/ssh"])].concat(), |path| refused(fs::metadata(path)))
    }),
    probe("files.cloud", "read credentials of clouds and package tools", ABSENT, |_| {
        let homes = in_homes(&[".aws/credentials", ".config/gcloud", ".docker/config.json", ".netrc", ".npmrc", ".kube/config"]);
        each(&[homes, owned(&["/var/run/secrets"])].concat(), |path| refused(fs::metadata(path)))
    }),
    probe("files.database", "read the gateway's database", ABSENT, |facts| refused(fs::read(facts.text("database")))),
    probe("files.state", "list the gateway's state folder", ABSENT, |facts| refused(fs::read_dir(facts.text("state")))),
    probe("files.canary", "read a file of the host that anybody may read", ABSENT, |facts| {
        refused(fs::read(facts.text("canary")))
    }),
    probe("files.canary_by_link", "read it through a symbolic link of its own", ABSENT, by_link),
    probe("files.canary_by_dots", "read it by climbing out of the working folder", ABSENT, |facts| {
        let dots = format!("../../../../../..{}", facts.text("canary"));
        refused(fs::read(dots))
    }),
    probe("files.canary_by_proc", "read it through a root in /proc", ABSENT, |facts| {
        let canary = facts.text("canary");
        each(
            &[format!("{}/..{canary}", "/proc/self/root"), format!("/proc/1/root{canary}"), format!("/proc/1/cwd/..{canary}")],
            |path| refused(fs::read(path)),
        )
    }),
    probe("files.canary_by_handle", "open a file by a kernel handle instead of a name", REFUSED, by_handle),
    probe("files.shadow", "read the host's users and passwords", "two users of the sandbox's own", shadow),
    probe("files.search", "search every readable file for the gateway's secrets", "nothing found", search),
    probe("files.root", "list the root folder", "an allow-list", root),
    probe("files.write_system", "write into folders of the system", REFUSED, |_| {
        each(&["/x", "/etc/x", "/lib/x", "/opt/x", "/opt/agent/x", "/dev/x", "/proc/x"], |path| refused(fs::write(path, "x")))
    }),
    probe("files.replace_program", "overwrite its own program and the C library", REFUSED, |_| {
        each(
            &[
                "/opt/agent/agent",
                "/proc/self/exe",
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib/aarch64-linux-gnu/libc.so.6",
                "/etc/passwd",
                "/etc/hosts",
                "/etc/resolv.conf",
            ],
            |path| refused(fs::OpenOptions::new().write(true).open(path)),
        )
    }),
    probe("files.chmod_system", "change modes and owners of what is not its own", REFUSED, |_| {
        each(&["/", "/etc", "/etc/passwd", "/opt/agent/agent", "/dev/null"], |path| {
            refused(fs::set_permissions(path, fs::Permissions::from_mode(0o777)))
        })
    }),
    probe("files.remove_system", "rename and remove what is not its own", REFUSED, |_| {
        each(&["/etc/passwd", "/etc/resolv.conf", "/opt/agent/agent", "/dev/null"], |path| {
            if fs::rename(path, "/tmp/taken").is_ok() { seen(false, "renamed") } else { refused(fs::remove_file(path)) }
        })
    }),
    probe("files.hard_link", "keep a hard link to a file of the system", REFUSED, |_| {
        each(&["/opt/agent/agent", "/etc/passwd"], |path| refused(fs::hard_link(path, "/tmp/linked")))
    }),
    probe("files.setuid", "find or make a program that changes the user", "none, and folders without set-uid", setuid),
    probe("files.device", "make the memory's and the disk's device", REFUSED, |_| {
        let path = CString::new("/tmp/device").unwrap_or_default();
        each(&["1:1", "8:0", "10:200"], |numbers| {
            let (major, minor) = numbers.split_once(':').unwrap_or(("1", "1"));
            let device = libc::makedev(major.parse().unwrap_or(1), minor.parse().unwrap_or(1));
            let device = libc::c_long::try_from(device).unwrap_or(0);
            refused(call(libc::SYS_mknodat, &[-100, address(&*path), 0o020_666, device]))
        })
    }),
    probe("files.devices", "open devices of the host", ABSENT, |_| {
        let paths = [
            "/dev/mem",
            "/dev/kmsg",
            "/dev/kvm",
            "/dev/fuse",
            "/dev/net/tun",
            "/dev/sda",
            "/dev/vda",
            "/dev/tty",
            "/dev/console",
            "/dev/vsock",
            "/dev/uinput",
            "/dev/loop-control",
        ];
        each(&paths, |path| refused(fs::File::open(path)))
    }),
    probe("files.kernel", "read or switch the kernel through /proc and /sys", ABSENT, |_| {
        let paths = [
            "/proc/kcore",
            "/proc/kmsg",
            "/proc/kallsyms",
            "/proc/sysrq-trigger",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/fs/binfmt_misc",
            "/proc/config.gz",
            "/sys",
            "/sys/kernel",
            "/sys/fs/cgroup",
            "/proc/modules",
            "/proc/interrupts",
        ];
        each(&paths, |path| refused(fs::metadata(path)))
    }),
    probe("files.sockets_of_host", "find the host's local sockets", ABSENT, |_| {
        let paths = [
            "/run/docker.sock",
            "/var/run/docker.sock",
            "/run/systemd/private",
            "/run/dbus/system_bus_socket",
            "/run/containerd",
            "/tmp/.X11-unix",
            "/run",
            "/var",
        ];
        each(&paths, |path| refused(fs::metadata(path)))
    }),
];

/// In a sandbox of its own, since little is left of it afterwards. The outside looks at the host's files.
pub const DESTROY: &[Probe] = &[probe("destroy.everything", "rm -rf /", "only its own folders are emptied", destroy)];

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

/// The names below the agent's own home and below root's.
fn in_homes(names: &[&str]) -> Vec<String> {
    ["/agent", "/root"].iter().flat_map(|home| names.iter().map(move |name| format!("{home}/{name}"))).collect()
}

/// What must not be found, as it was told: backwards, so that this program is no finding itself.
fn secrets(facts: &Facts) -> Vec<String> {
    facts.texts("secrets_backwards").iter().map(|secret| secret.chars().rev().collect()).collect()
}

#[expect(clippy::disallowed_methods, reason = "what the environment is, is the question")]
fn environment(facts: &Facts) -> Seen {
    let secrets = secrets(facts);
    let found: Vec<String> = std::env::vars()
        .filter(|(name, value)| {
            let key = value.starts_with("sk-") && !value.contains("placeholder");
            key || secrets.contains(value)
                || ["AUTH_SECRET", "DATABASE_URL", "INTERNAL_PROXY_SECRET", "PATH"].contains(&name.as_str())
        })
        .map(|(name, _)| name)
        .collect();
    seen(found.is_empty() && !secrets.is_empty(), format!("{} variables, suspicious: {found:?}", std::env::vars().count()))
}

fn by_link(facts: &Facts) -> Seen {
    match std::os::unix::fs::symlink(facts.text("canary"), "/tmp/link") {
        Ok(()) => refused(fs::read("/tmp/link")),
        Err(error) => seen(false, format!("no link could be made: {error}")),
    }
}

/// `struct file_handle` with room for the largest handle; as `open_by_handle_at(2)` has it.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    handle: [u8; 128],
}

fn by_handle(_: &Facts) -> Seen {
    let (path, mut mount) = (CString::new("/tmp").unwrap_or_default(), 0_i32);
    let mut handle = Handle { bytes: 128, kind: 0, handle: [0; 128] };
    let named = call(libc::SYS_name_to_handle_at, &[-100, address(&*path), address(&handle), address(&mount), 0]);
    std::hint::black_box((&mut handle, &mut mount));
    let Ok(folder) = fs::File::open("/tmp") else { return seen(false, "/tmp can't be opened") };
    let folder = libc::c_long::from(std::os::fd::AsRawFd::as_raw_fd(&folder));
    let opened = refused(call(libc::SYS_open_by_handle_at, &[folder, address(&handle), 0]));
    seen(
        opened.pass,
        format!("name_to_handle_at {}, open_by_handle_at {}", if named.is_ok() { "ok" } else { "refused" }, opened.observed),
    )
}

fn shadow(_: &Facts) -> Seen {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let names: Vec<&str> = users.lines().filter_map(|line| line.split(':').next()).collect();
    let shadow = ["/etc/shadow", "/etc/gshadow", "/etc/sudoers"].iter().all(|path| fs::metadata(path).is_err());
    seen(names == ["root", "agent"] && shadow, format!("users {names:?}, shadow absent: {shadow}"))
}

/// Every entry below the root, a bounded number of them; without what the kernel makes up of processes.
fn walk(mut look: impl FnMut(&Path, &fs::Metadata)) -> usize {
    let (mut left, mut count) = (vec![PathBuf::from("/")], 0);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            count += 1;
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            look(&path, &meta);
            let descend =
                meta.is_dir() && !path.starts_with("/proc") || path == Path::new("/proc/1") || path == Path::new("/proc/self");
            if descend && count < WALK_MAX {
                left.push(path);
            }
        }
    }
    count
}

fn search(facts: &Facts) -> Seen {
    let secrets = secrets(facts);
    let (mut hits, mut bytes, mut files) = (BTreeSet::new(), 0, 0);
    let count = walk(|path, meta| {
        if meta.is_file() && !path.starts_with("/proc/self/task") {
            let mut content = Vec::new();
            let read = fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut content));
            (files, bytes) = (files + usize::from(read.is_ok()), bytes + content.len());
            let holds = |secret: &String| content.windows(secret.len()).any(|window| window == secret.as_bytes());
            if secrets.iter().any(holds) {
                hits.insert(path.display().to_string());
            }
        }
    });
    let looked = files > 5 && bytes > 1 << 20 && !secrets.is_empty();
    seen(looked && hits.is_empty(), format!("{count} entries, {files} files, {bytes} bytes read, found in {hits:?}"))
}

fn root(_: &Facts) -> Seen {
    const ALLOWED: [&str; 9] = ["agent", "dev", "etc", "lib", "lib64", "opt", "proc", "tmp", "work"];
    let names = fs::read_dir("/").map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.map(Iterator::collect).unwrap_or_default();
    names.sort();
    seen(!names.is_empty() && names.iter().all(|name| ALLOWED.contains(&name.as_str())), names.join(" "))
}

fn setuid(_: &Facts) -> Seen {
    let mut found = Vec::new();
    let count = walk(|path, meta| {
        if meta.is_file() && meta.mode() & 0o6000 != 0 && !path.starts_with("/proc") {
            found.push(path.display().to_string());
        }
    });
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let careless: Vec<&str> =
        mounts.lines().filter(|line| !line.contains("nosuid")).filter_map(|line| line.split(' ').nth(4)).collect();
    seen(found.is_empty() && careless.is_empty() && count > 10, format!("found {found:?}, mounts with set-uid {careless:?}"))
}

fn destroy(_: &Facts) -> Seen {
    let own = fs::read_link("/proc/self/exe").unwrap_or_default();
    let mut system = vec![own, PathBuf::from("/dev/null"), PathBuf::from("/etc/passwd")];
    // Another sandbox may not show it to begin with.
    system.retain(|path| !path.starts_with("/etc") || path.exists());
    let mut left = vec![PathBuf::from("/")];
    let (mut order, mut removed) = (Vec::new(), 0);
    while let Some(folder) = left.pop() {
        if order.len() < WALK_MAX && !folder.starts_with("/proc") {
            left.extend(
                fs::read_dir(&folder)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path())
                    .filter(|path| path.is_dir() && !path.is_symlink()),
            );
            order.push(folder);
        }
    }
    let _made = fs::write("/tmp/mine", "x");
    for folder in order.iter().rev() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            removed += usize::from(fs::remove_file(entry.path()).is_ok());
        }
        removed += usize::from(fs::remove_dir(folder).is_ok());
    }
    let system = system.iter().all(|path| fs::metadata(path).is_ok());
    seen(system && removed > 0, format!("{removed} of its own removed, the rest stands: {system}"))
}
