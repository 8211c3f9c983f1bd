//! Limits of the local cache: how much disk space photos may use that the server holds anyway.

use super::size_or_percent::SizeOrPercent;

/// Limits of the local cache. Without any, nothing is evicted before the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachePolicy {
    /// Maximum size of all files that have their bytes here.
    pub cache_max: Option<SizeOrPercent>,
    /// Minimum free space on the disk.
    pub free_min: Option<SizeOrPercent>,
}

impl CachePolicy {
    /// How many bytes have to be freed: on a disk of `disk_bytes`, of which `free_bytes` are free
    /// and `cached_bytes` are used by files of the spool.
    pub(super) fn excess_bytes(self, disk_bytes: u64, free_bytes: u64, cached_bytes: u64) -> u64 {
        let over = self
            .cache_max
            .map_or(0, |max| cached_bytes.saturating_sub(max.of(disk_bytes)));
        let short = self
            .free_min
            .map_or(0, |min| min.of(disk_bytes).saturating_sub(free_bytes));
        over.max(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_limit_counts() {
        let policy = CachePolicy {
            cache_max: Some(SizeOrPercent::Bytes(300)),
            free_min: Some(SizeOrPercent::Percent(10)),
        };
        assert_eq!(policy.excess_bytes(1000, 100, 300), 0);
        assert_eq!(policy.excess_bytes(1000, 100, 350), 50);
        assert_eq!(policy.excess_bytes(1000, 20, 350), 80);
        assert_eq!(CachePolicy::default().excess_bytes(1000, 0, 1000), 0);
    }
}
