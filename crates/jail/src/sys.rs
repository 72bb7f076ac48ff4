//! Every `unsafe` block of the program: calls into the kernel that no safe wrapper offers.
//!
//! Invariant: the program is single-threaded from start to end, in every process it forks. So after [`fork`] ordinary
//! code is fine: no lock can be held by a thread that the child does not have.

use std::ffi::{CStr, CString, c_int, c_uint, c_ushort};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Which side of a fork this is.
pub enum Forked {
    Child,
    Parent(Pid),
}

fn check(result: c_int) -> Result<c_int, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

pub fn fork() -> Result<Forked, Errno> {
    // SAFETY: the program is single-threaded, so the child has every thread and lock that its memory speaks of.
    let pid = check(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid).map_or(Forked::Child, Forked::Parent))
}

/// Leaves at once, without running anything on the way out that belongs to the forking process.
pub fn exit_now(code: c_int) -> ! {
    // SAFETY: `_exit` takes any code, touches no memory and does not return.
    unsafe { libc::_exit(code) }
}

pub fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: unsafe only for sharing of descriptors between threads; there is one thread, and FILES is never passed.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Marks every descriptor from `first` on to be closed by `execve`.
pub fn close_from_on_exec(first: c_uint) -> Result<(), Errno> {
    let flags = c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).map_err(|_| Errno::INVAL)?;
    // SAFETY: with this flag nothing is closed now, so no owned descriptor becomes invalid.
    check(unsafe { libc::close_range(first, c_uint::MAX, flags) }).map(|_| ())
}

/// Closes the standard streams and everything from 3 on but `keep`, for a process that lives on without them.
pub fn close_all_but(keep: &impl AsRawFd) -> Result<(), Errno> {
    let keep = c_uint::try_from(keep.as_raw_fd()).map_err(|_| Errno::BADF)?;
    let below = keep.checked_sub(1).map(|last| (0, last));
    for (first, last) in below.into_iter().chain([(keep.saturating_add(1), c_uint::MAX)]) {
        // SAFETY: called by the sandbox's first process just before its waiting loop, which uses `keep` alone and ends in
        // `exit_now`, so no owner of another descriptor ever acts again.
        check(unsafe { libc::close_range(first, last, 0) })?;
    }
    Ok(())
}

/// `execve(2)`. Comes back only to say why not.
pub fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: the texts outlive the call and end in NUL, the two lists in a null pointer.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    last_errno()
}

/// Puts a filter before every further system call of this process (seccomp(2)). Takes no_new_privs.
pub fn filter_calls(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let len = c_ushort::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel only reads, and only during the call: a head that outlives it, and `len` instructions behind it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// The kernel's version of Landlock (landlock_create_ruleset(2)).
pub fn landlock_version() -> Result<u32, Errno> {
    const VERSION: c_uint = 1;
    // SAFETY: this flag asks with a null pointer and no size; no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u64>(), 0_usize, VERSION) };
    u32::try_from(result).map_err(|_| last_errno())
}

/// A new set of Landlock's rules, for these rights on files and these scopes. Old kernels know no scopes, nor that a set
/// may have a field for them.
pub fn landlock_rules(files: u64, scopes: u64, knows_scopes: bool) -> Result<OwnedFd, Errno> {
    // `struct landlock_ruleset_attr`: files, network, scopes.
    let attributes = [files, 0, scopes];
    let size = if knows_scopes { size_of_val(&attributes) } else { size_of::<u64>() };
    // SAFETY: the kernel reads `size` bytes, which outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attributes.as_ptr(), size, 0) };
    let fd = c_int::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(last_errno)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Grants rights on a file, or on everything below a folder.
pub fn landlock_grant(rules: impl AsFd, beneath: impl AsFd, rights: u64) -> Result<(), Errno> {
    const PATH_BENEATH: c_int = 1;
    #[repr(C, packed)]
    struct PathBeneath {
        rights: u64,
        parent: c_int,
    }
    let rule = PathBeneath { rights, parent: beneath.as_fd().as_raw_fd() };
    let rules = rules.as_fd().as_raw_fd();
    // SAFETY: the kernel reads the twelve bytes of `struct landlock_path_beneath_attr`, which outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules, PATH_BENEATH, &raw const rule, 0) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Puts this process under rules, for good. Takes no_new_privs.
pub fn landlock_restrict(rules: impl AsFd) -> Result<(), Errno> {
    // SAFETY: numbers only.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_fd().as_raw_fd(), 0) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Gives every signal its default action and lets it through, as a fresh program expects.
pub fn reset_signals() {
    // The C library keeps two signals to itself and would leave them as they are, so the kernel is asked directly:
    // `struct sigaction` (action, flags, restorer, mask) and the mask, all zero.
    const MASK_BYTES: usize = 8;
    let default = [0_u64; 4];
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: the default action runs no code of ours; for numbers that can't be changed the call only fails.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0, MASK_BYTES) };
    }
    // SAFETY: the mask is read from eight bytes that outlive the call.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, default.as_ptr(), 0, MASK_BYTES) };
}

/// The supervisor ends when its control socket closes and for no other reason, so that an interrupted terminal or a
/// service manager's signal to the whole group can't take it away before it has cleaned up.
pub fn ignore_termination() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: ignoring runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// `mount_setattr(2)`, Linux 5.12, on the mount behind a descriptor, or on the whole tree of mounts below it, which from
/// then on neither tells nor hears of changes elsewhere.
pub fn mount_add_flags(mount: impl AsFd, flags: u64, recursive: bool) -> Result<(), Errno> {
    let attributes = libc::mount_attr { attr_set: flags, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    mount_set(mount, &attributes, recursive)
}

/// Lets the mount behind a descriptor, which nothing else has seen yet, show its users as `users` maps them.
pub fn mount_map_users(mount: impl AsFd, flags: u64, users: impl AsRawFd) -> Result<(), Errno> {
    let userns_fd = u64::try_from(users.as_raw_fd()).map_err(|_| Errno::BADF)?;
    let attributes = libc::mount_attr { attr_set: flags | libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
    mount_set(mount, &attributes, false)
}

fn mount_set(mount: impl AsFd, attributes: &libc::mount_attr, recursive: bool) -> Result<(), Errno> {
    let at_flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal, and the attributes outlive the call with their true size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            at_flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Sets a socket option that is a switch.
pub fn switch_on(socket: impl AsFd, level: c_int, option: c_int) -> Result<(), Errno> {
    let on: c_int = 1;
    let size = libc::socklen_t::try_from(size_of::<c_int>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the value outlives the call and its true size is given.
    check(unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const on).cast(), size) }).map(|_| ())
}
