//! What a command says beside its output.

/// Says a line on standard error. Where that is full or nobody reads it any more the line is lost, and nothing else: `eprintln!` would panic.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($line)*);
    }};
}
pub(crate) use say;
