//! Turning what the kernel says into a [`Failure`] that names the step, the fault and the way out.

use std::io::Write;

use jail::{Failure, Step};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A failure without the kernel's word.
pub fn failure(step: Step, message: impl Into<String>) -> Failure {
    Failure { step, errno: None, message: message.into() }
}

/// A line for the gateway's log. One that can't be taken at once is lost: whoever reads the log must not hold up who writes it.
pub fn say(text: &str) {
    let log = std::io::stderr();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut [PollFd::new(&log, PollFlags::OUT)], Some(&now)) == Ok(1) {
        let _lost = writeln!(log.lock(), "hexward-jail: {text}");
    }
}

/// Adds the step and a sentence to an error of the system.
pub trait Because<T> {
    fn because(self, step: Step, message: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Because<T> for Result<T, Errno> {
    fn because(self, step: Step, message: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|errno| Failure { step, errno: Some(errno.raw_os_error()), message: message() })
    }
}

impl<T> Because<T> for std::io::Result<T> {
    fn because(self, step: Step, message: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure { step, errno: error.raw_os_error(), message: message() })
    }
}
