//! The laws that all functions obey.

mod common;

use checksum::{Algorithm, ByteOrder, Context, Flags, Salt};
use common::cut;
use proptest::{collection::vec, prelude::*, sample::Index};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

fn contexts() -> Vec<Context> {
    Algorithm::ALL
        .into_iter()
        .filter(|a| !a.flags().contains(Flags::EMBEDDED))
        .map(|a| Context::new(a, Some(&Salt([0x5a; 32]))).unwrap())
        .collect()
}

proptest! {
    /// Long enough for what the functions take at once: 16 KiB and more.
    #[test]
    fn long_segments_equal_the_whole(
        seed in any::<u8>(),
        len in 16_000..80_000usize,
        places in vec(any::<Index>(), 0..12),
    ) {
        let data: Vec<u8> = (0..len).map(|i| (i * 131 + (i >> 8) * 17) as u8 ^ seed).collect();
        for context in contexts() {
            let whole = context.compute(ByteOrder::NATIVE, [&data[..]]);
            let segments = cut(&data, &places);
            prop_assert_eq!(context.compute(ByteOrder::NATIVE, segments), whole);
            let sectors = data.chunks(512);
            prop_assert_eq!(context.compute(ByteOrder::NATIVE, sectors), whole);
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
