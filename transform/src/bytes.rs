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

/// How many bytes from `a` and from `b` on agree, looking no further than `end` from `b`. No bytes
/// agree if the ranges are not inside `bytes`.
#[inline]
pub(crate) fn common_prefix(bytes: &[u8], a: usize, b: usize, end: usize) -> usize {
    const WIDE: usize = 16;
    let (Some(a), Some(b)) = (bytes.get(a..), bytes.get(b..end)) else { return 0 };
    // Most matches are short: decide those by one word.
    let mut len = 0;
    if let (Some(x), Some(y)) = (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            return (difference.trailing_zeros() / 8) as usize;
        }
        len = 8;
    }
    let (a, b) = (&a[len..], &b[len..]);
    for (x, y) in a.as_chunks::<WIDE>().0.iter().zip(b.as_chunks::<WIDE>().0) {
        let difference = u128::from_le_bytes(*x) ^ u128::from_le_bytes(*y);
        if difference != 0 {
            return len + (difference.trailing_zeros() / 8) as usize;
        }
        len += WIDE;
    }
    let tail = b.len() - b.len() % WIDE;
    len + a[tail..].iter().zip(&b[tail..]).take_while(|(x, y)| x == y).count()
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
    let from = at - distance;
    let mut done = 0;
    while done < len {
        let step = (len - done).min(distance + done);
        dst.copy_within(from..from + step, at + done);
        done += step;
    }
}
