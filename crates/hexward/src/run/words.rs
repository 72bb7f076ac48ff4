//! What is told on standard error. Names in it were chosen inside the sandbox, so nothing of them reaches the terminal as
//! anything but visible characters.

use super::network::Denied;
use crate::say::say;
use sandbox::{Change, Kind, ProgramEnd, What};
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

const SHOWN_MAX: usize = 200;

/// A name with everything else than visible characters written out.
pub fn visible(name: &OsStr) -> String {
    let mut shown = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        shown.extend(chunk.valid().chars().flat_map(visible_char));
        for byte in chunk.invalid() {
            let _written = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

fn visible_char(c: char) -> Vec<char> {
    // Also marks that turn the direction of writing, and blanks that can't be told apart.
    let plain = c == ' ' || c.is_alphanumeric() || c.is_ascii_graphic();
    if plain { vec![c] } else { c.escape_unicode().collect() }
}

/// One change, on a line of its own.
pub fn line(change: &Change) -> String {
    let (mark, name) = (mark(change.kind), visible(change.path.as_os_str()));
    let mut line = match &change.what {
        What::File { bytes } => format!("  {mark} {name}  {bytes} bytes"),
        What::Folder => format!("  {mark} {name}/"),
        What::Link(to) => format!("  {mark} {name} -> {}", visible(to.as_os_str())),
        What::Other => format!("  {mark} {name}  (neither file, folder nor link)"),
    };
    if let Some(danger) = &change.danger {
        let _written = write!(line, "  [dangerous: {danger}]");
    }
    line
}

const fn mark(kind: Kind) -> char {
    match kind {
        Kind::Added => '+',
        Kind::Changed => '~',
        Kind::Deleted => '-',
    }
}

/// Prints lines, and how many more there are.
pub fn print(lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(SHOWN_MAX);
    lines.take(SHOWN_MAX).for_each(|line| say!("{line}"));
    if more > 0 {
        say!("  ... and {more} more");
    }
}

/// What was accepted with a flag that says it is dangerous.
pub fn warn(private_hosts: &[String]) {
    for host in private_hosts {
        say!(
            "hexward run: DANGER: {host} may lead to this machine or to a private network, and the command can ask what listens there"
        );
    }
}

/// What the sandbox refused, and what it could not enforce.
pub fn summary(downgrades: &[String], denied: &Denied, end: &ProgramEnd) {
    for downgrade in downgrades {
        say!("hexward run: not enforced on this host: {downgrade}");
    }
    if end.oom_killed {
        say!("hexward run: limit reached: something was killed because the sandbox's memory was used up");
    }
    if let Some(refused) = end.usage.forks_refused.filter(|refused| *refused > 0) {
        say!("hexward run: limit reached: {refused} processes or threads more than allowed were not started");
    }
    for folder in &end.usage.full {
        say!("hexward run: limit reached: nothing more fits into {}", visible(OsStr::new(folder)));
    }
    if !denied.is_empty() {
        say!("hexward run: denied:");
        let line = |(what, times): (&String, &u64)| format!("  {}  {times} times", visible(OsStr::new(what)));
        print(denied.iter().map(line).collect::<Vec<_>>().into_iter());
        if denied.keys().any(|what| what.ends_with("(egress.host)") || what.ends_with("(egress.tls)")) {
            say!("hexward run: --allow HOST[:PORT] lets the command reach a host");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_shown_as_what_it_is() {
        assert_eq!(visible(OsStr::new("a b-ü.rs")), "a b-ü.rs");
        assert_eq!(visible(OsStr::new("x\u{1b}[2J\n")), "x\\u{1b}[2J\\u{a}");
        assert_eq!(visible(OsStr::new("a\u{202e}b")), "a\\u{202e}b");
        assert_eq!(visible(OsStr::from_bytes(b"\xff\xfeok")), "\\xff\\xfeok");
    }
}
