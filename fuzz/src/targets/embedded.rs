//! `embedded`: blocks that carry their own checksum: gang headers and log blocks of both ages.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | bits 0–1: kind; bit 2: writer's byte order; bit 3: judge the block as it came, or seal it first |
//! | 1, 2 | length of the block ([`Input::length_bytes`], 16 KiB at most) |
//! | 3, 4 | where a sealed block is damaged |
//! | 5 … 36 | the four words of the verifier |
//! | rest | the beginning of the block; zeros follow |

use std::io::{Write as _, sink};

use checksum::embedded::{LOG_COVER_BYTES, LOG_HEAD_BYTES, SealError, Verifier, check, seal};
use checksum::{ByteOrder, Checksum};

use crate::input::Input;

const BLOCK_BYTES_MAX: usize = 16 << 10;

/// Where a log block says how much of it is used.
const USED_AT: usize = 136;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let block_bytes = input.length_bytes().min(BLOCK_BYTES_MAX);
    let damage_at = usize::from(input.u16());
    let words = std::array::from_fn(|_| input.u64());
    let [vdev, offset_bytes, birth_txg, _] = words;
    let verifier = match choice & 3 {
        0 => Verifier::GangHeader { vdev, offset_bytes, birth_txg },
        1 => Verifier::Zilog(Checksum(words)),
        2 => Verifier::Zilog2(Checksum(words)),
        _ => Verifier::Label { offset_bytes },
    };
    let order = if choice & 4 == 0 { ByteOrder::Little } else { ByteOrder::Big };
    let mut block = input.rest().to_vec();
    block.resize(block_bytes, 0);
    if choice & 8 == 0 {
        judge(&block, &verifier);
    } else {
        seal_and_damage(&mut block, &verifier, order, damage_at);
    }
}

/// Any block at all: judged without a panic, and what is found good is what sealing makes.
pub(super) fn judge(block: &[u8], verifier: &Verifier) {
    match check(block, verifier) {
        Ok(order) => {
            let mut sealed = block.to_vec();
            let sum = seal(&mut sealed, verifier, order).expect("what checks can be sealed");
            assert_eq!(sealed, block, "sealed anew to {sum:?}, it is another block");
        }
        Err(error) => write!(sink(), "{error} {error:?} {}", error.is_checksum_error())
            .expect("a sink takes everything"),
    }
}

/// A sealed block is good, in its own place alone, and not with any covered byte changed.
pub(super) fn seal_and_damage(
    block: &mut [u8],
    verifier: &Verifier,
    order: ByteOrder,
    damage_at: usize,
) {
    let before = block.to_vec();
    let sum = match seal(block, verifier, order) {
        Ok(sum) => sum,
        Err(error) => {
            assert_eq!(block, before, "not sealed, and yet touched");
            let says_length = check(block, verifier).is_err_and(|e| !e.is_checksum_error());
            assert_eq!(matches!(error, SealError::Length(_)), says_length, "{error}");
            return;
        }
    };
    assert_eq!(check(block, verifier), Ok(order), "sealed with {sum:?}");

    let other = elsewhere(verifier);
    assert!(check(block, &other).is_err(), "good for {verifier:?} and for {other:?}");

    let at = damage_at % block.len();
    block[at] ^= 1 << (damage_at % 8);
    let covered = covered_bytes(verifier, &before, order);
    let answer = check(block, verifier);
    assert_eq!(answer.is_ok(), at >= covered, "byte {at} of {covered} changed: {answer:?}");
}

/// How much of a block that can be sealed is protected.
fn covered_bytes(verifier: &Verifier, block: &[u8], order: ByteOrder) -> usize {
    if !matches!(verifier, Verifier::Zilog2(_)) {
        return block.len();
    }
    let used: [u8; 8] = block[USED_AT..USED_AT + 8].try_into().expect("eight bytes");
    let used = match order {
        ByteOrder::Little => u64::from_le_bytes(used),
        ByteOrder::Big => u64::from_be_bytes(used),
    };
    let used = usize::try_from(used).expect("it was sealed");
    assert!(used >= LOG_HEAD_BYTES, "sealed with its head unprotected");
    used.next_multiple_of(LOG_COVER_BYTES)
}

/// Another place (or time) of the same kind.
fn elsewhere(verifier: &Verifier) -> Verifier {
    match *verifier {
        Verifier::Label { offset_bytes } => {
            Verifier::Label { offset_bytes: offset_bytes.wrapping_add(512) }
        }
        Verifier::GangHeader { vdev, offset_bytes, birth_txg } => {
            Verifier::GangHeader { vdev, offset_bytes, birth_txg: birth_txg.wrapping_add(1) }
        }
        Verifier::Zilog(Checksum([a, b, c, d])) => {
            Verifier::Zilog(Checksum([a, b, c, d.wrapping_add(1)]))
        }
        Verifier::Zilog2(Checksum([a, b, c, d])) => {
            Verifier::Zilog2(Checksum([a, b, c, d.wrapping_add(1)]))
        }
    }
}
