//! Reading words out of byte slices without a way to panic.

/// The eight bytes at `at` as a little-endian word, or 0 if they are not all there.
#[inline]
pub(crate) fn load_u64(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|tail| tail.first_chunk::<8>()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => 0,
    }
}

/// The four bytes at `at` as a little-endian word, or 0 if they are not all there.
#[inline]
pub(crate) fn load_u32(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(|tail| tail.first_chunk::<4>()) {
        Some(chunk) => u32::from_le_bytes(*chunk),
        None => 0,
    }
}

/// How many bytes from `a` and from `b` on agree, looking no further than `end` from `b` (`a < b`).
#[inline]
pub(crate) fn common_prefix(bytes: &[u8], a: usize, b: usize, end: usize) -> usize {
    let mut len = 0;
    while b + len + 8 <= end {
        let difference = load_u64(bytes, a + len) ^ load_u64(bytes, b + len);
        if difference != 0 {
            return len + (difference.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    while b + len < end && bytes[a + len] == bytes[b + len] {
        len += 1;
    }
    len
}

/// Copies `len` bytes of `dst` from `distance` back to `at`; the ranges may overlap, in which case
/// the copied bytes repeat. The caller has checked `1 <= distance <= at` and `at + len <= dst.len()`.
#[inline]
pub(crate) fn copy_match(dst: &mut [u8], at: usize, distance: usize, len: usize) {
    if distance == 1 {
        let byte = dst[at - 1];
        dst[at..at + len].fill(byte);
        return;
    }
    // Each copy doubles what can be copied next.
    let mut done = 0;
    while done < len {
        let step = (len - done).min(distance + done);
        dst.copy_within(at - distance..at - distance + step, at + done);
        done += step;
    }
}
