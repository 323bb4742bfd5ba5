//! Where the trailer stands and which bytes it covers.

use super::{Verifier, error::BadLength, error::BadUsed};
use crate::{ByteOrder, Checksum};

/// Marks a trailer, and by its byte order the writer's.
pub const MAGIC: u64 = 0x0210_da7a_b10c_7a11;

/// A trailer: the magic and four words.
pub const TRAILER_BYTES: usize = 40;

/// The head of a [`Verifier::Zilog2`] block: 8 padding, 128 pointer to the next
/// block, 8 used bytes, 40 trailer.
pub const LOG_HEAD_BYTES: usize = 184;

/// The covered part of a [`Verifier::Zilog2`] block is a multiple of this.
pub const LOG_COVER_BYTES: usize = 4096;

const USED_AT: usize = 136;
const LOG_TRAILER_AT: usize = 144;
const _: () = assert!(USED_AT + 8 == LOG_TRAILER_AT);
const _: () = assert!(LOG_TRAILER_AT + TRAILER_BYTES == LOG_HEAD_BYTES);
const _: () = assert!(LOG_HEAD_BYTES <= LOG_COVER_BYTES);

/// Offset of the trailer in a block of `block_bytes`.
pub(super) fn trailer_at(verifier: &Verifier, block_bytes: usize) -> Result<usize, BadLength> {
    let (min_bytes, multiple_of_bytes, front) = match verifier {
        Verifier::Label { .. } | Verifier::GangHeader { .. } => (TRAILER_BYTES, 1, false),
        // fletcher2 takes 16 bytes at a time.
        Verifier::Zilog(_) => (TRAILER_BYTES, 16, false),
        Verifier::Zilog2(_) => (LOG_HEAD_BYTES, 1, true),
    };
    if block_bytes < min_bytes || !block_bytes.is_multiple_of(multiple_of_bytes) {
        let algorithm = verifier.algorithm();
        return Err(BadLength { algorithm, block_bytes, min_bytes, multiple_of_bytes });
    }
    Ok(if front { LOG_TRAILER_AT } else { block_bytes - TRAILER_BYTES })
}

/// How many bytes, from the start of the block, are hashed. At least up to the
/// end of the trailer, at most the block. Call after [`trailer_at`] agreed.
pub(super) fn covered_bytes(
    verifier: &Verifier,
    block: &[u8],
    order: ByteOrder,
) -> Result<usize, BadUsed> {
    if !matches!(verifier, Verifier::Zilog2(_)) {
        return Ok(block.len());
    }
    let used_bytes = read_u64(block, USED_AT, order);
    usize::try_from(used_bytes)
        .ok()
        .filter(|&used| used >= LOG_HEAD_BYTES)
        .and_then(|used| used.checked_next_multiple_of(LOG_COVER_BYTES))
        .filter(|&covered| covered <= block.len())
        .ok_or(BadUsed { used_bytes, block_bytes: block.len() })
}

/// The word at `at`, which [`trailer_at`] has found to lie within `block`.
pub(super) fn read_u64(block: &[u8], at: usize, order: ByteOrder) -> u64 {
    order.read_u64(read_bytes(block, at))
}

/// The four words at `at`, which [`trailer_at`] has found to lie within `block`.
pub(super) fn read_words(block: &[u8], at: usize, order: ByteOrder) -> Checksum {
    Checksum::from_bytes(&read_bytes(block, at), order)
}

fn read_bytes<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&block[at..at + N]);
    bytes
}
