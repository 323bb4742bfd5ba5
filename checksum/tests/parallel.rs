//! The parallel methods give the sequential answers.

#![cfg(feature = "rayon")]

use checksum::{Algorithm, ByteOrder, Context, Flags, Salt};

#[test]
fn parallel_equals_sequential() {
    let data: Vec<u8> = (0..(1 << 20) + 77u32).map(|i| (i * 31 + (i >> 9)) as u8).collect();
    let (head, rest) = data.split_at(300_001);
    for algorithm in Algorithm::ALL {
        if algorithm.flags().contains(Flags::EMBEDDED) {
            continue;
        }
        let context = Context::new(algorithm, Some(&Salt([3; 32]))).unwrap();
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let expected = context.compute(order, [&data[..]]);
            assert_eq!(context.compute_parallel(order, [head, rest]), expected, "{algorithm}");
            context.verify_parallel(order, [head, rest], &expected).unwrap();
            if !matches!(algorithm, Algorithm::Off | Algorithm::NoParity) {
                let mismatch = context.verify_parallel(order, [rest, head], &expected).unwrap_err();
                assert_eq!(mismatch.expected, expected);
            }
        }
    }
}
