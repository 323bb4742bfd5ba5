//! fletcher4 over lanes.
//!
//! Word number p goes to lane p mod L, and each lane keeps its own four sums.
//!
//! Let there be m rows of L words, N = L·m. The word in row i, lane j is
//! followed by k−1 further words, k = N − (L·i + j). In the true sums it counts
//! once in a, k times in b, k(k+1)/2 times in c, k(k+1)(k+2)/6 times in d. In
//! its lane it counts 1, t, t(t+1)/2 and t(t+1)(t+2)/6 times, t = m − i, and
//! k = L·t − j. The true weights are polynomials in t that take whole values at
//! whole t, so they are sums of the lane's weights with whole coefficients:
//!
//! ```text
//! k             = L · t                                              − j
//! k(k+1)/2      = L²· t(t+1)/2       + c1 · t                        + c0
//! k(k+1)(k+2)/6 = L³· t(t+1)(t+2)/6  + d2 · t(t+1)/2   + d1 · t      + d0
//! ```
//!
//! At t = 0, −1, −2 the higher lane weights vanish, which gives the
//! coefficients one after the other. Example, L = 4, j = 1: at t = 0, k = −1,
//! c0 = 0; at t = −1, k = −5 and k(k+1)/2 = 10 = c0 − c1, so c1 = −10.

use std::hint::black_box;

use super::super::sums::{Sums4, read_u32};

/// Whole coefficients of one lane count, as residues modulo 2^64, by lane.
struct Coefficients<const L: usize>;

/// `b` needs `−j`; the rest carry the names of the module page.
struct Table<const L: usize> {
    b0: [u64; L],
    c1: [u64; L],
    c0: [u64; L],
    d2: [u64; L],
    d1: [u64; L],
    d0: [u64; L],
}

impl<const L: usize> Coefficients<L> {
    const L1: u64 = L as u64;
    const L2: u64 = Self::L1 * Self::L1;
    const L3: u64 = Self::L2 * Self::L1;

    const TABLE: Table<L> = {
        let mut table =
            Table { b0: [0; L], c1: [0; L], c0: [0; L], d2: [0; L], d1: [0; L], d0: [0; L] };
        let mut j = 0;
        while j < L {
            // k at t = 0, −1, −2.
            let k0 = -(j as i64);
            let k1 = k0 - L as i64;
            let k2 = k1 - L as i64;

            let c0 = k0 * (k0 + 1) / 2;
            let c1 = c0 - k1 * (k1 + 1) / 2;

            let d0 = k0 * (k0 + 1) * (k0 + 2) / 6;
            let d1 = d0 - k1 * (k1 + 1) * (k1 + 2) / 6;
            let d2 = k2 * (k2 + 1) * (k2 + 2) / 6 + 2 * d1 - d0;

            table.b0[j] = k0 as u64;
            table.c0[j] = c0 as u64;
            table.c1[j] = c1 as u64;
            table.d0[j] = d0 as u64;
            table.d1[j] = d1 as u64;
            table.d2[j] = d2 as u64;
            j += 1;
        }
        table
    };
}

/// Sums4, from zero, of the whole 32-bit words of `data`.
///
/// `ROW_BYTES` is 4·`L`. Inlined into each kernel, so that it is compiled with
/// that kernel's instruction set.
#[inline(always)]
pub(in super::super) fn sums<const L: usize, const ROW_BYTES: usize, const BIG: bool>(
    data: &[u8],
) -> Sums4 {
    const { assert!(ROW_BYTES == 4 * L) };
    let mut a = [0u64; L];
    let mut b = [0u64; L];
    let mut c = [0u64; L];
    let mut d = [0u64; L];
    let (rows, rest) = data.as_chunks::<ROW_BYTES>();
    for row in rows {
        let words = row.as_chunks::<4>().0;
        for j in 0..L {
            a[j] = a[j].wrapping_add(u64::from(read_u32::<BIG>(words[j])));
        }
        for j in 0..L {
            b[j] = b[j].wrapping_add(a[j]);
        }
        for j in 0..L {
            c[j] = c[j].wrapping_add(b[j]);
        }
        for j in 0..L {
            d[j] = d[j].wrapping_add(c[j]);
        }
    }
    // Through memory, see the page of `lanes`.
    let [a, b, c, d] = black_box([a, b, c, d]);
    let mut total = join(&a, &b, &c, &d);
    total.push_words::<BIG>(rest);
    total
}

/// The true sums, from the sums of the lanes.
#[inline(always)]
fn join<const L: usize>(a: &[u64; L], b: &[u64; L], c: &[u64; L], d: &[u64; L]) -> Sums4 {
    let table = &Coefficients::<L>::TABLE;
    let (l1, l2, l3) = (Coefficients::<L>::L1, Coefficients::<L>::L2, Coefficients::<L>::L3);
    let mut total = Sums4::default();
    for j in 0..L {
        let times = u64::wrapping_mul;
        total.a = total.a.wrapping_add(a[j]);
        total.b = total.b.wrapping_add(times(l1, b[j])).wrapping_add(times(table.b0[j], a[j]));
        total.c = total
            .c
            .wrapping_add(times(l2, c[j]))
            .wrapping_add(times(table.c1[j], b[j]))
            .wrapping_add(times(table.c0[j], a[j]));
        total.d = total
            .d
            .wrapping_add(times(l3, d[j]))
            .wrapping_add(times(table.d2[j], c[j]))
            .wrapping_add(times(table.d1[j], b[j]))
            .wrapping_add(times(table.d0[j], a[j]));
    }
    total
}
