//! Blocks that carry their own checksum: labels, gang headers, log blocks.
//!
//! No pointer holds their checksum, because the place is fixed (a label), or
//! because the pointer is written before the block (a log, a gang header). So
//! the block has a trailer, a magic and four words, and the checksum is bound
//! to the block's place and time by a [`Verifier`], which stands in for the
//! four words while the block is hashed.
//!
//! ```text
//! label, gang_header, zilog    | payload …                          | magic | w0 w1 w2 w3 |
//!                              0                               len − 40  len − 32        len
//!
//! zilog2    | pad | next pointer | used | magic | w0 w1 w2 w3 | records …   | not covered |
//!           0     8            136    144     152           184     used, up to 4 KiB    len
//! ```
//!
//! [`seal`] makes a block ready to be written, [`check`] judges one that was
//! read. `check` takes any bytes: whatever they hold, it answers with a typed
//! error, changes nothing and reads nothing outside of them. The magic tells
//! the writer's byte order.
//!
//! ```
//! use checksum::{ByteOrder, embedded::{self, Verifier}};
//!
//! let mut slot = [0u8; 1024];
//! slot[..5].copy_from_slice(b"hello");
//! let here = Verifier::Label { offset_bytes: 131_072 };
//! embedded::seal(&mut slot, &here, ByteOrder::NATIVE)?;
//! assert_eq!(embedded::check(&slot, &here)?, ByteOrder::NATIVE);
//!
//! // The same bytes, one sector further on, are not valid.
//! let there = Verifier::Label { offset_bytes: 131_072 + 512 };
//! assert!(embedded::check(&slot, &there).is_err_and(|e| e.is_checksum_error()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A log block whose used-bytes field does not even cover its own head is
//! refused: nothing of such a block would be covered.

mod error;
mod layout;
mod verifier;

pub use error::{BadLength, BadUsed, CheckError, SealError};
pub use layout::{LOG_COVER_BYTES, LOG_HEAD_BYTES, MAGIC, TRAILER_BYTES};
pub use verifier::Verifier;

use crate::{
    ByteOrder, Checksum, Mismatch, digest,
    fletcher::{Fletcher2, Fletcher4},
};

/// Writes magic and checksum into the trailer of `block`, as a writer of
/// `order`, and gives back the checksum.
///
/// The used-bytes field of a [`Verifier::Zilog2`] block has to be in place, in
/// the same order.
///
/// # Errors
/// [`SealError`], and the block is as it was, if it is too short for a trailer
/// or says that an impossible part of it is used.
pub fn seal(
    block: &mut [u8],
    verifier: &Verifier,
    order: ByteOrder,
) -> Result<Checksum, SealError> {
    let at = layout::trailer_at(verifier, block.len())?;
    let covered = layout::covered_bytes(verifier, block, order)?;
    block[at..at + 8].copy_from_slice(&order.write_u64(MAGIC));
    let sum = hash(&block[..covered], at, verifier, order);
    block[at + 8..at + TRAILER_BYTES].copy_from_slice(&sum.to_bytes(order));
    Ok(sum)
}

/// Judges a block that came from disk; gives the byte order of its writer.
///
/// # Errors
/// [`CheckError`]: a length that is none, a wrong magic, an impossible
/// used-bytes field, or a [`Mismatch`] of the hash.
pub fn check(block: &[u8], verifier: &Verifier) -> Result<ByteOrder, CheckError> {
    let at = layout::trailer_at(verifier, block.len())?;
    let found = layout::read_u64(block, at, ByteOrder::Little);
    let told = if found == MAGIC {
        Some(ByteOrder::Little)
    } else if found == MAGIC.swap_bytes() {
        Some(ByteOrder::Big)
    } else {
        None
    };
    let order = told.unwrap_or(ByteOrder::NATIVE);
    let covered = match layout::covered_bytes(verifier, block, order) {
        // Of a block without a magic nothing is believed, nor needed.
        Err(_) if told.is_none() => block.len(),
        covered => covered?,
    };
    let algorithm = verifier.algorithm();
    let expected = layout::read_words(block, at + 8, order);
    let actual = hash(&block[..covered], at, verifier, order);
    let byteswapped = order.is_swapped();
    let mismatch = Mismatch { expected, actual, algorithm, byteswapped, truncated: false };
    match told {
        None => Err(CheckError::Magic { algorithm, found, mismatch }),
        Some(_) if actual != expected => Err(mismatch.into()),
        Some(order) => Ok(order),
    }
}

/// The checksum of `covered` with the verifier in place of the four words of
/// the trailer at `at`. The magic is in place already.
fn hash(covered: &[u8], at: usize, verifier: &Verifier, order: ByteOrder) -> Checksum {
    let (head, tail) = (&covered[..at + 8], &covered[at + TRAILER_BYTES..]);
    let words = verifier.words().to_bytes(order);
    let pieces: [&[u8]; 3] = [head, &words, tail];
    match verifier {
        Verifier::Label { .. } | Verifier::GangHeader { .. } => digest::sha256(pieces),
        Verifier::Zilog(_) => {
            let mut state = Fletcher2::new(order);
            pieces.into_iter().for_each(|piece| state.update(piece));
            state.finish()
        }
        Verifier::Zilog2(_) => {
            let mut state = Fletcher4::new(order);
            pieces.into_iter().for_each(|piece| state.update(piece));
            state.finish()
        }
    }
}
