//! Sizes: how much must be saved, and how a payload is rounded up.

use crate::compression::Compression;

/// Payloads of up to this many bytes can live inside the block pointer instead of on the device
/// (spec 2.2).
pub const EMBEDDED_BYTES_MAX: usize = 112;

/// The largest payload worth storing for a block of `lsize_bytes`: one eighth must be saved.
///
/// ```
/// // 128 KiB must shrink to 112 KiB.
/// assert_eq!(transform::minimum_saving_limit(131_072), 114_688);
/// ```
pub const fn minimum_saving_limit(lsize_bytes: usize) -> usize {
    lsize_bytes - lsize_bytes / 8
}

/// The output limit for a block of `lsize_bytes` in a pool that allocates in units of `unit_bytes`
/// (a power of two).
///
/// Saving less than a unit saves nothing, so the [saving limit](minimum_saving_limit) is rounded
/// down to whole units; if nothing is left, only a payload small enough to be
/// [embedded](EMBEDDED_BYTES_MAX) helps. zle keeps the plain saving limit.
///
/// ```
/// use transform::{Compression, payload_limit};
/// assert_eq!(payload_limit(Compression::Lz4, 16_384, 4096), 12_288); // 14336, in whole 4 KiB
/// assert_eq!(payload_limit(Compression::Lz4, 4096, 4096), 112);
/// ```
pub const fn payload_limit(
    compression: Compression,
    lsize_bytes: usize,
    unit_bytes: usize,
) -> usize {
    let limit = minimum_saving_limit(lsize_bytes);
    if matches!(compression, Compression::Zle) || unit_bytes == 0 {
        return limit;
    }
    let whole_units = limit - limit % unit_bytes;
    if whole_units > 0 {
        whole_units
    } else if limit < EMBEDDED_BYTES_MAX {
        limit
    } else {
        EMBEDDED_BYTES_MAX
    }
}

/// The space a payload of `payload_bytes` takes where space comes in units of 2^`shift` bytes.
/// `None` if that is more than a `usize` can say.
///
/// ```
/// assert_eq!(transform::round_up_to_shift(4097, 12), Some(8192));
/// ```
pub const fn round_up_to_shift(payload_bytes: usize, shift: u32) -> Option<usize> {
    match 1usize.checked_shl(shift) {
        Some(unit_bytes) => payload_bytes.checked_next_multiple_of(unit_bytes),
        None => None,
    }
}
