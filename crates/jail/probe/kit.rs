//! What probes are made of: a row of the table, what was seen, and the bare system call.

use libc::c_long;
use serde_json::Value;
use std::fmt::Debug;
use std::io;

/// One attack, or one thing that has to work.
pub struct Probe {
    pub id: &'static str,
    pub title: &'static str,
    pub expected: &'static str,
    pub run: fn(&Facts) -> Seen,
}

/// What came of it.
pub struct Seen {
    pub observed: String,
    pub pass: bool,
}

/// What the outside knows and an attacker might have learnt.
pub struct Facts(Value);

impl Facts {
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn numbers(&self, name: &str) -> Vec<i64> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_i64).collect()
    }

    pub fn texts(&self, name: &str) -> Vec<String> {
        let list = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

pub const fn probe(id: &'static str, title: &'static str, expected: &'static str, run: fn(&Facts) -> Seen) -> Probe {
    Probe { id, title, expected, run }
}

pub fn seen(pass: bool, observed: impl Into<String>) -> Seen {
    Seen { pass, observed: observed.into() }
}

/// An attack that must fail.
pub fn refused<T>(result: io::Result<T>) -> Seen {
    match result {
        Ok(_) => seen(false, "it worked"),
        Err(error) => seen(true, says(&error)),
    }
}

/// Something that must work.
pub fn works<T: Debug>(result: io::Result<T>) -> Seen {
    match result {
        Ok(value) => seen(true, format!("{value:?}")),
        Err(error) => seen(false, says(&error)),
    }
}

/// Several attempts of the same kind: all must have come out well, and only what did not is told.
pub fn all(attempts: Vec<(String, Seen)>) -> Seen {
    let count = attempts.len();
    let bad: Vec<String> =
        attempts.iter().filter(|(_, seen)| !seen.pass).map(|(what, seen)| format!("{what}: {}", seen.observed)).collect();
    if !bad.is_empty() || count == 0 {
        return seen(false, if count == 0 { "nothing was tried".to_owned() } else { bad.join("; ") });
    }
    let first = attempts.first().map(|(_, seen)| seen.observed.clone()).unwrap_or_default();
    seen(true, format!("{count} of {count} as expected ({first} ...)"))
}

/// An attempt for each of some names.
pub fn each<T: AsRef<str>>(names: &[T], attempt: impl Fn(&str) -> Seen) -> Seen {
    all(names.iter().map(|name| (name.as_ref().to_owned(), attempt(name.as_ref()))).collect())
}

pub fn says(error: &io::Error) -> String {
    const NAMES: &[(i32, &str)] = &[
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EACCES, "EACCES"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EROFS, "EROFS"),
        (libc::EINVAL, "EINVAL"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::EADDRINUSE, "EADDRINUSE"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::ENETUNREACH, "ENETUNREACH"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENXIO, "ENXIO"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::EXDEV, "EXDEV"),
        (libc::ELOOP, "ELOOP"),
    ];
    let number = error.raw_os_error();
    NAMES.iter().find(|(known, _)| Some(*known) == number).map_or_else(|| error.to_string(), |(_, name)| (*name).to_owned())
}

/// The bare system call, with arguments as numbers or addresses.
///
/// Callers pass addresses of values that outlive the call, or 0.
pub fn call(number: c_long, arguments: &[c_long]) -> io::Result<c_long> {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: every caller in this program passes numbers, or addresses of its own live buffers of the length it says.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The address of a value, for [`call`].
pub fn address<T: ?Sized>(value: &T) -> c_long {
    std::ptr::from_ref(value).cast::<u8>() as c_long
}
