//! `gzip`: zlib streams, levels 1 to 9.

use transform::{Compression, GzipLevel};

use super::codec::{self, Codec};

/// Longest block the encoder gets: more than its output buffer and its window hold.
const BLOCK_BYTES_MAX: usize = 64 << 10;

fn at_level(choice: u8) -> (Compression, usize) {
    let level = GzipLevel::new(choice % 9 + 1).unwrap_or_default();
    (Compression::Gzip(level), BLOCK_BYTES_MAX)
}

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    codec::run(&Codec { at_level, model: None, model_is_exact: true, ends_itself: true }, data);
}
