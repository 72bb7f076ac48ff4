//! Ids that look like the real ones: a prefix and 22 characters, never twice from one server.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

#[derive(Debug)]
pub struct Ids {
    seed: u64,
    next: AtomicU64,
}

impl Ids {
    /// Without a seed, ids differ between two servers as well: an agent may be resumed against a new one.
    #[must_use]
    pub fn new(seed: Option<u64>) -> Self {
        Self { seed: seed.unwrap_or_else(|| RandomState::new().hash_one(0_u8)), next: AtomicU64::new(0) }
    }

    #[must_use]
    pub fn message(&self) -> String {
        self.prefixed("msg_01")
    }

    #[must_use]
    pub fn tool_use(&self) -> String {
        self.prefixed("toolu_01")
    }

    #[must_use]
    pub fn request(&self) -> String {
        self.prefixed("req_011")
    }

    fn prefixed(&self, prefix: &str) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(prefix.len() + 22);
        id.push_str(prefix);
        // Thirteen characters hold all 64 bits of a bijection of the counter: ids of one server can't meet.
        push_base32(&mut id, mixed(self.seed ^ number), 13);
        push_base32(&mut id, mixed(self.seed.rotate_left(32).wrapping_add(number)), 9);
        id
    }
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output, and no two inputs meet.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn push_base32(id: &mut String, mut number: u64, length: usize) {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKMNPQRSTVWXYZabcdefghjk";
    for _ in 0..length {
        let index = usize::try_from(number & 31).unwrap_or_default();
        id.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'A')));
        number >>= 5;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_never_repeat_and_a_seed_repeats_them() {
        let ids = Ids::new(Some(7));
        let drawn: HashSet<String> = (0..10_000).map(|_| ids.tool_use()).collect();
        assert_eq!(drawn.len(), 10_000);
        assert_eq!(Ids::new(Some(7)).message(), Ids::new(Some(7)).message());
        assert_ne!(Ids::new(Some(7)).message(), Ids::new(Some(8)).message());
        assert!(ids.message().starts_with("msg_01") && ids.message().len() == 28);
    }
}
