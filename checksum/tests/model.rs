//! A slow, obvious model of the fletchers, and the laws all functions obey.

use checksum::{
    Algorithm, ByteOrder, Checksum, Context, Flags, Salt,
    fletcher::{Fletcher4, Kernel},
};
use proptest::{collection::vec, prelude::*, sample::Index};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// fletcher4 by its definition. `data` is filled up with zeros to whole words.
fn model4(order: ByteOrder, data: &[u8]) -> Checksum {
    let [mut a, mut b, mut c, mut d] = [0u64; 4];
    for chunk in data.chunks(4) {
        let mut bytes = [0; 4];
        bytes[..chunk.len()].copy_from_slice(chunk);
        if order == ByteOrder::Big {
            bytes.reverse();
        }
        a = a.wrapping_add(u64::from(u32::from_le_bytes(bytes)));
        b = b.wrapping_add(a);
        c = c.wrapping_add(b);
        d = d.wrapping_add(c);
    }
    Checksum([a, b, c, d])
}

/// fletcher2 by its definition. `data` is filled up with zeros to whole pairs.
fn model2(order: ByteOrder, data: &[u8]) -> Checksum {
    let (mut a, mut b) = ([0u64; 2], [0u64; 2]);
    for chunk in data.chunks(16) {
        let mut pair = [0; 16];
        pair[..chunk.len()].copy_from_slice(chunk);
        for lane in 0..2 {
            let mut bytes: [u8; 8] = std::array::from_fn(|i| pair[8 * lane + i]);
            if order == ByteOrder::Big {
                bytes.reverse();
            }
            a[lane] = a[lane].wrapping_add(u64::from_le_bytes(bytes));
            b[lane] = b[lane].wrapping_add(a[lane]);
        }
    }
    Checksum([a[0], a[1], b[0], b[1]])
}

fn kernel4(order: ByteOrder, kernel: Kernel, data: &[u8]) -> Checksum {
    let mut state = Fletcher4::with_kernel(order, kernel);
    state.update(data);
    state.finish()
}

fn contexts() -> Vec<Context> {
    Algorithm::ALL
        .into_iter()
        .filter(|a| !a.flags().contains(Flags::EMBEDDED))
        .map(|a| Context::new(a, Some(&Salt([0x5a; 32]))).unwrap())
        .collect()
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

/// Cuts `data` at the given places, in any order, with repeats.
fn cut<'a>(data: &'a [u8], places: &[Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = places.iter().map(|i| i.index(data.len() + 1)).collect();
    ends.push(data.len());
    ends.sort_unstable();
    let mut from = 0;
    ends.into_iter()
        .map(|to| {
            let segment = &data[from..to];
            from = to;
            segment
        })
        .collect()
}

#[test]
fn every_kernel_equals_the_model_at_every_length_and_alignment() {
    let kernels: Vec<Kernel> = Kernel::available().collect();
    let buffer = noise(4096 + 64, 1);
    for len in (0..=4096).step_by(4) {
        for start in 0..64 {
            let data = &buffer[start..start + len];
            for order in ORDERS {
                let expected = model4(order, data);
                for kernel in &kernels {
                    let actual = kernel4(order, *kernel, data);
                    assert_eq!(actual, expected, "{} {len} bytes at {start}", kernel.name());
                }
            }
        }
    }
}

#[test]
fn every_kernel_equals_the_model_on_large_blocks() {
    for (len, seed) in [(128 << 10, 2), ((1 << 20) + 20, 3)] {
        let data = noise(len, seed);
        for order in ORDERS {
            let expected = model4(order, &data);
            for kernel in Kernel::available() {
                assert_eq!(kernel4(order, kernel, &data), expected, "{} {len}", kernel.name());
            }
        }
    }
}

#[test]
fn the_fastest_kernel_is_one_of_those_available() {
    let names: Vec<&str> = Kernel::available().map(Kernel::name).collect();
    assert_eq!(names[..2], ["scalar", "baseline"]);
    assert_eq!(names.last(), Some(&Kernel::fastest().name()));
}

proptest! {
    #[test]
    fn every_kernel_equals_the_model_in_any_segments(
        data in vec(any::<u8>(), 0..6000),
        places in vec(any::<Index>(), 0..8),
    ) {
        for order in ORDERS {
            let expected = model4(order, &data);
            for kernel in Kernel::available() {
                let mut state = Fletcher4::with_kernel(order, kernel);
                cut(&data, &places).into_iter().for_each(|segment| state.update(segment));
                prop_assert_eq!(state.finish(), expected, "{}", kernel.name());
            }
        }
    }

    #[test]
    fn fletcher2_equals_the_model_in_any_segments(
        data in vec(any::<u8>(), 0..6000),
        places in vec(any::<Index>(), 0..8),
    ) {
        let context = Context::new(Algorithm::Fletcher2, None).unwrap();
        for order in ORDERS {
            prop_assert_eq!(context.compute(order, cut(&data, &places)), model2(order, &data));
        }
    }

    #[test]
    fn segments_and_increments_equal_the_whole(
        data in vec(any::<u8>(), 0..6000),
        places in vec(any::<Index>(), 0..8),
    ) {
        for context in contexts() {
            for order in ORDERS {
                let whole = context.compute(order, [&data[..]]);
                let segments = cut(&data, &places);
                prop_assert_eq!(context.compute(order, segments.iter().copied()), whole);
                prop_assert!(context.verify(order, segments.iter().copied(), &whole).is_ok());
                let mut hasher = context.hasher(order);
                segments.into_iter().for_each(|segment| hasher.update(segment));
                prop_assert_eq!(hasher.finish(), whole);
            }
        }
    }

    #[test]
    fn the_other_order_is_this_order_on_swapped_words(words in vec(any::<u64>(), 0..500)) {
        let bytes_of = |swap: fn(u64) -> u64| -> Vec<u8> {
            words.iter().flat_map(|&word| swap(word).to_le_bytes()).collect()
        };
        let plain = bytes_of(|word| word);
        // Swapping the bytes of each half, halves in place; and of each whole.
        let swapped32 = bytes_of(|word| word.swap_bytes().rotate_left(32));
        let swapped64 = bytes_of(u64::swap_bytes);
        for (algorithm, swapped) in
            [(Algorithm::Fletcher4, &swapped32), (Algorithm::Fletcher2, &swapped64)]
        {
            let context = Context::new(algorithm, None).unwrap();
            prop_assert_eq!(
                context.compute(ByteOrder::Big, [&plain[..]]),
                context.compute(ByteOrder::Little, [&swapped[..]])
            );
        }
    }

    #[test]
    fn a_flipped_bit_is_a_mismatch(
        data in vec(any::<u8>(), 1..6000),
        at in any::<Index>(),
        bit in 0..8u8,
        places in vec(any::<Index>(), 0..4),
    ) {
        let mut rotten = data.clone();
        rotten[at.index(data.len())] ^= 1 << bit;
        for context in contexts() {
            if matches!(context.algorithm(), Algorithm::Off | Algorithm::NoParity) {
                continue;
            }
            for order in ORDERS {
                let expected = context.compute(order, [&data[..]]);
                let mismatch = context.verify(order, cut(&rotten, &places), &expected).unwrap_err();
                prop_assert_eq!(mismatch.expected, expected);
                prop_assert_eq!(mismatch.actual, context.compute(order, [&rotten[..]]));
                prop_assert_eq!(mismatch.algorithm, context.algorithm());
                prop_assert_eq!(mismatch.byteswapped, order.is_swapped());
            }
        }
    }
}
