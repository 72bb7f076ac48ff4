//! What the host has left.

/// Memory that can be had without taking it from anybody, in bytes (`MemAvailable`, proc_meminfo(5)); none where the host does not say.
#[must_use]
pub fn memory_available_bytes() -> Option<u64> {
    available(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_or_unknown() {
        assert_eq!(available("MemTotal:  9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        for text in ["", "MemAvailable: lots", "MemAvailable: 5 MB", "MemFree: 5 kB"] {
            assert_eq!(available(text), None, "{text}");
        }
        assert!(memory_available_bytes().is_some_and(|bytes| bytes > 0), "this host says it");
    }
}
