//! `zle`: zero-length encoding.

use transform::Compression;

use super::codec::{self, Codec};
use crate::models;

/// Longest block the encoder gets: it looks no further than 128 bytes.
const BLOCK_BYTES_MAX: usize = 16 << 10;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let codec = Codec {
        at_level: |_| (Compression::Zle, BLOCK_BYTES_MAX),
        model: Some(models::zle),
        model_is_exact: true,
        ends_itself: false,
    };
    codec::run(&codec, data);
}
