//! The agent's system calls: what is listed is allowed, what is known to be dangerous is refused, the rest does not exist.
//!
//! The lists are `profiles/syscalls.toml`; the build script makes them the tables below. The program is classic BPF
//! (seccomp(2)): architecture, then a balanced tree over ranges of numbers with the same verdict, then the judges of
//! arguments. For verdicts that no argument changes the kernel keeps a table of its own, so the tree's depth costs
//! judged calls only.

use std::collections::BTreeMap;

use jail::{Calls, Failure, Step};
use libc::{BPF_JGE, ENOSYS, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, c_long, sock_filter};

use crate::bpf::{ARCHITECTURE_AT, NUMBER_AT, fail_with, jump, load, number, require, skip, verdict, when};
use crate::failure::Because;
use crate::judges::{self, NOT_PERMITTED};
use crate::sys;

/// `ALLOWED`, `ALLOWED_TO_CODE`, `JUDGED`, `REFUSED`.
mod tables {
    include!(concat!(env!("OUT_DIR"), "/calls.rs"));
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_endian = "little")))]
compile_error!("the filter of system calls knows x86_64 and little-endian aarch64 only");

/// What the kernel calls this architecture (`AUDIT_ARCH_*`).
const ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

/// From here on x86_64 counts the calls of x32, a second set of numbers for the same calls.
const X32_FIRST: u32 = 0x4000_0000;

/// To a program a kernel that is older: it does without.
const ABSENT: u32 = fail_with(ENOSYS);

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Sealed(u32),
    Judged(c_long),
}

/// Judges every system call of this process from here on, and of whatever it becomes or starts.
pub fn install(calls: Calls) -> Result<(), Failure> {
    sys::filter_calls(&program(calls)).because(Step::Identity, || {
        "the agent's system calls can't be filtered: the kernel needs CONFIG_SECCOMP_FILTER, and nothing around the gateway \
         may forbid seccomp(2)"
            .into()
    })
}

fn program(calls: Calls) -> Vec<sock_filter> {
    let kill = || vec![verdict(SECCOMP_RET_KILL_PROCESS)];
    let mut program = vec![load(ARCHITECTURE_AT)];
    program.extend(require(&[ARCHITECTURE], SECCOMP_RET_KILL_PROCESS));
    program.push(load(NUMBER_AT));
    if cfg!(target_arch = "x86_64") {
        program.extend(when(BPF_JGE, X32_FIRST, kill()));
    }
    program.extend(link(&tree(&ranges(calls))));
    program
}

/// The first number of each range of numbers that share a fate, in order, beginning with 0.
fn ranges(calls: Calls) -> Vec<(u32, Fate)> {
    let further = if calls == Calls::Code { tables::ALLOWED_TO_CODE } else { &[] };
    let sealed = |list: &'static [c_long], value| list.iter().map(move |call| (number(*call), Fate::Sealed(value)));
    let mut fates: BTreeMap<u32, Fate> = sealed(tables::REFUSED, NOT_PERMITTED).collect();
    fates.extend(tables::JUDGED.iter().map(|call| (number(*call), Fate::Judged(*call))));
    fates.extend(sealed(tables::ALLOWED, SECCOMP_RET_ALLOW).chain(sealed(further, SECCOMP_RET_ALLOW)));
    let mut ranges = vec![(0, Fate::Sealed(ABSENT))];
    for (number, fate) in &fates {
        ranges.push((*number, *fate));
        if !fates.contains_key(&(number + 1)) {
            ranges.push((number + 1, Fate::Sealed(ABSENT)));
        }
    }
    ranges.dedup_by_key(|(_, fate)| *fate);
    // Number 0 may have a fate of its own.
    if let [(0, _), (0, _), ..] = ranges.as_slice() {
        ranges.remove(0);
    }
    ranges
}

/// An instruction whose place is known, or the way to a judge, whose place is not.
enum Planned {
    Fixed(sock_filter),
    ToJudge(c_long),
}

/// Finds the range of the loaded number by halving.
fn tree(ranges: &[(u32, Fate)]) -> Vec<Planned> {
    match ranges {
        [] => Vec::new(),
        [(_, Fate::Sealed(value))] => vec![Planned::Fixed(verdict(*value))],
        [(_, Fate::Judged(call))] => vec![Planned::ToJudge(*call)],
        [_, .., _] => {
            let (below, from) = ranges.split_at(ranges.len() / 2);
            let first = from.first().map_or(0, |(first, _)| *first);
            let (below, from) = (tree(below), tree(from));
            let mut steps = vec![Planned::Fixed(jump(BPF_JGE, first, below.len(), 0))];
            steps.extend(below);
            steps.extend(from);
            steps
        }
    }
}

/// Puts the judges behind the tree and says how far each is.
fn link(tree: &[Planned]) -> Vec<sock_filter> {
    let mut judges = Vec::new();
    let mut linked = Vec::new();
    for (at, step) in tree.iter().enumerate() {
        linked.push(match step {
            Planned::Fixed(instruction) => *instruction,
            Planned::ToJudge(call) => {
                let distance = tree.len() - (at + 1) + judges.len();
                judges.extend(judges::of(*call).expect("every judged call has a judge, which a test proves"));
                skip(distance)
            }
        });
    }
    linked.extend(judges);
    linked
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
