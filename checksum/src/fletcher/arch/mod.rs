//! The kernels and the choice between them.

use std::sync::OnceLock;

use super::{
    lanes,
    sums::{Sums2, Sums4},
};
use crate::ByteOrder;

#[cfg(target_arch = "x86_64")]
mod x86_64;

/// Below this many bytes the plain loop of fletcher4 is quicker than lanes,
/// which have to be brought together at the end. Measured on Zen 4: AVX2 and
/// the baseline meet it near 256 bytes.
const LANES4_BYTES_MIN: usize = 256;

/// The same for fletcher2, whose plain loop is five times as quick: AVX2 and
/// AVX-512 meet it a little below.
const LANES2_BYTES_MIN: usize = 1024;

/// A compiled variant of the fletcher loops. All of them give the same sums.
///
/// [`Fletcher2::new`](super::Fletcher2::new) and
/// [`Fletcher4::new`](super::Fletcher4::new) take [`Kernel::fastest`]. The
/// others are there to be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
    Narrow,
    Wide,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86_64::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86_64::Avx512),
}

impl Kernel {
    /// One word after the other: the definition.
    pub const SCALAR: Self = Self(Kind::Scalar);

    /// Few lanes, compiled for the instruction set every CPU of the target has:
    /// as many as fit 16 registers of 128 bits. On x86-64 that is SSE2.
    pub const NARROW: Self = Self(Kind::Narrow);

    /// More lanes, compiled for the same: as many as fit 32 registers of 128
    /// bits. On aarch64 that is NEON.
    pub const WIDE: Self = Self(Kind::Wide);

    /// Whichever of [`Kernel::NARROW`] and [`Kernel::WIDE`] suits the registers
    /// of the target.
    pub const BASELINE: Self =
        if cfg!(target_arch = "aarch64") { Self::WIDE } else { Self::NARROW };

    /// The one that is not [`Kernel::BASELINE`].
    const MISFIT: Self = if cfg!(target_arch = "aarch64") { Self::NARROW } else { Self::WIDE };

    /// All variants this CPU can run; the quickest one for large blocks is last.
    pub fn available() -> impl Iterator<Item = Self> {
        let detected: [Option<Self>; 2] = {
            #[cfg(target_arch = "x86_64")]
            {
                [
                    x86_64::Avx2::detect().map(|cpu| Self(Kind::Avx2(cpu))),
                    x86_64::Avx512::detect().map(|cpu| Self(Kind::Avx512(cpu))),
                ]
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                [None, None]
            }
        };
        [Self::MISFIT, Self::SCALAR, Self::BASELINE]
            .into_iter()
            .chain(detected.into_iter().flatten())
    }

    /// The quickest variant for this CPU. Decided once per process, by the
    /// CPU's features.
    #[must_use]
    pub fn fastest() -> Self {
        static FASTEST: OnceLock<Kernel> = OnceLock::new();
        *FASTEST.get_or_init(|| Self::available().last().unwrap_or(Self::BASELINE))
    }

    /// A name for tables: `"scalar"`, `"narrow"` (`"sse2"` on x86-64), `"wide"`
    /// (`"neon"` on aarch64), `"avx2"`, `"avx512"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            Kind::Narrow if cfg!(target_arch = "x86_64") => "sse2",
            Kind::Narrow => "narrow",
            Kind::Wide if cfg!(target_arch = "aarch64") => "neon",
            Kind::Wide => "wide",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
        }
    }

    /// Sums of fletcher2, from zero, of the whole pairs of `data`.
    #[inline]
    pub(super) fn sums2(self, order: ByteOrder, data: &[u8]) -> Sums2 {
        if data.len() < LANES2_BYTES_MIN {
            return scalar2(order, data);
        }
        match self.0 {
            Kind::Scalar => scalar2(order, data),
            Kind::Narrow => narrow2(order, data),
            Kind::Wide => wide2(order, data),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(cpu) => cpu.sums2(order, data),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(cpu) => cpu.sums2(order, data),
        }
    }

    /// Sums of fletcher4, from zero, of the whole words of `data`.
    #[inline]
    pub(super) fn sums4(self, order: ByteOrder, data: &[u8]) -> Sums4 {
        if data.len() < LANES4_BYTES_MIN {
            return scalar4(order, data);
        }
        match self.0 {
            Kind::Scalar => scalar4(order, data),
            Kind::Narrow => narrow4(order, data),
            Kind::Wide => wide4(order, data),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(cpu) => cpu.sums4(order, data),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(cpu) => cpu.sums4(order, data),
        }
    }
}

fn scalar2(order: ByteOrder, data: &[u8]) -> Sums2 {
    let mut sums = Sums2::default();
    match order {
        ByteOrder::Little => sums.push_pairs::<false>(data),
        ByteOrder::Big => sums.push_pairs::<true>(data),
    }
    sums
}

fn scalar4(order: ByteOrder, data: &[u8]) -> Sums4 {
    let mut sums = Sums4::default();
    match order {
        ByteOrder::Little => sums.push_words::<false>(data),
        ByteOrder::Big => sums.push_words::<true>(data),
    }
    sums
}

// Eight words are eight accumulators of two words each, which leaves eight
// registers for loading. SSE2 has no instruction that swaps bytes, so the swap
// wants registers too. Measured on Zen 4 at 8 KiB, GB/s, for 2, 4 and 6 pairs:
// 76, 95, 92; swapped 32, 16, 28.
fn narrow2(order: ByteOrder, data: &[u8]) -> Sums2 {
    match order {
        ByteOrder::Little => lanes::two::sums::<8, 64, false>(data),
        ByteOrder::Big => lanes::two::sums::<4, 32, true>(data),
    }
}

// Two lanes: measured on Zen 4, four or more no longer fit the registers that
// every x86-64 has, and are slower than two.
fn narrow4(order: ByteOrder, data: &[u8]) -> Sums4 {
    match order {
        ByteOrder::Little => lanes::four::sums::<2, 8, false>(data),
        ByteOrder::Big => lanes::four::sums::<2, 8, true>(data),
    }
}

// A large core adds up to four vectors of two words at once and has each sum
// after two cycles, so eight sums have to be under way. fletcher2 has two a
// word: sixteen words are sixteen accumulators, twice what is needed, and eight
// loads fit beside them.
fn wide2(order: ByteOrder, data: &[u8]) -> Sums2 {
    match order {
        ByteOrder::Little => lanes::two::sums::<16, 128, false>(data),
        ByteOrder::Big => lanes::two::sums::<16, 128, true>(data),
    }
}

// fletcher4 has four sums a lane: eight lanes are sixteen accumulators, and NEON
// widens and adds words in one instruction, so that only the two loads stand
// beside them. Twelve lanes would fit, but bring nothing except more to join.
fn wide4(order: ByteOrder, data: &[u8]) -> Sums4 {
    match order {
        ByteOrder::Little => lanes::four::sums::<8, 32, false>(data),
        ByteOrder::Big => lanes::four::sums::<8, 32, true>(data),
    }
}
