//! LZ4 as stored on disk: the compressed length (4 bytes, big-endian), then one raw LZ4 block.

mod decode;
mod encode;

pub(crate) use encode::Table;

use crate::error::{DecodeError, Format};

/// Bytes before the LZ4 block.
const LENGTH_BYTES: usize = 4;

/// Compresses `src` into `dst`; `None` if it does not fit.
pub(crate) fn compress(src: &[u8], dst: &mut [u8], table: &mut Table) -> Option<usize> {
    let (length, body) = dst.split_first_chunk_mut::<LENGTH_BYTES>()?;
    let body_bytes = encode::encode(src, body, table)?;
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
    decode::decode(block, dst)
}
