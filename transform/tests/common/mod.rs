//! Data the tests share.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// SHA-256 in hex, as the fixtures name byte strings.
pub(crate) fn hex_sha256(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}").expect("a string grows");
    }
    hex
}

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
