//! What becomes of a whole block on its way to disk (spec 3.1).

use crate::codec::compress;
use crate::compression::Compression;
use crate::scratch::Scratch;
use crate::size::{EMBEDDED_BYTES_MAX, payload_limit, round_up_to_shift};
use crate::zero::is_zero;

/// What the pool and the block's owner ask of [`compress_block`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRules {
    /// Space is allocated in units of 2^this bytes.
    pub unit_shift: u32,
    /// Whether a payload of up to [`EMBEDDED_BYTES_MAX`] bytes may go into the block pointer: data
    /// level, a type without fill count, not encrypted.
    pub may_embed: bool,
}

/// How a block is to be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packed {
    /// All zeros: a hole, nothing to write.
    Hole,
    /// The payload is in `dst[..payload_bytes]` and goes into the block pointer.
    Embedded {
        /// Length of the payload, at most [`EMBEDDED_BYTES_MAX`].
        payload_bytes: usize,
    },
    /// `dst[..psize_bytes]` is to be written: the payload and zeros after it.
    Compressed {
        /// Length of the payload proper.
        payload_bytes: usize,
        /// The payload's length rounded up to whole units; less than the block's.
        psize_bytes: usize,
    },
    /// Write the block as it is.
    AsIs,
}

/// Decides how the block `src` is stored, and compresses it into `dst` if that saves space.
///
/// The order of the questions is the one of spec 3.1: all zeros? does it fit the
/// [limit](payload_limit)? small enough to embed? is anything saved after rounding up to whole
/// units? With [`Compression::Off`] none is asked.
///
/// `dst` should have room for the limit rounded up to whole units; the block's own length is
/// always enough. With less room fewer blocks compress.
pub fn compress_block(
    compression: Compression,
    src: &[u8],
    dst: &mut [u8],
    rules: BlockRules,
    scratch: &mut Scratch,
) -> Packed {
    if compression == Compression::Off {
        return Packed::AsIs;
    }
    if is_zero(src) {
        return Packed::Hole;
    }
    pack(compression, src, dst, rules, scratch).unwrap_or(Packed::AsIs)
}

fn pack(
    compression: Compression,
    src: &[u8],
    dst: &mut [u8],
    rules: BlockRules,
    scratch: &mut Scratch,
) -> Option<Packed> {
    let unit_bytes = 1usize.checked_shl(rules.unit_shift)?;
    if !rules.may_embed && src.len() <= unit_bytes {
        // One unit is the least a payload can take.
        return None;
    }
    let limit = payload_limit(compression, src.len(), unit_bytes).min(dst.len());
    let payload_bytes = compress(compression, src, &mut dst[..limit], scratch)?;
    if rules.may_embed && payload_bytes <= EMBEDDED_BYTES_MAX {
        return Some(Packed::Embedded { payload_bytes });
    }
    let psize_bytes = round_up_to_shift(payload_bytes, rules.unit_shift)?;
    if psize_bytes >= src.len() {
        return None;
    }
    dst.get_mut(payload_bytes..psize_bytes)?.fill(0);
    Some(Packed::Compressed { payload_bytes, psize_bytes })
}
