//! `zstd`: the header, and the one decoder that is C.

use transform::{Compression, ZstdHeader, ZstdLevel};

use super::codec::{self, Codec};

/// Longest block for the levels that are quick, …
const QUICK_BYTES_MAX: usize = 132 << 10;
/// … and for those that are not.
const SLOW_BYTES_MAX: usize = 4 << 10;

fn at_level(choice: u8) -> (Compression, usize) {
    let (level, block_bytes_max) = match choice % 8 {
        0 => (Some(ZstdLevel::DEFAULT), QUICK_BYTES_MAX),
        1 => (ZstdLevel::new(1), QUICK_BYTES_MAX),
        2 => (ZstdLevel::fast(1), QUICK_BYTES_MAX),
        3 => (ZstdLevel::fast(100), QUICK_BYTES_MAX),
        4 => (ZstdLevel::fast(1000), QUICK_BYTES_MAX),
        5 => (ZstdLevel::new(6), SLOW_BYTES_MAX),
        6 => (ZstdLevel::new(12), SLOW_BYTES_MAX),
        _ => (ZstdLevel::new(19), SLOW_BYTES_MAX),
    };
    (Compression::Zstd(level.unwrap_or_default()), block_bytes_max)
}

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    if let Ok(header) = ZstdHeader::parse(data) {
        assert!(header.version < 1 << 24, "a version has three bytes");
        if let Some(level) = ZstdLevel::from_id(header.level_id) {
            assert_eq!(level.id(), header.level_id, "two ids for {level}");
        }
    }
    codec::run(&Codec { at_level, model: None, model_is_exact: true, ends_itself: true }, data);
}
