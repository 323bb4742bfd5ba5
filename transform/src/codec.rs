//! The two functions every codec is behind.

use crate::compression::Compression;
use crate::error::DecodeError;
use crate::scratch::Scratch;
use crate::{gzip, lz4, lzjb, zle, zstd};

/// Compresses `src` into `dst`, whose length is the limit. Returns the payload's length, or `None`
/// if the payload does not fit, in which case the block is to be stored as is and the contents of
/// `dst` are unspecified.
///
/// An encoder gives up as soon as it knows that it cannot fit. zstd from level 3 on, for inputs
/// from 128 KiB on, first asks lz4 and then its own level 1 whether the input compresses at all
/// within the limit. zstd answers `None` as well if it cannot get its working memory.
///
/// [`Compression::Off`] and [`Compression::Empty`] have no payload: always `None`. Nor does an
/// empty `src`.
///
/// The payload starts with whatever framing the format has on disk, and is not padded. The
/// result does not depend on what `scratch` was used for before.
///
/// # Panics
///
/// If lz4, gzip or lzjb cannot get its working memory the first time it is used. Never for what the
/// input holds.
pub fn compress(
    compression: Compression,
    src: &[u8],
    dst: &mut [u8],
    scratch: &mut Scratch,
) -> Option<usize> {
    if src.is_empty() {
        return None;
    }
    match compression {
        Compression::Off | Compression::Empty => None,
        Compression::Lzjb => {
            lzjb::compress(src, dst, scratch.lzjb.get_or_insert_with(Default::default))
        }
        Compression::Gzip(level) => gzip::compress(src, dst, level, &mut scratch.gzip_encoders),
        Compression::Zle => zle::compress(src, dst),
        Compression::Lz4 => lz4::compress(src, dst),
        Compression::Zstd(level) => zstd::compress(src, dst, level, &mut scratch.zstd_encoder),
    }
}

/// Expands the payload `src` to exactly fill `dst`.
///
/// `src` is as long as the block pointer says, so it may be longer than the payload: what follows
/// the payload's end is padding and is not looked at. lzjb and zle end where `dst` is full, gzip
/// where its stream ends, lz4 and zstd after the length in front of them. Only a block stored as
/// is ([`Compression::Off`]) must have the very length of `dst`.
///
/// Total: whatever `src` holds, the call returns, reads nothing outside `src`, writes nothing
/// outside `dst` and takes no memory beyond the codec's fixed working memory.
///
/// # Errors
///
/// [`DecodeError`] says what is wrong and where; the contents of `dst` are then unspecified.
pub fn decompress(
    compression: Compression,
    src: &[u8],
    dst: &mut [u8],
    scratch: &mut Scratch,
) -> Result<(), DecodeError> {
    match compression {
        Compression::Off => {
            if src.len() != dst.len() {
                return Err(DecodeError::StoredLength {
                    payload_bytes: src.len(),
                    wanted_bytes: dst.len(),
                });
            }
            dst.copy_from_slice(src);
            Ok(())
        }
        Compression::Empty => Err(DecodeError::NotStored { compression }),
        Compression::Lzjb => lzjb::decompress(src, dst),
        Compression::Gzip(_) => gzip::decompress(src, dst, &mut scratch.gzip_decoder),
        Compression::Zle => zle::decompress(src, dst),
        Compression::Lz4 => lz4::decompress(src, dst),
        Compression::Zstd(_) => zstd::decompress(src, dst, &mut scratch.zstd_decoder),
    }
}
