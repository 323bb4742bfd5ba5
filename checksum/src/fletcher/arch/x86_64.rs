//! The lane loops, compiled for AVX2 and for AVX-512.
//!
//! A token ([`Avx2`], [`Avx512`]) can be made only where the CPU has the
//! instructions, and only a token can run its kernels.

#![expect(unsafe_code, reason = "calling a function compiled for a CPU feature is unsafe")]

use std::arch::is_x86_feature_detected;

use super::super::{
    lanes,
    sums::{Sums2, Sums4},
};
use crate::ByteOrder;

/// Proof that this CPU has AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    /// The proof, if this CPU has AVX2.
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// Sums of fletcher2, from zero, of the whole pairs of `data`.
    pub(super) fn sums2(self, order: ByteOrder, data: &[u8]) -> Sums2 {
        // SAFETY: `avx2_2` needs only that the CPU has AVX2, and `self` exists
        // only where `detect` saw that it has.
        unsafe { avx2_2(order, data) }
    }

    /// Sums of fletcher4, from zero, of the whole words of `data`.
    pub(super) fn sums4(self, order: ByteOrder, data: &[u8]) -> Sums4 {
        // SAFETY: `avx2_4` needs only that the CPU has AVX2, and `self` exists
        // only where `detect` saw that it has.
        unsafe { avx2_4(order, data) }
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

    /// Sums of fletcher2, from zero, of the whole pairs of `data`.
    pub(super) fn sums2(self, order: ByteOrder, data: &[u8]) -> Sums2 {
        // SAFETY: `avx512_2` needs only that the CPU has AVX-512 F, BW, DQ and
        // VL, and `self` exists only where `detect` saw that it has.
        unsafe { avx512_2(order, data) }
    }

    /// Sums of fletcher4, from zero, of the whole words of `data`.
    pub(super) fn sums4(self, order: ByteOrder, data: &[u8]) -> Sums4 {
        // SAFETY: `avx512_4` needs only that the CPU has AVX-512 F, BW, DQ and
        // VL, and `self` exists only where `detect` saw that it has.
        unsafe { avx512_4(order, data) }
    }
}

// Twenty-four words are twelve accumulators of four words each, which leaves
// four of the sixteen registers for loading. Measured on Zen 4 at 8 KiB, GB/s,
// for 4, 8 and 12 pairs: 77, 87, 107; swapped 57, 40, 80.
#[target_feature(enable = "avx2")]
fn avx2_2(order: ByteOrder, data: &[u8]) -> Sums2 {
    match order {
        ByteOrder::Little => lanes::two::sums::<24, 192, false>(data),
        ByteOrder::Big => lanes::two::sums::<24, 192, true>(data),
    }
}

// Twelve lanes are twelve accumulators as well. Measured on Zen 4 at 8 KiB,
// GB/s: 8 lanes 28, 12 lanes 37, 16 lanes (which spill) 20.
#[target_feature(enable = "avx2")]
fn avx2_4(order: ByteOrder, data: &[u8]) -> Sums4 {
    match order {
        ByteOrder::Little => lanes::four::sums::<12, 48, false>(data),
        ByteOrder::Big => lanes::four::sums::<12, 48, true>(data),
    }
}

// Twenty-four words are six accumulators of eight words each. Measured on Zen 4
// at 8 KiB, GB/s, for 8, 12, 16 and 24 pairs: 84, 102, 95, 80; swapped 59, 84,
// 79, 66.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512_2(order: ByteOrder, data: &[u8]) -> Sums2 {
    match order {
        ByteOrder::Little => lanes::two::sums::<24, 192, false>(data),
        ByteOrder::Big => lanes::two::sums::<24, 192, true>(data),
    }
}

// Twenty-four lanes are twelve of thirty-two registers. Measured on Zen 4 at
// 8 KiB and 128 KiB, GB/s: 16 lanes 37 and 41, 24 lanes 38 and 43, 32 lanes 37
// and 44; swapped, where 16 lanes are best, 33 and 39, 33 and 35, 34 and 36.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512_4(order: ByteOrder, data: &[u8]) -> Sums4 {
    match order {
        ByteOrder::Little => lanes::four::sums::<24, 96, false>(data),
        ByteOrder::Big => lanes::four::sums::<16, 64, true>(data),
    }
}
