//! What is held back from those who fill a pool, for those who empty it.

/// Least that is held back of a pool that is large enough (spec 9).
const SLOP_BYTES_MIN: u64 = 128 << 20;

/// Most that is held back (spec 9).
const SLOP_BYTES_MAX: u64 = 128 << 30;

/// Part of a small pool that is held back at most.
const SLOP_SMALL_DIVISOR: u64 = 8;

/// Bytes held back of a pool of `size_bytes`: 1/`divisor` of it, within 128 MiB and 128 GiB; of a
/// pool under 1 GiB an eighth; never more than half. Nothing for a divisor of 0.
///
/// | pool | for 32 |
/// |---|---|
/// | 64 MiB | 8 MiB |
/// | 1 GiB … 4 GiB | 128 MiB |
/// | 1 TiB | 32 GiB |
pub(crate) fn slop_bytes(size_bytes: u64, divisor: u64) -> u64 {
    let Some(part) = size_bytes.checked_div(divisor) else { return 0 };
    let least = SLOP_BYTES_MIN.min(size_bytes / SLOP_SMALL_DIVISOR);
    part.clamp(least, SLOP_BYTES_MAX).min(size_bytes / 2)
}

#[cfg(test)]
mod tests {
    use super::slop_bytes;

    #[test]
    fn slop_is_a_share_within_bounds() {
        let (mib, gib) = (1 << 20, 1 << 30);
        for (size, slop) in [
            (0, 0),
            (64 * mib, 8 * mib),
            (gib, 128 * mib),
            (4 * gib, 128 * mib),
            (8 * gib, 256 * mib),
            (1024 * gib, 32 * gib),
            (u64::MAX, 128 * gib),
        ] {
            assert_eq!(slop_bytes(size, 32), slop, "{size}");
        }
        assert_eq!(slop_bytes(gib, 0), 0);
        assert_eq!(slop_bytes(gib, 1), gib / 2);
    }
}
