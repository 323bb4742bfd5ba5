//! Data the tests share.

use transform::{Compression, GzipLevel, ZstdLevel};

/// The `len` bytes of one of the fixtures' named generators.
pub(crate) fn generate(name: &str, len: usize) -> Vec<u8> {
    match name {
        "zero" => vec![0; len],
        "ff" => vec![0xff; len],
        "lin131" => (0..len).map(|i| ((i * 131 + (i >> 8) * 17 + 7) & 0xff) as u8).collect(),
        "xs64star" => words(0..len.div_ceil(8)).take(len).collect(),
        "half4k" => {
            let mut random = words(0..len.div_ceil(8));
            (0..len)
                .map(|i| if i % 4096 < 2048 { random.next().expect("enough words") } else { 0 })
                .collect()
        }
        _ => panic!("no generator is called {name}"),
    }
}

fn words(range: std::ops::Range<usize>) -> impl Iterator<Item = u8> {
    let mut x = 0x9E37_79B9_7F4A_7C15u64;
    range.flat_map(move |_| {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        x.wrapping_mul(2_685_821_657_736_338_717).to_le_bytes()
    })
}

/// The compression a fixture calls `name`.
pub(crate) fn named(name: &str) -> Compression {
    match name {
        "lzjb" => Compression::Lzjb,
        "zle" => Compression::Zle,
        "lz4" => Compression::Lz4,
        _ => {
            if let Some(level) = name.strip_prefix("gzip-") {
                let level = level.parse().ok().and_then(GzipLevel::new);
                return Compression::Gzip(level.expect("a gzip level"));
            }
            let level = name.strip_prefix("zstd-").expect("a compression");
            let level = match level.strip_prefix("fast-") {
                Some(fast) => fast.parse().ok().and_then(ZstdLevel::fast),
                None => level.parse().ok().and_then(ZstdLevel::new),
            };
            Compression::Zstd(level.expect("a zstd level"))
        }
    }
}
