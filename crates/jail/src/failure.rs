//! Turning what the kernel says into a [`Failure`] that names the step, the fault and the way out.

use jail::{Failure, Step};
use rustix::io::Errno;

/// A failure without the kernel's word.
pub fn failure(step: Step, message: impl Into<String>) -> Failure {
    Failure { step, errno: None, message: message.into() }
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
