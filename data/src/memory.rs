//! How much memory the machine has.

use std::fs;

/// Assumed where the system does not say: 64 GiB.
const UNKNOWN: u64 = 64 << 30;

/// The physical memory of this machine in bytes, as Linux tells it; 64 GiB elsewhere.
pub fn total_bytes() -> u64 {
    fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_in(&text))
        .unwrap_or(UNKNOWN)
}

/// The line `MemTotal: N kB` of `/proc/meminfo`.
fn total_in(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        let text = "MemTotal:       24689764 kB\nMemFree:         1 kB\n";
        assert_eq!(total_in(text), Some(24_689_764 * 1024));
        assert_eq!(total_in("MemFree: 1 kB"), None);
        assert!(total_bytes() > 1 << 20);
    }
}
