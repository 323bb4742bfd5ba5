//! Where "saves enough" ends (spec 3.1): blocks whose payload grows a byte at a time over the limit.

use transform::{
    BlockRules, Compression, EMBEDDED_BYTES_MAX, GzipLevel, Packed, Scratch, ZstdLevel, compress,
    compress_block, minimum_saving_limit, payload_limit,
};

const LSIZE: usize = 16 << 10;

/// The codec, and the room beyond its payload that its encoder asks for.
fn codecs() -> [(Compression, usize); 6] {
    [
        (Compression::Lz4, 0),
        (Compression::Gzip(GzipLevel::default()), 16),
        (Compression::Zstd(ZstdLevel::DEFAULT), 1024),
        (Compression::Zstd(ZstdLevel::fast(10).unwrap()), 1024),
        // A literal run's worth; a group's worth.
        (Compression::Zle, 65),
        (Compression::Lzjb, 17),
    ]
}

/// A block of `noise` bytes that do not compress and zeros.
fn block(noise: usize) -> Vec<u8> {
    let mut x = 1u64;
    let mut block: Vec<u8> = std::iter::repeat_with(|| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8 | 1
    })
    .take(noise)
    .collect();
    block.resize(LSIZE, 0);
    block
}

fn payload_bytes(compression: Compression, noise: usize, scratch: &mut Scratch) -> usize {
    let mut ample = vec![0; 2 * LSIZE];
    compress(compression, &block(noise), &mut ample, scratch).unwrap()
}

/// The most noise whose payload has at most `wanted` bytes.
fn most_noise(compression: Compression, wanted: usize, scratch: &mut Scratch) -> usize {
    let (mut fits, mut exceeds) = (1, LSIZE);
    while exceeds - fits > 1 {
        let middle = (fits + exceeds) / 2;
        if payload_bytes(compression, middle, scratch) <= wanted {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    fits
}

#[test]
fn a_payload_of_the_limit_is_stored_and_one_byte_more_is_not() {
    let mut scratch = Scratch::new();
    let mut exact = Vec::new();
    for (compression, slack) in codecs() {
        for unit_shift in [9, 12] {
            let limit = payload_limit(compression, LSIZE, 1 << unit_shift);
            let rules = BlockRules { unit_shift, may_embed: false };
            for wanted in [limit, limit - slack] {
                let edge = most_noise(compression, wanted, &mut scratch);
                for noise in edge - 3..=edge + 3 {
                    let payload = payload_bytes(compression, noise, &mut scratch);
                    let mut dst = vec![0xa5; LSIZE];
                    let src = block(noise);
                    let packed = compress_block(compression, &src, &mut dst, rules, &mut scratch);
                    let psize = payload.next_multiple_of(1 << unit_shift);
                    let stored = Packed::Compressed { payload_bytes: payload, psize_bytes: psize };
                    let what = format!("{compression} 2^{unit_shift} {payload} of {limit}");
                    if payload > limit || psize >= LSIZE {
                        assert_eq!(packed, Packed::AsIs, "{what}");
                    } else if payload + slack <= limit {
                        assert_eq!(packed, stored, "{what}");
                    } else {
                        assert!([Packed::AsIs, stored].contains(&packed), "{what}: {packed:?}");
                    }
                    if packed == stored && payload == limit {
                        exact.push((compression, unit_shift));
                    }
                }
            }
        }
    }
    // The codec without slack has been caught at the very limit.
    for unit_shift in [9, 12] {
        assert!(exact.contains(&(Compression::Lz4, unit_shift)), "{exact:?}");
    }
}

#[test]
fn limits_by_hand() {
    let lz4 = |lsize, shift| payload_limit(Compression::Lz4, lsize, 1usize << shift);
    assert_eq!(minimum_saving_limit(128 << 10), 114_688);
    // 512 − 64 = 448 is no whole sector, so only embedding helps.
    assert_eq!([512, 1024, 4096, 128 << 10].map(|lsize| lz4(lsize, 9)), [112, 512, 3584, 114_688]);
    assert_eq!([4096, 8192, 16_384, 128 << 10].map(|l| lz4(l, 12)), [112, 4096, 12_288, 114_688]);
    // 1.5 MiB less an eighth is 1344 KiB: whole units of 64 KiB, as on ashift 16.
    assert_eq!(lz4(1536 << 10, 16), 1344 << 10);
    assert_eq!(payload_limit(Compression::Zle, 4096, 4096), 3584);
}

#[test]
fn up_to_112_bytes_are_embedded_and_113_are_not() {
    // Small, because lzjb needs two bytes for every 66 zeros.
    const SMALL: usize = 2048;
    let mut scratch = Scratch::new();
    for (compression, _) in codecs() {
        let mut seen = Vec::new();
        for noise in 1..200 {
            let src = &block(noise)[..SMALL];
            let mut dst = vec![0; 2 * SMALL];
            let payload_bytes = compress(compression, src, &mut dst, &mut scratch).unwrap();
            for may_embed in [true, false] {
                let rules = BlockRules { unit_shift: 9, may_embed };
                let packed = compress_block(compression, src, &mut dst, rules, &mut scratch);
                let psize_bytes = payload_bytes.next_multiple_of(512);
                let expected = if may_embed && payload_bytes <= EMBEDDED_BYTES_MAX {
                    Packed::Embedded { payload_bytes }
                } else {
                    Packed::Compressed { payload_bytes, psize_bytes }
                };
                assert_eq!(packed, expected, "{compression} {noise}");
            }
            seen.push(payload_bytes);
        }
        // lzjb grows by whole tails of literals, zstd's fast levels in steps of eleven bytes.
        if compression == Compression::Lzjb {
            continue;
        }
        let near = |range: std::ops::RangeInclusive<usize>| seen.iter().any(|n| range.contains(n));
        assert!(near(102..=112) && near(113..=123), "{compression}: {seen:?}");
    }
}

/// A block of one unit saves nothing unless it embeds, and its limit says so.
#[test]
fn a_block_of_one_unit_embeds_or_stays() {
    let mut scratch = Scratch::new();
    let rules = BlockRules { unit_shift: 12, may_embed: true };
    for noise in 1..400 {
        let src = &block(noise)[..4096];
        let mut dst = vec![0; 4096];
        let payload_bytes = compress(Compression::Lz4, src, &mut dst, &mut scratch).unwrap();
        let packed = compress_block(Compression::Lz4, src, &mut dst, rules, &mut scratch);
        let expected = match payload_bytes <= EMBEDDED_BYTES_MAX {
            true => Packed::Embedded { payload_bytes },
            false => Packed::AsIs,
        };
        assert_eq!(packed, expected, "{noise}");
    }
}
