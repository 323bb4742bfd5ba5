//! The fletcher4 kernels and the choice between them.

use std::sync::OnceLock;

use super::{lanes, sums, sums::Sums};
use crate::ByteOrder;

#[cfg(target_arch = "x86_64")]
mod x86_64;

/// Below this many bytes the scalar loop is quicker than lanes, which have to
/// be brought together at the end. Measured on Zen 4: AVX2
/// and the baseline meet it near 256 bytes.
const LANES_BYTES_MIN: usize = 256;

/// A compiled variant of the fletcher4 loop. All of them give the same sums.
///
/// [`Fletcher4::new`](super::Fletcher4::new) takes [`Kernel::fastest`]. The
/// others are there to be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86_64::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86_64::Avx512),
}

impl Kernel {
    /// One word after the other: the definition.
    pub const SCALAR: Self = Self(Kind::Scalar);

    /// Lanes, compiled for the instruction set every CPU of the target has.
    pub const BASELINE: Self = Self(Kind::Baseline);

    /// All variants this CPU can run, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let wide: [Option<Self>; 2] = {
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
        [Self::SCALAR, Self::BASELINE].into_iter().chain(wide.into_iter().flatten())
    }

    /// The quickest variant for this CPU. Decided once per process, by the
    /// CPU's features.
    #[must_use]
    pub fn fastest() -> Self {
        static FASTEST: OnceLock<Kernel> = OnceLock::new();
        *FASTEST.get_or_init(|| Self::available().last().unwrap_or(Self::BASELINE))
    }

    /// A name for tables: `"scalar"`, `"baseline"`, `"avx2"`, `"avx512"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            Kind::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
        }
    }

    /// Sums, from zero, of the whole words of `data`.
    #[inline]
    pub(super) fn sums(self, order: ByteOrder, data: &[u8]) -> Sums {
        if data.len() < LANES_BYTES_MIN {
            return sums::scalar(order, data);
        }
        match self.0 {
            Kind::Scalar => sums::scalar(order, data),
            Kind::Baseline => baseline(order, data),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(cpu) => cpu.sums(order, data),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(cpu) => cpu.sums(order, data),
        }
    }
}

/// Two lanes: measured on Zen 4, four or more no longer fit the registers that
/// every x86-64 has, and are slower than one.
fn baseline(order: ByteOrder, data: &[u8]) -> Sums {
    match order {
        ByteOrder::Little => lanes::sums::<2, 8, false>(data),
        ByteOrder::Big => lanes::sums::<2, 8, true>(data),
    }
}
