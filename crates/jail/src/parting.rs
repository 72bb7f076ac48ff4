//! What a process that gives root up must not keep of whoever started it: open files, the terminal, the keys.
//!
//! Beside the program's own `sys.rs` the one place with `unsafe`: calls into the kernel that no safe wrapper offers.

use std::ffi::{CStr, c_uint};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::isatty;

/// Closes every file but the three standard streams. For the first lines of a program, which has opened nothing yet.
///
/// # Errors
/// If the kernel can't.
pub fn close_inherited_files() -> io::Result<()> {
    const FIRST: c_uint = 3;
    // SAFETY: the caller owns no descriptor yet, so none that is owned becomes invalid.
    checked(i64::from(unsafe { libc::close_range(FIRST, c_uint::MAX, 0) }))
}

/// Leaves the terminal that this process was started at, if there is one: what it writes still appears and its keys still
/// interrupt, but nothing can be typed into it or read from it. Leaves the session's keys, too.
///
/// # Errors
/// What could not be left.
pub fn leave_session() -> io::Result<()> {
    dup2_stdin(File::open("/dev/null")?)?;
    let (out, err) = (io::stdout(), io::stderr());
    if isatty(&out) {
        dup2_stdout(only_to_write(c"/proc/self/fd/1")?)?;
    }
    if isatty(&err) {
        dup2_stderr(only_to_write(c"/proc/self/fd/2")?)?;
    }
    leave_terminal()?;
    leave_keyring()
}

fn only_to_write(path: &CStr) -> io::Result<File> {
    let path = path.to_str().map_err(io::Error::other)?;
    OpenOptions::new().write(true).custom_flags(libc::O_NOCTTY).open(path)
}

/// A process that leads its session has a terminal that was made for it, which nobody else sits at.
fn leave_terminal() -> io::Result<()> {
    // SAFETY: numbers only.
    let leads = unsafe { libc::getsid(0) == libc::getpid() };
    let terminal = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open("/dev/tty");
    match terminal {
        Ok(terminal) if !leads => {
            // SAFETY: this request takes no memory.
            checked(i64::from(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCNOTTY) }))
        }
        // There is none.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Leaves the caller's session keyring, whose keys anyone below it may read, for a new and empty one.
///
/// # Errors
/// If the kernel has keys and makes no keyring.
pub fn leave_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    match checked(result) {
        // A kernel without keys has none to read.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        left => left,
    }
}

fn checked(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
