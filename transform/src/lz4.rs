//! LZ4 as stored on disk: the compressed length (4 bytes, big-endian), then one raw LZ4 block.
//!
//! The block is the reference library's work: it gives up at a limit, takes no memory but a table
//! of 16 KiB per thread, and is faster on text than any implementation in Rust (README).

use lzzzz::lz4;

use crate::error::{DecodeError, Format};

/// Bytes before the LZ4 block.
const LENGTH_BYTES: usize = 4;

/// The library counts in `int`. No block comes near.
const BYTES_MAX: usize = i32::MAX as usize;

/// Compresses `src` into `dst`; `None` if it does not fit.
pub(crate) fn compress(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    if src.len() > BYTES_MAX {
        return None;
    }
    let (length, body) = dst.split_first_chunk_mut::<LENGTH_BYTES>()?;
    let room = body.len().min(BYTES_MAX);
    let body_bytes = lz4::compress(src, &mut body[..room], lz4::ACC_LEVEL_DEFAULT).ok()?;
    *length = u32::try_from(body_bytes).ok()?.to_be_bytes();
    Some(LENGTH_BYTES + body_bytes)
}

/// Expands `src`, which may be followed by padding, to exactly fill `dst`.
pub(crate) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), DecodeError> {
    let Some((length, body)) = src.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(DecodeError::HeaderTruncated {
            format: Format::Lz4,
            header_bytes: LENGTH_BYTES,
            payload_bytes: src.len(),
        });
    };
    let claimed_bytes = u32::from_be_bytes(*length) as usize;
    let block = body.get(..claimed_bytes).ok_or(DecodeError::LengthBeyondPayload {
        format: Format::Lz4,
        claimed_bytes,
        available_bytes: body.len(),
    })?;
    let wanted_bytes = dst.len();
    let corrupt = |reason| DecodeError::Corrupt { format: Format::Lz4, reason, wanted_bytes };
    if block.len().max(wanted_bytes) > BYTES_MAX {
        return Err(corrupt("longer than the decoder can count"));
    }
    let produced_bytes = lz4::decompress(block, dst).map_err(|_| corrupt("malformed LZ4 block"))?;
    if produced_bytes == wanted_bytes {
        Ok(())
    } else {
        Err(DecodeError::WrongLength { format: Format::Lz4, produced_bytes, wanted_bytes })
    }
}
