//! The all-zero test.

/// Bytes folded together between two looks at the result: one cache line pair, which compilers turn
/// into a handful of vector ORs.
const STRIDE_BYTES: usize = 128;

/// Whether every byte of `bytes` is zero. True for no bytes at all.
///
/// A block of zeros is not stored: its pointer says "hole" (spec 3.1, 3.2). The test runs on every
/// block written with compression on, so it goes at the speed of memory, and stops within 128 bytes
/// of the first byte that is set.
///
/// ```
/// assert!(transform::is_zero(&[0; 4096]));
/// assert!(!transform::is_zero(b"\0\0\0\x01"));
/// ```
pub fn is_zero(bytes: &[u8]) -> bool {
    let (strides, rest) = bytes.as_chunks::<STRIDE_BYTES>();
    strides.iter().all(|stride| fold(stride) == 0) && fold(rest) == 0
}

#[inline]
fn fold(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |all, byte| all | byte)
}
