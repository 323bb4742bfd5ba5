//! `lzjb`: LZJB.

use transform::Compression;

use super::codec::{self, Codec};
use crate::models;

/// Longest block the encoder gets: its window is far shorter.
const BLOCK_BYTES_MAX: usize = 16 << 10;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let codec = Codec {
        at_level: |_| (Compression::Lzjb, BLOCK_BYTES_MAX),
        model: Some(models::lzjb),
        model_is_exact: true,
        ends_itself: false,
    };
    codec::run(&codec, data);
}
