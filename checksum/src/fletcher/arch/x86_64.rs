//! The lane loop, compiled for AVX2 and for AVX-512.
//!
//! A token ([`Avx2`], [`Avx512`]) can be made only where the CPU has the
//! instructions, and only a token can run its kernel.

#![expect(unsafe_code, reason = "calling a function compiled for a CPU feature is unsafe")]

use std::arch::is_x86_feature_detected;

use super::super::{lanes, sums::Sums};
use crate::ByteOrder;

/// Proof that this CPU has AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    /// The proof, if this CPU has AVX2.
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Sums, from zero, of the whole words of `data`.
    pub(super) fn sums(self, order: ByteOrder, data: &[u8]) -> Sums {
        // SAFETY: `avx2` needs only that the CPU has AVX2, and `self` exists
        // only where `detect` saw that it has.
        unsafe { avx2(order, data) }
    }
}

/// Proof that this CPU has AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The proof, if this CPU has AVX-512 F, BW, DQ and VL.
    pub(super) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        has_all.then_some(Self(()))
    }

    /// Sums, from zero, of the whole words of `data`.
    pub(super) fn sums(self, order: ByteOrder, data: &[u8]) -> Sums {
        // SAFETY: `avx512` needs only that the CPU has AVX-512 F, BW, DQ and
        // VL, and `self` exists only where `detect` saw that it has.
        unsafe { avx512(order, data) }
    }
}

// Twelve lanes are twelve accumulator registers of four lanes each, which leaves
// four of the sixteen for loading. Measured on Zen 4 at 8 KiB, GB/s: 8 lanes 28,
// 12 lanes 37, 16 lanes (which spill) 20.
#[target_feature(enable = "avx2")]
fn avx2(order: ByteOrder, data: &[u8]) -> Sums {
    match order {
        ByteOrder::Little => lanes::sums::<12, 48, false>(data),
        ByteOrder::Big => lanes::sums::<12, 48, true>(data),
    }
}

// Sixteen lanes are eight of thirty-two registers, and enough to hide latency.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(order: ByteOrder, data: &[u8]) -> Sums {
    match order {
        ByteOrder::Little => lanes::sums::<16, 64, false>(data),
        ByteOrder::Big => lanes::sums::<16, 64, true>(data),
    }
}
