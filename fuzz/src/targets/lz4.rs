//! `lz4`: LZ4 behind its length.

use transform::Compression;

use super::codec::{self, Codec};
use crate::models;

/// Longest block the encoder gets: more than a match can reach back.
const BLOCK_BYTES_MAX: usize = 96 << 10;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let codec = Codec {
        at_level: |_| (Compression::Lz4, BLOCK_BYTES_MAX),
        model: Some(models::lz4),
        model_is_exact: false,
        ends_itself: true,
    };
    codec::run(&codec, data);
}
