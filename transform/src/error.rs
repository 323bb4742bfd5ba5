//! Why a payload does not decode.

use crate::compression::Compression;

/// A payload that is not what its block pointer claims.
///
/// Decoding comes after a good checksum, so this is never plain bit rot: it is a fault of the
/// program that wrote the block, or a block made by somebody hostile. Count it apart from checksum
/// errors. After an error the contents of the output buffer are unspecified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The function never produces payloads ([`Compression::Empty`]).
    #[error("{compression} is not a format blocks are stored in")]
    NotStored {
        /// The function asked for.
        compression: Compression,
    },
    /// A block stored as is must be as long as the block it stands for.
    #[error("block stored as is has {payload_bytes} bytes, wanted {wanted_bytes}")]
    StoredLength {
        /// Length of the payload.
        payload_bytes: usize,
        /// Length of the output.
        wanted_bytes: usize,
    },
    /// The payload ends inside its own header.
    #[error("{format}: header takes {header_bytes} bytes, payload has {payload_bytes}")]
    HeaderTruncated {
        /// Which decoder.
        format: Format,
        /// Length of the header.
        header_bytes: usize,
        /// Length of the payload.
        payload_bytes: usize,
    },
    /// The header's compressed length is more than follows the header.
    #[error("{format}: header claims {claimed_bytes} compressed bytes, {available_bytes} follow")]
    LengthBeyondPayload {
        /// Which decoder.
        format: Format,
        /// Length in the header.
        claimed_bytes: usize,
        /// Bytes after the header.
        available_bytes: usize,
    },
    /// The zstd header holds no zero byte where a library version begins.
    #[error(
        "zstd: header {bytes:02x?} has a zero byte neither first (version first) nor second (level first)"
    )]
    ZstdHeader {
        /// The four bytes after the length.
        bytes: [u8; 4],
    },
    /// The payload ended before the output was full.
    #[error(
        "{format}: payload ends at byte {at_byte} with {produced_bytes} of {wanted_bytes} bytes produced"
    )]
    InputEnds {
        /// Which decoder.
        format: Format,
        /// Offset in the payload at which another byte was needed.
        at_byte: usize,
        /// Output so far.
        produced_bytes: usize,
        /// Length of the output.
        wanted_bytes: usize,
    },
    /// A run is longer than the room left in the output.
    #[error(
        "{format}: run of {run_bytes} bytes at byte {at_byte} exceeds the {room_bytes} bytes of room"
    )]
    RunTooLong {
        /// Which decoder.
        format: Format,
        /// Offset in the payload of the run's control byte.
        at_byte: usize,
        /// Length of the run.
        run_bytes: usize,
        /// Room left in the output.
        room_bytes: usize,
    },
    /// A match refers to bytes before the beginning of the output.
    #[error(
        "{format}: match at byte {at_byte} reaches {distance_bytes} back, {produced_bytes} bytes exist"
    )]
    MatchBeforeStart {
        /// Which decoder.
        format: Format,
        /// Offset in the payload of the match.
        at_byte: usize,
        /// How far back it reaches.
        distance_bytes: usize,
        /// Output so far.
        produced_bytes: usize,
    },
    /// The payload decodes, to the wrong length.
    #[error("{format}: payload decodes to {produced_bytes} bytes, wanted {wanted_bytes}")]
    WrongLength {
        /// Which decoder.
        format: Format,
        /// What came out.
        produced_bytes: usize,
        /// Length of the output.
        wanted_bytes: usize,
    },
    /// The decoder library refused the payload.
    #[error("{format}: {reason} (output of {wanted_bytes} bytes wanted)")]
    Corrupt {
        /// Which decoder.
        format: Format,
        /// The library's reason.
        reason: &'static str,
        /// Length of the output.
        wanted_bytes: usize,
    },
    /// The decoder's working memory could not be had. Says nothing about the payload.
    #[error("{format}: no memory for the decoder")]
    NoMemory {
        /// Which decoder.
        format: Format,
    },
}

/// A payload format, in errors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// LZJB.
    Lzjb,
    /// zlib stream.
    Gzip,
    /// Zero-length encoding.
    Zle,
    /// LZ4 block with a length before it.
    Lz4,
    /// Magicless zstd frame with a header before it.
    Zstd,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lzjb => "lzjb",
            Self::Gzip => "gzip",
            Self::Zle => "zle",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}
