//! fletcher2 as an incremental state.

use super::{arch::Kernel, sums::Sums2};
use crate::{ByteOrder, Checksum, carry::Carry};

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
    sums: Sums2,
    carry: Carry<16>,
    order: ByteOrder,
    kernel: Kernel,
}

impl Fletcher2 {
    /// An empty state that reads words in `order`, with the quickest kernel.
    #[must_use]
    #[inline]
    pub fn new(order: ByteOrder) -> Self {
        Self::with_kernel(order, Kernel::fastest())
    }

    /// An empty state that reads words in `order`, with a given kernel.
    #[must_use]
    #[inline]
    pub fn with_kernel(order: ByteOrder, kernel: Kernel) -> Self {
        Self { sums: Sums2::default(), carry: Carry::EMPTY, order, kernel }
    }

    /// Adds the next bytes of the input.
    #[inline]
    pub fn update(&mut self, segment: &[u8]) {
        let Self { sums, carry, order, kernel } = self;
        carry.feed(segment, |units| {
            let tail = kernel.sums2(*order, units);
            *sums = sums.append(units.len() as u64 / 16, tail);
        });
    }

    /// The checksum of everything added so far.
    #[must_use]
    #[inline]
    pub fn finish(self) -> Checksum {
        let mut sums = self.sums;
        if let Some(unit) = self.carry.padded() {
            sums = sums.append(1, self.kernel.sums2(self.order, &unit));
        }
        let Sums2 { a: [a0, a1], b: [b0, b1] } = sums;
        Checksum([a0, a1, b0, b1])
    }
}
