//! Classic BPF as seccomp(2) takes it: loads of a call's number, architecture and arguments, comparisons that jump
//! forward, verdicts.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ERRNO, c_int,
    c_long, sock_filter,
};

/// `struct seccomp_data`: number, architecture, instruction pointer, six arguments of eight bytes.
pub const NUMBER_AT: u32 = 0;
pub const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// Loads the lower half of an argument, counted from 0. What the kernel takes as `int` has no more than that.
pub fn argument(index: u32) -> sock_filter {
    load(ARGUMENTS_AT + 8 * index)
}

pub fn load(at: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, at, 0, 0)
}

/// Keeps these bits of the loaded value.
pub fn mask(bits: u32) -> sock_filter {
    instruction(BPF_ALU | BPF_AND | BPF_K, bits, 0, 0)
}

pub fn verdict(value: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, value, 0, 0)
}

/// The verdict that a call fails with this error and does nothing.
pub const fn fail_with(errno: c_int) -> u32 {
    SECCOMP_RET_ERRNO | errno.cast_unsigned()
}

/// Skips this many instructions, however many.
pub fn skip(instructions: usize) -> sock_filter {
    instruction(BPF_JMP | BPF_JA, u32::try_from(instructions).expect("a program has 4096 instructions at most"), 0, 0)
}

pub fn jump(comparison: u32, value: u32, if_true: usize, if_false: usize) -> sock_filter {
    instruction(BPF_JMP | comparison | BPF_K, value, if_true, if_false)
}

/// Goes on behind this if the loaded value is one of these, otherwise gives the verdict.
pub fn require(values: &[u32], otherwise: u32) -> Vec<sock_filter> {
    let jumps = values.iter().zip((1..=values.len()).rev()).map(|(value, past)| jump(BPF_JEQ, *value, past, 0));
    jumps.chain([verdict(otherwise)]).collect()
}

/// Gives the verdict if the loaded value is one of these, otherwise goes on behind this.
pub fn forbid(values: &[u32], then: u32) -> Vec<sock_filter> {
    values.iter().flat_map(|value| when(BPF_JEQ, *value, vec![verdict(then)])).collect()
}

/// Gives the verdict if the loaded value has any of these bits, otherwise goes on behind this.
pub fn forbid_bits(bits: u32, then: u32) -> Vec<sock_filter> {
    when(BPF_JSET, bits, vec![verdict(then)])
}

/// Does `then`, which ends in a verdict, if the loaded value compares so; otherwise goes on behind it.
pub fn when(comparison: u32, value: u32, then: Vec<sock_filter>) -> Vec<sock_filter> {
    let mut rules = vec![jump(comparison, value, 0, then.len())];
    rules.extend(then);
    rules
}

pub fn number(call: c_long) -> u32 {
    u32::try_from(call).expect("numbers of calls are small")
}

pub const fn bits(value: c_int) -> u32 {
    value.cast_unsigned()
}

fn instruction(code: u32, k: u32, if_true: usize, if_false: usize) -> sock_filter {
    let short = |length: usize| u8::try_from(length).expect("blocks of this program are short, which its test proves");
    sock_filter { code: u16::try_from(code).expect("codes have 16 bits"), jt: short(if_true), jf: short(if_false), k }
}
