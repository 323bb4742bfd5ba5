//! fletcher2 as an incremental state.

use super::carry::Carry;
use crate::{ByteOrder, Checksum};

/// fletcher2 over any sequence of byte slices.
///
/// 64-bit words are taken in pairs (even, odd): a0 += even; a1 += odd;
/// b0 += a0; b1 += a1, all modulo 2^64. The result does not depend on where
/// the slices are cut or how they lie in memory. The whole input is meant to be
/// a multiple of 16 bytes; a rest is filled up with zero bytes.
///
/// Weak: the top bits of the words reach few bits of the result. Two flips of
/// bit 63 in the same lane cancel in `a` and move `b` by a multiple of 2^63.
/// Kept for reading old blocks, and for the old log's trailer.
#[derive(Clone, Copy, Debug)]
pub struct Fletcher2 {
    sums: [u64; 4],
    carry: Carry<16>,
    order: ByteOrder,
}

impl Fletcher2 {
    /// An empty state that reads words in `order`.
    #[must_use]
    #[inline]
    pub fn new(order: ByteOrder) -> Self {
        Self { sums: [0; 4], carry: Carry::EMPTY, order }
    }

    /// Adds the next bytes of the input.
    #[inline]
    pub fn update(&mut self, segment: &[u8]) {
        let Self { sums, carry, order } = self;
        carry.feed(segment, |units| push(*order, sums, units));
    }

    /// The checksum of everything added so far.
    #[must_use]
    #[inline]
    pub fn finish(mut self) -> Checksum {
        if let Some(unit) = self.carry.padded() {
            push(self.order, &mut self.sums, &unit);
        }
        Checksum(self.sums)
    }
}

fn push(order: ByteOrder, sums: &mut [u64; 4], units: &[u8]) {
    match order {
        ByteOrder::Little => push_pairs(sums, units, u64::from_le_bytes),
        ByteOrder::Big => push_pairs(sums, units, u64::from_be_bytes),
    }
}

#[inline(always)]
fn push_pairs(sums: &mut [u64; 4], units: &[u8], read: impl Fn([u8; 8]) -> u64) {
    let [mut a0, mut a1, mut b0, mut b1] = *sums;
    let (words, _) = units.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    for &[even, odd] in pairs {
        a0 = a0.wrapping_add(read(even));
        a1 = a1.wrapping_add(read(odd));
        b0 = b0.wrapping_add(a0);
        b1 = b1.wrapping_add(a1);
    }
    *sums = [a0, a1, b0, b1];
}
