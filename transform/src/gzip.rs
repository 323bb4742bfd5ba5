//! gzip levels 1 to 9: a zlib stream (two header bytes, deflate, Adler-32), no framing around it.

use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

use crate::compression::GzipLevel;
use crate::error::{DecodeError, Format};

/// Encoders, one for each level in use. Each block starts them afresh.
pub(crate) type Encoders = [Option<Compressor>; GzipLevel::COUNT];

/// Compresses `src` into `dst`; `None` if it does not fit.
pub(crate) fn compress(
    src: &[u8],
    dst: &mut [u8],
    level: GzipLevel,
    encoders: &mut Encoders,
) -> Option<usize> {
    let slot = &mut encoders[usize::from(level.get()) - 1];
    if slot.is_none() {
        *slot = CompressionLvl::new(i32::from(level.get())).ok().map(Compressor::new);
    }
    slot.as_mut()?.zlib_compress(src, dst).ok()
}

/// Expands `src`, which may be followed by padding, to exactly fill `dst`.
pub(crate) fn decompress(
    src: &[u8],
    dst: &mut [u8],
    decoder: &mut Option<Decompressor>,
) -> Result<(), DecodeError> {
    let wanted_bytes = dst.len();
    let corrupt = |reason| DecodeError::Corrupt { format: Format::Gzip, reason, wanted_bytes };
    let produced_bytes = decoder
        .get_or_insert_with(Decompressor::new)
        .zlib_decompress(src, dst)
        .map_err(|error| match error {
            DecompressionError::BadData => corrupt("malformed or truncated zlib stream"),
            DecompressionError::InsufficientSpace => {
                corrupt("stream goes on after the output is full")
            }
        })?;
    if produced_bytes == wanted_bytes {
        Ok(())
    } else {
        Err(DecodeError::WrongLength { format: Format::Gzip, produced_bytes, wanted_bytes })
    }
}
