//! fletcher4 as an incremental state.

use super::{arch::Kernel, sums::Sums4};
use crate::{ByteOrder, Checksum, carry::Carry};

/// fletcher4 over any sequence of byte slices.
///
/// Four 64-bit sums over 32-bit words w: a += w; b += a; c += b; d += c, all
/// modulo 2^64. The result does not depend on where the slices are cut or how
/// they lie in memory. The whole input is meant to be a multiple of 4 bytes;
/// a rest is filled up with zero bytes, so that no byte goes uncovered.
#[derive(Clone, Copy, Debug)]
pub struct Fletcher4 {
    sums: Sums4,
    carry: Carry<4>,
    order: ByteOrder,
    kernel: Kernel,
}

impl Fletcher4 {
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
        Self { sums: Sums4::default(), carry: Carry::EMPTY, order, kernel }
    }

    /// Adds the next bytes of the input.
    #[inline]
    pub fn update(&mut self, segment: &[u8]) {
        let Self { sums, carry, order, kernel } = self;
        carry.feed(segment, |units| {
            let tail = kernel.sums4(*order, units);
            *sums = sums.append(units.len() as u64 / 4, tail);
        });
    }

    /// The checksum of everything added so far.
    #[must_use]
    #[inline]
    pub fn finish(self) -> Checksum {
        let mut sums = self.sums;
        if let Some(unit) = self.carry.padded() {
            sums = sums.append(1, self.kernel.sums4(self.order, &unit));
        }
        Checksum([sums.a, sums.b, sums.c, sums.d])
    }
}
