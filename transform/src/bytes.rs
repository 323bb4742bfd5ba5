//! Reading words out of byte slices without a way to panic.

/// The eight bytes at `at` as a little-endian word, or 0 if they are not all there.
#[inline]
pub(crate) fn load_u64(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|tail| tail.first_chunk::<8>()) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => 0,
    }
}

/// A copy of this width is one load and one store.
const SHORT_BYTES: usize = 16;

/// Copies `len` bytes of `dst` from `distance` back to `at`; the ranges may overlap, in which case
/// the copied bytes repeat. Bytes after the copy may change. The caller has checked
/// `1 <= distance <= at` and `at + len <= dst.len()`.
#[inline]
pub(crate) fn copy_match(dst: &mut [u8], at: usize, distance: usize, len: usize) {
    // Few bytes from not too near are the rule. What is copied too much is overwritten later.
    if len <= SHORT_BYTES && distance >= SHORT_BYTES && at + SHORT_BYTES <= dst.len() {
        let from = at - distance;
        dst.copy_within(from..from + SHORT_BYTES, at);
        return;
    }
    if distance == 1 {
        let byte = dst[at - 1];
        dst[at..at + len].fill(byte);
        return;
    }
    // Each copy doubles what can be copied next.
    let from = at - distance;
    let mut done = 0;
    while done < len {
        let step = (len - done).min(distance + done);
        dst.copy_within(from..from + step, at + done);
        done += step;
    }
}
