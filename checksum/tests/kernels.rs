//! Each kernel of the fletchers against a slow, obvious model: at every length
//! and alignment, cut anywhere, in both byte orders.

mod common;

use checksum::{
    ByteOrder, Checksum,
    fletcher::{Fletcher2, Fletcher4, Kernel},
};
use common::cut;
use proptest::{collection::vec, prelude::*, sample::Index};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// A fletcher by its definition, a unit at a time.
trait Model: Default {
    const UNIT_BYTES: usize;
    fn push(&mut self, order: ByteOrder, unit: &[u8]);
    fn checksum(&self) -> Checksum;
    /// The same by a kernel.
    fn kernel<'a>(
        kernel: Kernel,
        order: ByteOrder,
        segments: impl IntoIterator<Item = &'a [u8]>,
    ) -> Checksum;

    /// The sums of all of `data`, filled up with zeros to whole units.
    fn of(order: ByteOrder, data: &[u8]) -> Checksum {
        let mut model = Self::default();
        for chunk in data.chunks(Self::UNIT_BYTES) {
            let mut unit = chunk.to_vec();
            unit.resize(Self::UNIT_BYTES, 0);
            model.push(order, &unit);
        }
        model.checksum()
    }
}

/// An integer from bytes in an order.
fn integer(order: ByteOrder, bytes: &[u8]) -> u64 {
    let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    match order {
        ByteOrder::Little => bytes.iter().rev().fold(0, join),
        ByteOrder::Big => bytes.iter().fold(0, join),
    }
}

#[derive(Default)]
struct Model2 {
    a: [u64; 2],
    b: [u64; 2],
}

impl Model for Model2 {
    const UNIT_BYTES: usize = 16;

    fn push(&mut self, order: ByteOrder, unit: &[u8]) {
        for stream in 0..2 {
            let word = integer(order, &unit[8 * stream..8 * stream + 8]);
            self.a[stream] = self.a[stream].wrapping_add(word);
            self.b[stream] = self.b[stream].wrapping_add(self.a[stream]);
        }
    }

    fn checksum(&self) -> Checksum {
        Checksum([self.a[0], self.a[1], self.b[0], self.b[1]])
    }

    fn kernel<'a>(
        kernel: Kernel,
        order: ByteOrder,
        segments: impl IntoIterator<Item = &'a [u8]>,
    ) -> Checksum {
        let mut state = Fletcher2::with_kernel(order, kernel);
        segments.into_iter().for_each(|segment| state.update(segment));
        state.finish()
    }
}

#[derive(Default)]
struct Model4([u64; 4]);

impl Model for Model4 {
    const UNIT_BYTES: usize = 4;

    fn push(&mut self, order: ByteOrder, unit: &[u8]) {
        let mut into = integer(order, unit);
        for sum in &mut self.0 {
            *sum = sum.wrapping_add(into);
            into = *sum;
        }
    }

    fn checksum(&self) -> Checksum {
        Checksum(self.0)
    }

    fn kernel<'a>(
        kernel: Kernel,
        order: ByteOrder,
        segments: impl IntoIterator<Item = &'a [u8]>,
    ) -> Checksum {
        let mut state = Fletcher4::with_kernel(order, kernel);
        segments.into_iter().for_each(|segment| state.update(segment));
        state.finish()
    }
}

/// Bytes whose sums soon wrap.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8 | 0x80
        })
        .collect()
}

/// Every length of whole units to `LEN_MAX`, each at 64 alignments.
fn every_length_and_alignment<M: Model>(kernel: Kernel) {
    const LEN_MAX: usize = 4096;
    let buffer = noise(LEN_MAX + 64, 1);
    for start in 0..64 {
        for order in ORDERS {
            let mut model = M::default();
            for len in (0..=LEN_MAX).step_by(M::UNIT_BYTES) {
                let data = &buffer[start..start + len];
                let actual = M::kernel(kernel, order, [data]);
                assert_eq!(actual, model.checksum(), "{order:?}, {len} bytes at {start}");
                if let Some(unit) = buffer.get(start + len..start + len + M::UNIT_BYTES) {
                    model.push(order, unit);
                }
            }
        }
    }
}

fn large_blocks<M: Model>(kernel: Kernel) {
    for (len, seed) in [(8 << 10, 2), (128 << 10, 3), ((1 << 20) + 20, 4)] {
        let data = noise(len, seed);
        for order in ORDERS {
            let expected = M::of(order, &data);
            assert_eq!(M::kernel(kernel, order, [&data[..]]), expected, "{order:?}, {len} bytes");
        }
    }
}

fn any_segments<M: Model>(
    kernel: Kernel,
    data: &[u8],
    places: &[Index],
) -> Result<(), TestCaseError> {
    for order in ORDERS {
        let actual = M::kernel(kernel, order, cut(data, places));
        prop_assert_eq!(actual, M::of(order, data), "{:?}", order);
    }
    Ok(())
}

/// The kernel of this name, if this CPU has it.
fn find(name: &str) -> Option<Kernel> {
    Kernel::available().find(|kernel| kernel.name() == name)
}

/// The same tests for each kernel, in a module of its name. One that this CPU
/// cannot run has nothing to show.
macro_rules! kernels {
    ($($name:ident)*) => {
        /// What the tests know of.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(mod $name {
            use super::*;

            #[test]
            fn equals_the_model_at_every_length_and_alignment() {
                if let Some(kernel) = find(stringify!($name)) {
                    every_length_and_alignment::<Model2>(kernel);
                    every_length_and_alignment::<Model4>(kernel);
                }
            }

            #[test]
            fn equals_the_model_on_large_blocks() {
                if let Some(kernel) = find(stringify!($name)) {
                    large_blocks::<Model2>(kernel);
                    large_blocks::<Model4>(kernel);
                }
            }

            proptest! {
                #[test]
                fn equals_the_model_in_any_segments(
                    data in vec(any::<u8>(), 0..12_000),
                    places in vec(any::<Index>(), 0..8),
                ) {
                    if let Some(kernel) = find(stringify!($name)) {
                        any_segments::<Model2>(kernel, &data, &places)?;
                        any_segments::<Model4>(kernel, &data, &places)?;
                    }
                }
            }
        })*
    };
}

kernels! { scalar narrow sse2 wide neon avx2 avx512 }

#[test]
fn no_kernel_is_left_out() {
    let names: Vec<&str> = Kernel::available().map(Kernel::name).collect();
    assert!(names.iter().all(|name| NAMES.contains(name)), "{names:?}");
    for kernel in [Kernel::SCALAR, Kernel::NARROW, Kernel::WIDE, Kernel::BASELINE] {
        assert!(names.contains(&kernel.name()), "{names:?}");
    }
    assert_eq!(names.last(), Some(&Kernel::fastest().name()));
    if cfg!(target_arch = "x86_64") {
        assert_eq!(Kernel::BASELINE.name(), "sse2");
    }
    if cfg!(target_arch = "aarch64") {
        assert_eq!(Kernel::BASELINE.name(), "neon");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn kernels_are_those_of_the_features() {
    let has = |name| find(name).is_some();
    assert_eq!(has("avx2"), is_x86_feature_detected!("avx2"));
    assert_eq!(
        has("avx512"),
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
    );
}
