//! zstd as stored on disk (spec 7.5): an eight-byte header, then a magicless frame without
//! checksum, content size or dictionary id.
//!
//! ```text
//!  0        4      5          8
//!  | length | level | version | frame …      big-endian numbers
//! ```

use ::zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, FrameFormat, SafeResult, get_error_name, version_number,
};

use crate::error::{DecodeError, Format};
use crate::lz4;
use crate::zstd_level::ZstdLevel;

/// Bytes before the frame.
const HEADER_BYTES: usize = 8;

/// From this input size on, and from level 3 on, two fast compressors are asked first whether the
/// input compresses at all. The thresholds are OpenZFS's.
const PROBE_INPUT_BYTES_MIN: usize = 128 << 10;
const PROBE_LEVEL_MIN: i32 = 3;
const PROBE_LEVEL: i32 = 1;

/// What the header of a zstd payload says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZstdHeader {
    /// Length of the frame after the header.
    pub frame_bytes: u32,
    /// Level id; [`ZstdLevel::from_id`] tells what it means, if anything.
    pub level_id: u8,
    /// Version of the library that wrote the frame: 10000 × major + 100 × minor + patch.
    pub version: u32,
}

impl ZstdHeader {
    /// Reads the header of a zstd payload.
    ///
    /// Two orders of the last four bytes exist: level first (every little-endian writer, and
    /// today's big-endian ones), and version first (old big-endian writers). A version's highest
    /// byte is zero and a level is not, so the place of the zero tells them apart.
    ///
    /// # Errors
    ///
    /// [`DecodeError::HeaderTruncated`] and [`DecodeError::ZstdHeader`]. The frame's length is not
    /// compared with anything here, and the level not looked up: decoding does not need it.
    pub fn parse(payload: &[u8]) -> Result<Self, DecodeError> {
        let Some(&[l0, l1, l2, l3, a, b, c, d]) = payload.first_chunk::<HEADER_BYTES>() else {
            return Err(DecodeError::HeaderTruncated {
                format: Format::Zstd,
                header_bytes: HEADER_BYTES,
                payload_bytes: payload.len(),
            });
        };
        let (level_id, version) = match (a, b) {
            (0, _) => (d, [0, a, b, c]),
            (_, 0) => (a, [0, b, c, d]),
            _ => return Err(DecodeError::ZstdHeader { bytes: [a, b, c, d] }),
        };
        Ok(Self {
            frame_bytes: u32::from_be_bytes([l0, l1, l2, l3]),
            level_id,
            version: u32::from_be_bytes(version),
        })
    }

    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [l0, l1, l2, l3] = self.frame_bytes.to_be_bytes();
        let [_, v1, v2, v3] = self.version.to_be_bytes();
        [l0, l1, l2, l3, self.level_id, v1, v2, v3]
    }
}

/// Compresses `src` into `dst`; `None` if it does not fit.
pub(crate) fn compress(
    src: &[u8],
    dst: &mut [u8],
    level: ZstdLevel,
    encoder: &mut Option<CCtx<'static>>,
) -> Option<usize> {
    if encoder.is_none() {
        *encoder = new_encoder();
    }
    let encoder = encoder.as_mut()?;
    let (header, body) = dst.split_first_chunk_mut::<HEADER_BYTES>()?;

    if level.level() >= PROBE_LEVEL_MIN && src.len() >= PROBE_INPUT_BYTES_MIN {
        let compresses =
            lz4::compress(src, body).is_some() || frame(encoder, src, body, PROBE_LEVEL).is_some();
        if !compresses {
            return None;
        }
    }
    let frame_bytes = frame(encoder, src, body, level.level())?;
    *header = ZstdHeader {
        frame_bytes: u32::try_from(frame_bytes).ok()?,
        level_id: level.id(),
        version: version_number(),
    }
    .to_bytes();
    Some(HEADER_BYTES + frame_bytes)
}

/// `None` when memory is short: the block is then stored as is, which is always right.
fn new_encoder() -> Option<CCtx<'static>> {
    let mut encoder = CCtx::try_create()?;
    encoder.set_parameter(CParameter::Format(FrameFormat::Magicless)).ok()?;
    encoder.set_parameter(CParameter::ContentSizeFlag(false)).ok()?;
    encoder.set_parameter(CParameter::ChecksumFlag(false)).ok()?;
    encoder.set_parameter(CParameter::DictIdFlag(false)).ok()?;
    Some(encoder)
}

/// One frame. The library's only reasons to refuse are room and memory.
fn frame(encoder: &mut CCtx<'static>, src: &[u8], dst: &mut [u8], level: i32) -> Option<usize> {
    encoder.set_parameter(CParameter::CompressionLevel(level)).ok()?;
    encoder.compress2(dst, src).ok()
}

/// Expands `src`, which may be followed by padding, to exactly fill `dst`.
pub(crate) fn decompress(
    src: &[u8],
    dst: &mut [u8],
    decoder: &mut Option<DCtx<'static>>,
) -> Result<(), DecodeError> {
    let wanted_bytes = dst.len();
    let claimed_bytes = ZstdHeader::parse(src)?.frame_bytes as usize;
    let body = &src[HEADER_BYTES..];
    let frame = body.get(..claimed_bytes).ok_or(DecodeError::LengthBeyondPayload {
        format: Format::Zstd,
        claimed_bytes,
        available_bytes: body.len(),
    })?;
    if decoder.is_none() {
        *decoder = new_decoder();
    }
    let decoder = decoder.as_mut().ok_or(DecodeError::NoMemory { format: Format::Zstd })?;
    let produced_bytes = decoder.decompress(dst, frame).map_err(|code| DecodeError::Corrupt {
        format: Format::Zstd,
        reason: get_error_name(code),
        wanted_bytes,
    })?;
    if produced_bytes == wanted_bytes {
        Ok(())
    } else {
        Err(DecodeError::WrongLength { format: Format::Zstd, produced_bytes, wanted_bytes })
    }
}

fn new_decoder() -> Option<DCtx<'static>> {
    let mut decoder = DCtx::try_create()?;
    let magicless: SafeResult = decoder.set_parameter(DParameter::Format(FrameFormat::Magicless));
    magicless.ok().map(|_| decoder)
}
