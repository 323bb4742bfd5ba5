//! The table of ids, names and flags, which is on disk and in other people's
//! heads; and the small value types.

use checksum::{Algorithm, AlgorithmError, ByteOrder, Checksum, Context, ContextError, Salt};

#[test]
fn ids_names_and_flags() {
    let mut table = String::new();
    for id in 0..=u8::MAX {
        use std::fmt::Write as _;
        match Algorithm::from_id(id) {
            Ok(algorithm) => {
                assert_eq!(algorithm.id(), id);
                assert_eq!(Algorithm::try_from(id), Ok(algorithm));
                let flags: Vec<&str> = algorithm.flags().iter_names().map(|(n, _)| n).collect();
                writeln!(table, "{id} {algorithm} [{}]", flags.join(" ")).unwrap();
            }
            Err(AlgorithmError::PropertyOnly { id: said, name }) => {
                assert_eq!(said, id);
                writeln!(table, "{id} {name} property").unwrap();
            }
            Err(error) => assert_eq!(error, AlgorithmError::Unknown { id }),
        }
    }
    let golden = "\
0 inherit property
1 on property
2 off []
3 label [METADATA EMBEDDED]
4 gang_header [METADATA EMBEDDED]
5 zilog [EMBEDDED]
6 fletcher2 []
7 fletcher4 [METADATA]
8 sha256 [METADATA DEDUP NOPWRITE]
9 zilog2 [EMBEDDED]
10 noparity []
11 sha512 [METADATA DEDUP NOPWRITE]
12 skein [METADATA DEDUP NOPWRITE SALTED]
13 edonr [METADATA NOPWRITE SALTED]
14 blake3 [METADATA DEDUP NOPWRITE SALTED]
";
    assert_eq!(table, golden);
}

#[test]
fn all_is_every_id_in_order() {
    let by_id: Vec<Algorithm> =
        (0..=u8::MAX).filter_map(|id| Algorithm::from_id(id).ok()).collect();
    assert_eq!(Algorithm::ALL.to_vec(), by_id);
}

#[test]
fn contexts_exist_for_what_can_run() {
    let salt = Salt([7; 32]);
    for algorithm in Algorithm::ALL {
        let flags = algorithm.flags();
        let salted = Context::new(algorithm, Some(&salt));
        let unsalted = Context::new(algorithm, None);
        if flags.contains(checksum::Flags::EMBEDDED) {
            assert_eq!(salted.unwrap_err(), ContextError::Embedded { algorithm });
            assert_eq!(unsalted.unwrap_err(), ContextError::Embedded { algorithm });
        } else if flags.contains(checksum::Flags::SALTED) {
            assert_eq!(salted.unwrap().algorithm(), algorithm);
            assert_eq!(unsalted.unwrap_err(), ContextError::SaltMissing { algorithm });
        } else {
            let data: &[u8] = b"0123456789abcdef";
            let (with, without) = (salted.unwrap(), unsalted.unwrap());
            assert_eq!(without.flags(), flags);
            assert_eq!(
                with.compute(ByteOrder::NATIVE, [data]),
                without.compute(ByteOrder::NATIVE, [data]),
                "{algorithm} has no use for a salt"
            );
        }
    }
}

#[test]
fn salts_are_keys() {
    let data: &[u8] = b"equal data in two pools";
    for algorithm in [Algorithm::Skein, Algorithm::Edonr, Algorithm::Blake3] {
        let one = Context::new(algorithm, Some(&Salt([1; 32]))).unwrap();
        let two = Context::new(algorithm, Some(&Salt([2; 32]))).unwrap();
        let sum = one.compute(ByteOrder::NATIVE, [data]);
        one.verify(ByteOrder::NATIVE, [data], &sum).unwrap();
        two.verify(ByteOrder::NATIVE, [data], &sum).unwrap_err();
        assert_eq!(format!("{one:?}"), format!("{two:?}"), "{algorithm} shows its key");
        let [one, two] = [one, two].map(|context| context.hasher(ByteOrder::NATIVE));
        assert_eq!(format!("{one:?}"), format!("{two:?}"), "{algorithm} shows its key");
    }
    assert_eq!(format!("{:?}", Salt([1; 32])), "Salt(..)");
}

#[test]
fn off_accepts_everything() {
    for algorithm in [Algorithm::Off, Algorithm::NoParity] {
        let context = Context::new(algorithm, None).unwrap();
        let data: &[u8] = b"anything";
        assert_eq!(context.compute(ByteOrder::NATIVE, [data]), Checksum::ZERO);
        context.verify(ByteOrder::NATIVE, [data], &Checksum([1, 2, 3, 4])).unwrap();
        let mut hasher = context.hasher(ByteOrder::NATIVE);
        hasher.update(data);
        assert_eq!(hasher.finish(), Checksum::ZERO);
    }
}

#[test]
fn checksums_print_and_travel() {
    let sum = Checksum([1, 0x0203, 0, 0xfedc_ba98_7654_3210]);
    assert_eq!(
        sum.to_string(),
        "0000000000000001:0000000000000203:0000000000000000:fedcba9876543210"
    );
    let little = sum.to_bytes(ByteOrder::Little);
    assert_eq!(little[..10], [1, 0, 0, 0, 0, 0, 0, 0, 3, 2]);
    for order in [ByteOrder::Little, ByteOrder::Big] {
        assert_eq!(Checksum::from_bytes(&sum.to_bytes(order), order), sum);
        assert_ne!(Checksum::from_bytes(&sum.to_bytes(order), order.opposite()), sum);
    }
}

#[test]
fn a_mismatch_says_what_was_compared() {
    let context = Context::new(Algorithm::Fletcher4, None).unwrap();
    let wrong = Checksum([9; 4]);
    let order = ByteOrder::NATIVE.opposite();
    let mismatch = context.verify(order, [&[0; 8][..]], &wrong).unwrap_err();
    assert_eq!((mismatch.expected, mismatch.actual), (wrong, Checksum::ZERO));
    assert!(mismatch.byteswapped);
    let text = mismatch.to_string();
    assert!(text.starts_with("fletcher4 checksum mismatch: expected 0000000000000009:"), "{text}");
    assert!(text.ends_with("(block of the other byte order)"), "{text}");
    let mismatch = context.verify(ByteOrder::NATIVE, [&[0; 8][..]], &wrong).unwrap_err();
    assert!(!mismatch.byteswapped);
}

#[test]
fn truncation_beside_a_mac_folds_what_is_weak() {
    let full = Checksum([0x01, 0x02, 0x10, 0x20]);
    assert_eq!(Algorithm::Fletcher4.truncate_for_mac(full), [0x11, 0x22]);
    assert_eq!(Algorithm::Fletcher2.truncate_for_mac(full), [0x11, 0x22]);
    assert_eq!(Algorithm::Sha256.truncate_for_mac(full), [0x01, 0x02]);
    assert_eq!(Algorithm::Skein.truncate_for_mac(full), [0x01, 0x02]);
    assert_eq!(Algorithm::Edonr.truncate_for_mac(full), [0x11, 0x22]);
    assert_eq!(Algorithm::Blake3.truncate_for_mac(full), [0x01, 0x02]);
}

#[test]
fn a_block_beside_a_mac_verifies_by_two_words() {
    let salt = Salt([9; 32]);
    let (head, tail): (&[u8], &[u8]) = (&[0x5a; 700], &[0xc3; 324]);
    for algorithm in Algorithm::ALL {
        let Ok(context) = Context::new(algorithm, Some(&salt)) else { continue };
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let full = context.compute(order, [head, tail]);
            let [a, b, c, d] = full.0;
            let strong = algorithm.flags().contains(checksum::Flags::DEDUP);
            let two = if strong { [a, b] } else { [a ^ c, b ^ d] };
            assert_eq!(context.compute_truncated(order, [head, tail]), two, "{algorithm}");
            assert_eq!(context.verify_truncated(order, [head, tail], two), Ok(()));

            let answer = context.verify_truncated(order, [tail, head], two);
            if matches!(algorithm, Algorithm::Off | Algorithm::NoParity) {
                assert_eq!(answer, Ok(()));
                continue;
            }
            let mismatch = answer.unwrap_err();
            let [e, f] = context.compute_truncated(order, [tail, head]);
            assert!(mismatch.truncated);
            assert_eq!(mismatch.expected, Checksum([two[0], two[1], 0, 0]));
            assert_eq!(mismatch.actual, Checksum([e, f, 0, 0]));
            assert_eq!(mismatch.algorithm, algorithm);
            assert_eq!(mismatch.byteswapped, order.is_swapped());
            // One word alone is enough to differ.
            for wrong in [[two[0] ^ 1, two[1]], [two[0], two[1] ^ 1 << 63]] {
                assert!(context.verify_truncated(order, [head, tail], wrong).is_err());
            }
        }
    }
}

#[test]
fn a_mismatch_beside_a_mac_shows_two_words() {
    let context = Context::new(Algorithm::Fletcher4, None).unwrap();
    let order = ByteOrder::NATIVE;
    let mismatch = context.verify_truncated(order, [&[0; 8][..]], [9, 0xa]).unwrap_err();
    assert_eq!(
        mismatch.to_string(),
        "fletcher4 checksum mismatch beside a MAC: \
         expected 0000000000000009:000000000000000a, \
         actual 0000000000000000:0000000000000000"
    );
}
