//! gzip levels 1 to 9: a zlib stream (two header bytes, deflate, Adler-32), no framing around it.

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};

use crate::compression::GzipLevel;
use crate::error::{DecodeError, Format};

/// Encoder states, one for each level in use.
pub(crate) type Encoders = [Option<Compress>; GzipLevel::COUNT];

/// Compresses `src` into `dst`; `None` if it does not fit.
pub(crate) fn compress(
    src: &[u8],
    dst: &mut [u8],
    level: GzipLevel,
    encoders: &mut Encoders,
) -> Option<usize> {
    let slot = &mut encoders[usize::from(level.get()) - 1];
    let encoder = slot.get_or_insert_with(|| {
        Compress::new(flate2::Compression::new(u32::from(level.get())), true)
    });
    encoder.reset();
    match encoder.compress(src, dst, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => usize::try_from(encoder.total_out()).ok(),
        // Out of room before the end. An encoder that did not get to the end is
        // not used again: zlib-rs 0.6.8 keeps an open block over `reset` at
        // level 1, and the next stream would begin in the middle of it.
        Ok(Status::Ok | Status::BufError) | Err(_) => {
            *slot = None;
            None
        }
    }
}

/// Expands `src`, which may be followed by padding, to exactly fill `dst`.
pub(crate) fn decompress(
    src: &[u8],
    dst: &mut [u8],
    decoder: &mut Option<Decompress>,
) -> Result<(), DecodeError> {
    let wanted_bytes = dst.len();
    let decoder = decoder.get_or_insert_with(|| Decompress::new(true));
    decoder.reset(true);
    let corrupt = |reason| DecodeError::Corrupt { format: Format::Gzip, reason, wanted_bytes };
    let status = decoder
        .decompress(src, dst, FlushDecompress::Finish)
        .map_err(|_| corrupt("malformed zlib stream"))?;
    let produced_bytes = usize::try_from(decoder.total_out()).unwrap_or(usize::MAX);
    match status {
        Status::StreamEnd if produced_bytes == wanted_bytes => Ok(()),
        Status::StreamEnd => {
            Err(DecodeError::WrongLength { format: Format::Gzip, produced_bytes, wanted_bytes })
        }
        Status::Ok | Status::BufError if produced_bytes == wanted_bytes => {
            Err(corrupt("stream goes on after the output is full"))
        }
        Status::Ok | Status::BufError => Err(DecodeError::InputEnds {
            format: Format::Gzip,
            at_byte: src.len(),
            produced_bytes,
            wanted_bytes,
        }),
    }
}
