//! Self-checksummed blocks: place, time, byte order, and hostile bytes.

use checksum::{
    Algorithm, ByteOrder, Checksum, Context,
    embedded::{self, BadUsed, CheckError, LOG_HEAD_BYTES, SealError, TRAILER_BYTES, Verifier},
};
use proptest::{collection::vec, prelude::*, sample::Index};

const SEED: Checksum = Checksum([0x1111, 0x2222, 9, 42]);
const LABEL: Verifier = Verifier::Label { offset_bytes: 131_072 };
const GANG: Verifier = Verifier::GangHeader { vdev: 1, offset_bytes: 0x40000, birth_txg: 77 };
const KINDS: [Verifier; 4] = [LABEL, GANG, Verifier::Zilog(SEED), Verifier::Zilog2(SEED)];

fn set_used(block: &mut [u8], used_bytes: u64, order: ByteOrder) {
    block[136..144].copy_from_slice(&match order {
        ByteOrder::Little => used_bytes.to_le_bytes(),
        ByteOrder::Big => used_bytes.to_be_bytes(),
    });
}

/// A sealed block of 16 KiB; a log block uses all of it.
fn sealed(verifier: &Verifier, order: ByteOrder) -> Vec<u8> {
    let mut block: Vec<u8> = (0..16384u32).map(|i| (i * 7 + (i >> 8)) as u8).collect();
    set_used(&mut block, 16384 - 100, order);
    embedded::seal(&mut block, verifier, order).unwrap();
    block
}

#[test]
fn either_byte_order_is_told_by_the_magic() {
    for verifier in KINDS {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let block = sealed(&verifier, order);
            assert_eq!(embedded::check(&block, &verifier), Ok(order), "{verifier:?}");
        }
    }
}

/// What sealing means, done by hand: magic and verifier into the trailer, hash
/// the covered part whole, hash over the verifier.
#[test]
fn sealing_equals_its_description() {
    for verifier in KINDS {
        let hash = match verifier {
            Verifier::Label { .. } | Verifier::GangHeader { .. } => Algorithm::Sha256,
            Verifier::Zilog(_) => Algorithm::Fletcher2,
            Verifier::Zilog2(_) => Algorithm::Fletcher4,
        };
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let block = sealed(&verifier, order);
            let at = if hash == Algorithm::Fletcher4 { 144 } else { block.len() - 40 };
            let bytes = |word: u64| match order {
                ByteOrder::Little => word.to_le_bytes(),
                ByteOrder::Big => word.to_be_bytes(),
            };

            let mut model = block.clone();
            model[at..at + 8].copy_from_slice(&bytes(0x0210_da7a_b10c_7a11));
            for (i, word) in verifier.words().0.into_iter().enumerate() {
                model[at + 8 + 8 * i..][..8].copy_from_slice(&bytes(word));
            }
            let sum = Context::new(hash, None).unwrap().compute(order, [&model[..]]);
            for (i, word) in sum.0.into_iter().enumerate() {
                model[at + 8 + 8 * i..][..8].copy_from_slice(&bytes(word));
            }

            assert_eq!(block, model, "{verifier:?} {order:?}");
        }
    }
}

#[test]
fn another_place_or_time_is_a_mismatch() {
    let moved = [
        (LABEL, Verifier::Label { offset_bytes: 131_072 + 512 }),
        (GANG, Verifier::GangHeader { vdev: 2, offset_bytes: 0x40000, birth_txg: 77 }),
        (GANG, Verifier::GangHeader { vdev: 1, offset_bytes: 0x40200, birth_txg: 77 }),
        (GANG, Verifier::GangHeader { vdev: 1, offset_bytes: 0x40000, birth_txg: 78 }),
        (Verifier::Zilog(SEED), Verifier::Zilog(Checksum([0x1111, 0x2222, 9, 43]))),
        (Verifier::Zilog2(SEED), Verifier::Zilog2(Checksum([0x1111, 0x2222, 9, 43]))),
    ];
    for (here, there) in moved {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let mut block = sealed(&here, order);
            let error = embedded::check(&block, &there).unwrap_err();
            let CheckError::Mismatch(mismatch) = error else { panic!("{error}") };
            assert!(error.is_checksum_error());
            assert_eq!(error.mismatch(), Some(mismatch));
            assert_eq!(mismatch.algorithm, here.algorithm());
            assert_eq!(mismatch.byteswapped, order.is_swapped());
            assert!(!mismatch.truncated);
            // Expected is what stands there, actual what would stand there.
            assert_eq!(embedded::seal(&mut block, &here, order), Ok(mismatch.expected));
            assert_eq!(embedded::seal(&mut block, &there, order), Ok(mismatch.actual));
        }
    }
}

#[test]
fn a_wrong_magic_is_a_checksum_error() {
    for verifier in KINDS {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let good = sealed(&verifier, order);
            let at = if verifier.algorithm() == Algorithm::Zilog2 { 144 } else { good.len() - 40 };
            for damaged in at..at + 8 {
                let mut block = good.clone();
                block[damaged] ^= 0x20;
                let stored = block[at + 8..at + 40].try_into().unwrap();
                let error = embedded::check(&block, &verifier).unwrap_err();
                assert!(error.is_checksum_error());
                let CheckError::Magic { algorithm, found, mismatch } = error else {
                    panic!("{error}")
                };
                assert_eq!(algorithm, verifier.algorithm());
                assert_eq!(found.to_le_bytes(), block[at..at + 8]);
                assert_eq!(mismatch.expected, Checksum::from_bytes(stored, ByteOrder::NATIVE));
                assert_ne!(mismatch.actual, mismatch.expected);
                assert_eq!(error.mismatch(), Some(mismatch));
            }
        }
        let error = embedded::check(&[0u8; 4096], &verifier).unwrap_err();
        let mismatch = error.mismatch().unwrap();
        assert!(matches!(error, CheckError::Magic { found: 0, .. }));
        assert_eq!(mismatch.expected, Checksum::ZERO);
        assert_ne!(mismatch.actual, Checksum::ZERO, "the verifier is hashed");
    }
}

/// A header is as large as the smallest allocation unit of its vdevs.
#[test]
fn gang_headers_have_any_size() {
    for size in [512, 1024, 2048, 4096, 4608, 8192, 16384, 65536, 131_072] {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let mut header: Vec<u8> = (0..size).map(|i| (i * 11 + (i >> 8)) as u8).collect();
            embedded::seal(&mut header, &GANG, order).unwrap();
            assert_eq!(embedded::check(&header, &GANG), Ok(order), "{size} bytes");
            // Read with the wrong size it is no header: the way a reader tells.
            if size > 512 {
                assert!(matches!(
                    embedded::check(&header[..512], &GANG),
                    Err(CheckError::Magic { algorithm: Algorithm::GangHeader, .. })
                ));
            }
        }
    }
}

/// Each slot of a ring of labels is good at its own offset and nowhere else.
#[test]
fn a_label_is_good_at_its_own_offset_alone() {
    let offsets = [0, 16384, 131_072, 131_072 + 1024, (1 << 40) - 262_144, u64::MAX - 511];
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for here in offsets {
            let mut slot = [0x77; 1024];
            embedded::seal(&mut slot, &Verifier::Label { offset_bytes: here }, order).unwrap();
            for there in offsets {
                let answer = embedded::check(&slot, &Verifier::Label { offset_bytes: there });
                assert_eq!(answer.is_ok(), here == there, "{here} at {there}: {answer:?}");
            }
        }
    }
}

#[test]
fn a_block_too_short_for_its_trailer_is_refused() {
    for verifier in KINDS {
        let min = match verifier {
            Verifier::Zilog2(_) => LOG_HEAD_BYTES,
            _ => TRAILER_BYTES,
        };
        for len in 0..min {
            let mut block = vec![0xa5; len];
            let error = embedded::check(&block, &verifier).unwrap_err();
            let CheckError::Length(length) = error else { panic!("{error}") };
            assert!(!error.is_checksum_error());
            assert_eq!((length.block_bytes, length.min_bytes), (len, min));
            let refused = embedded::seal(&mut block, &verifier, ByteOrder::NATIVE);
            assert_eq!(refused, Err(SealError::Length(length)));
            assert_eq!(block, vec![0xa5; len]);
        }
    }
    let mut least = [0; TRAILER_BYTES];
    embedded::seal(&mut least, &LABEL, ByteOrder::NATIVE).unwrap();
    assert_eq!(embedded::check(&least, &LABEL), Ok(ByteOrder::NATIVE));
    // fletcher2 would leave the last half of a pair uncovered.
    let odd = embedded::check(&[0; 4096 + 8], &Verifier::Zilog(SEED));
    assert!(matches!(odd, Err(CheckError::Length(l)) if l.multiple_of_bytes == 16));
}

#[test]
fn a_log_block_covers_its_used_part_rounded_up_to_4_kib() {
    let verifier = Verifier::Zilog2(SEED);
    for (used, covered) in [(184, 4096), (4096, 4096), (4097, 8192), (12288, 12288)] {
        let mut block = vec![0x3c; 12288];
        set_used(&mut block, used, ByteOrder::NATIVE);
        embedded::seal(&mut block, &verifier, ByteOrder::NATIVE).unwrap();
        for at in [0, 7, 8, 135, 184, 4095, 4096, 8191, 8192, 12287] {
            let mut rotten = block.clone();
            rotten[at] ^= 1;
            let answer = embedded::check(&rotten, &verifier);
            assert_eq!(answer.is_err(), at < covered, "used {used}, byte {at}: {answer:?}");
        }
    }
}

#[test]
fn an_impossible_used_field_is_a_checksum_error() {
    let verifier = Verifier::Zilog2(SEED);
    // Beyond the block; beyond it once rounded up (the block ends inside the
    // third 4 KiB); beyond all arithmetic; too small to cover the head.
    for used in [10001, 8193, u64::MAX, u64::MAX - 4095, 1 << 63, 0, 183] {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let mut block = vec![0u8; 10000];
            set_used(&mut block, 8192, order);
            embedded::seal(&mut block, &verifier, order).unwrap();
            set_used(&mut block, used, order);
            let error = embedded::check(&block, &verifier).unwrap_err();
            let bad = BadUsed { used_bytes: used, block_bytes: 10000 };
            assert_eq!(error, CheckError::Used(bad));
            assert!(error.is_checksum_error());
            assert_eq!(error.mismatch(), None);

            block[144..184].fill(0);
            let before = block.clone();
            let refused = embedded::seal(&mut block, &verifier, order);
            assert_eq!(refused, Err(SealError::Used(bad)));
            assert_eq!(block, before);
        }
    }
}

/// Damage that leaves the field possible is found by the hash, whether or not
/// it changes how much is covered.
#[test]
fn a_damaged_used_field_is_a_mismatch() {
    let verifier = Verifier::Zilog2(SEED);
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut good = vec![0x3c; 12288];
        set_used(&mut good, 5000, order);
        embedded::seal(&mut good, &verifier, order).unwrap();
        for used in [184, 185, 4095, 4096, 4097, 4999, 5001, 8192, 8193, 12287, 12288] {
            let mut block = good.clone();
            set_used(&mut block, used, order);
            let error = embedded::check(&block, &verifier).unwrap_err();
            let CheckError::Mismatch(mismatch) = error else { panic!("{used}: {error}") };
            assert_ne!(mismatch.expected, mismatch.actual);
            assert_eq!(mismatch.byteswapped, order.is_swapped());
        }
    }
}

#[test]
fn kinds_do_not_stand_in_for_each_other() {
    let words = Checksum([131_072, 0, 0, 0]);
    let label = sealed(&LABEL, ByteOrder::NATIVE);
    let as_zilog = embedded::check(&label, &Verifier::Zilog(words)).unwrap_err();
    assert!(matches!(as_zilog, CheckError::Mismatch(m) if m.algorithm == Algorithm::Zilog));
    let as_zilog2 = embedded::check(&label, &Verifier::Zilog2(words)).unwrap_err();
    assert!(matches!(as_zilog2, CheckError::Magic { algorithm: Algorithm::Zilog2, .. }));
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(
        mut block in vec(any::<u8>(), 0..9000),
        with_magic in any::<Option<bool>>(),
        used in prop_oneof![any::<u64>(), 0..10_000u64],
    ) {
        for verifier in KINDS {
            let at = match verifier {
                Verifier::Zilog2(_) => Some(144),
                _ => block.len().checked_sub(TRAILER_BYTES),
            };
            if let (Some(little), Some(at)) = (with_magic, at) {
                let order = if little { ByteOrder::Little } else { ByteOrder::Big };
                if at + TRAILER_BYTES <= block.len() {
                    let magic = if little {
                        embedded::MAGIC.to_le_bytes()
                    } else {
                        embedded::MAGIC.to_be_bytes()
                    };
                    block[at..at + 8].copy_from_slice(&magic);
                }
                if block.len() >= LOG_HEAD_BYTES {
                    set_used(&mut block, used, order);
                }
            }
            prop_assert!(embedded::check(&block, &verifier).is_err());
            for order in [ByteOrder::Little, ByteOrder::Big] {
                if embedded::seal(&mut block, &verifier, order).is_ok() {
                    prop_assert_eq!(embedded::check(&block, &verifier), Ok(order));
                }
            }
        }
    }

    #[test]
    fn any_flipped_bit_of_what_is_covered_is_found(at in any::<Index>(), bit in 0..8u8) {
        for verifier in KINDS {
            for order in [ByteOrder::Little, ByteOrder::Big] {
                let mut block = sealed(&verifier, order);
                let at = at.index(block.len());
                block[at] ^= 1 << bit;
                let error = embedded::check(&block, &verifier).unwrap_err();
                prop_assert!(error.is_checksum_error());
            }
        }
    }
}
