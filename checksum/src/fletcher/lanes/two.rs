//! fletcher2 over lanes.
//!
//! Pair number q goes to place q mod P, so each stream (even and odd words) has
//! P lanes. Let there be m rows of P pairs. The pair in row i, place p is
//! followed by k − 1 further pairs, k = P·m − (P·i + p) = P·t − p with
//! t = m − i. It counts k times in the true b and t times in its lane's b, and
//! once in either a. So
//!
//! ```text
//! a = Σ a_p        b = Σ (P · b_p − p · a_p)
//! ```

use std::hint::black_box;

use super::super::sums::{Sums2, read_u64};

/// Sums, from zero, of the whole pairs of 64-bit words of `data`.
///
/// `WORDS` is the words of a row, twice the pairs, and `ROW_BYTES` is
/// 8·`WORDS`. Inlined into each kernel, so that it is compiled with that
/// kernel's instruction set.
#[inline(always)]
pub(in super::super) fn sums<const WORDS: usize, const ROW_BYTES: usize, const BIG: bool>(
    data: &[u8],
) -> Sums2 {
    const { assert!(ROW_BYTES == 8 * WORDS && WORDS.is_multiple_of(2)) };
    let mut a = [0u64; WORDS];
    let mut b = [0u64; WORDS];
    let (rows, rest) = data.as_chunks::<ROW_BYTES>();
    for row in rows {
        let words = row.as_chunks::<8>().0;
        for j in 0..WORDS {
            a[j] = a[j].wrapping_add(read_u64::<BIG>(words[j]));
        }
        for j in 0..WORDS {
            b[j] = b[j].wrapping_add(a[j]);
        }
    }
    // Through memory, see the page of `lanes`.
    let [a, b] = black_box([a, b]);
    let mut total = Sums2::default();
    for stream in 0..2 {
        // Σ p·a_p without a product: each a_p is in p of the sums of "from here
        // to the last place".
        let (mut sum_a, mut sum_b, mut places_a) = (0u64, 0u64, 0u64);
        for place in (0..WORDS / 2).rev() {
            places_a = places_a.wrapping_add(sum_a);
            sum_a = sum_a.wrapping_add(a[2 * place + stream]);
            sum_b = sum_b.wrapping_add(b[2 * place + stream]);
        }
        total.a[stream] = sum_a;
        total.b[stream] = (WORDS as u64 / 2).wrapping_mul(sum_b).wrapping_sub(places_a);
    }
    total.push_pairs::<BIG>(rest);
    total
}
