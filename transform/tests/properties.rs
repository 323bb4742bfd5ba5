//! Properties over all inputs: round trips, limits, purity, and decoders under fire.

use proptest::prelude::*;
use transform::{
    BlockRules, Compression, EMBEDDED_BYTES_MAX, GzipLevel, Packed, Scratch, ZstdLevel, compress,
    compress_block, decompress, is_zero, payload_limit,
};

fn any_compression() -> impl Strategy<Value = Compression> {
    prop_oneof![
        Just(Compression::Lzjb),
        Just(Compression::Zle),
        Just(Compression::Lz4),
        (1u8..=9).prop_map(|n| Compression::Gzip(GzipLevel::new(n).unwrap())),
        (1u8..=9).prop_map(|n| Compression::Zstd(ZstdLevel::new(n).unwrap())),
        (1u16..=10).prop_map(|n| Compression::Zstd(ZstdLevel::fast(n).unwrap())),
    ]
}

/// Data with the shapes encoders care about: runs, repeats near and far, zeros, noise.
fn any_block() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (any::<u8>(), 1usize..700).prop_map(|(byte, len)| vec![byte; len]),
        (1usize..700).prop_map(|len| vec![0; len]),
        proptest::collection::vec(any::<u8>(), 1..200),
        proptest::collection::vec(0u8..3, 1..300),
        (proptest::collection::vec(any::<u8>(), 1..70), 1usize..20).prop_map(|(p, n)| p.repeat(n)),
    ];
    proptest::collection::vec((piece, any::<bool>()), 1..8).prop_map(|pieces| {
        let mut block: Vec<u8> = Vec::new();
        for (piece, repeat_start) in pieces {
            block.extend(piece);
            if repeat_start {
                let head = block[..block.len().min(300)].to_vec();
                block.extend(head);
            }
        }
        block
    })
}

/// Room in which every encoder is content.
fn ample(len: usize) -> usize {
    len + len / 8 + 256
}

/// Start and length of each match of an LZ4 block, and the number of literals after the last.
fn lz4_matches(block: &[u8]) -> (Vec<(usize, usize)>, usize) {
    let mut input = block.iter().map(|&byte| usize::from(byte));
    let mut matches = Vec::new();
    let mut out = 0;
    let length = |nibble: usize, input: &mut dyn Iterator<Item = usize>| {
        let mut length = nibble;
        if nibble == 15 {
            loop {
                let more = input.next().unwrap();
                length += more;
                if more != 255 {
                    break;
                }
            }
        }
        length
    };
    loop {
        let token = input.next().unwrap();
        let literals = length(token >> 4, &mut input);
        out += literals;
        for _ in 0..literals {
            input.next().unwrap();
        }
        if input.len() == 0 {
            return (matches, literals);
        }
        input.next().unwrap();
        input.next().unwrap();
        let len = length(token & 15, &mut input) + 4;
        matches.push((out, len));
        out += len;
    }
}

/// Room beyond the payload that an encoder may want to see.
fn slack_bytes(c: Compression) -> usize {
    match c {
        // A whole literal run and its length.
        Compression::Zle => 65,
        // A whole group.
        Compression::Lzjb => 17,
        Compression::Gzip(_) => 16,
        // The library writes blocks with a margin.
        Compression::Zstd(_) => 1024,
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn round_trip_with_padding(c in any_compression(), block in any_block(), pad in 0usize..600) {
        let mut scratch = Scratch::new();
        let mut payload = vec![0; ample(block.len())];
        let len = compress(c, &block, &mut payload, &mut scratch).unwrap();
        payload.truncate(len);
        payload.resize(len + pad, 0);
        let mut back = vec![0xa5; block.len()];
        prop_assert_eq!(decompress(c, &payload, &mut back, &mut scratch), Ok(()));
        prop_assert_eq!(back, block);
    }

    /// Whatever the limit, the answer is a payload that decodes or `None`, and `None` only if the
    /// payload does not fit with the encoder's slack.
    #[test]
    fn limits_are_kept(c in any_compression(), block in any_block(), permille in 0usize..1200) {
        let mut scratch = Scratch::new();
        let mut ample = vec![0; ample(block.len())];
        let size = compress(c, &block, &mut ample, &mut scratch).unwrap();
        let limit = size * permille / 1000;
        let mut payload = vec![0; limit];
        match compress(c, &block, &mut payload, &mut scratch) {
            Some(len) => {
                let mut back = vec![0xa5; block.len()];
                decompress(c, &payload[..len], &mut back, &mut scratch).unwrap();
                prop_assert_eq!(back, block);
            }
            None => prop_assert!(limit < size + slack_bytes(c), "{} {}", limit, size),
        }
    }

    #[test]
    fn lz4_fits_exactly(block in any_block()) {
        let mut scratch = Scratch::new();
        let mut dst = vec![0; ample(block.len())];
        let size = compress(Compression::Lz4, &block, &mut dst, &mut scratch).unwrap();
        prop_assert_eq!(compress(Compression::Lz4, &block, &mut dst[..size], &mut scratch), Some(size));
        prop_assert_eq!(compress(Compression::Lz4, &block, &mut dst[..size - 1], &mut scratch), None);
    }

    /// A second implementation reads what this one writes, and the other way round.
    #[test]
    fn lz4_agrees_with_another_implementation(block in any_block()) {
        let mut scratch = Scratch::new();
        let mut dst = vec![0; ample(block.len())];
        let size = compress(Compression::Lz4, &block, &mut dst, &mut scratch).unwrap();
        let mut back = vec![0xa5; block.len()];
        prop_assert_eq!(lz4_flex::block::decompress_into(&dst[4..size], &mut back).unwrap(), block.len());
        prop_assert_eq!(&back, &block);

        let theirs = lz4_flex::block::compress(&block);
        let framed = [&u32::try_from(theirs.len()).unwrap().to_be_bytes()[..], &theirs].concat();
        back.fill(0xa5);
        prop_assert_eq!(decompress(Compression::Lz4, &framed, &mut back, &mut scratch), Ok(()));
        prop_assert_eq!(&back, &block);
    }

    /// Strict decoders ask that the last five bytes be literals, and that no match start in the
    /// last twelve.
    #[test]
    fn lz4_ends_in_literals(block in any_block(), run in 0usize..40) {
        let mut block = block;
        block.extend(vec![9; run]);
        let mut dst = vec![0; ample(block.len())];
        let size = compress(Compression::Lz4, &block, &mut dst, &mut Scratch::new()).unwrap();
        let (matches, literal_tail) = lz4_matches(&dst[4..size]);
        for (start, _) in &matches {
            prop_assert!(start + 12 <= block.len());
        }
        prop_assert!(matches.is_empty() || literal_tail >= 5, "{}", literal_tail);
    }

    /// A second implementation of zlib reads what this one writes, and the other way round.
    #[test]
    fn gzip_agrees_with_another_implementation(block in any_block(), level in 1u8..=9) {
        let gzip = Compression::Gzip(GzipLevel::new(level).unwrap());
        let mut scratch = Scratch::new();
        let mut payload = vec![0; ample(block.len())];
        let len = compress(gzip, &block, &mut payload, &mut scratch).unwrap();
        let mut back = vec![0xa5; block.len()];
        let finish = flate2::FlushDecompress::Finish;
        let mut decoder = flate2::Decompress::new(true);
        let status = decoder.decompress(&payload[..len], &mut back, finish).unwrap();
        prop_assert_eq!(status, flate2::Status::StreamEnd);
        prop_assert_eq!(decoder.total_in(), len as u64);
        prop_assert_eq!(&back, &block);

        let mut encoder = flate2::Compress::new(flate2::Compression::new(level.into()), true);
        let finish = flate2::FlushCompress::Finish;
        encoder.compress(&block, &mut payload, finish).unwrap();
        let len = usize::try_from(encoder.total_out()).unwrap();
        back.fill(0xa5);
        prop_assert_eq!(decompress(gzip, &payload[..len], &mut back, &mut scratch), Ok(()));
        prop_assert_eq!(&back, &block);
    }

    #[test]
    fn history_leaves_no_trace(
        c in any_compression(),
        before in any_compression(),
        other in any_block(),
        block in any_block(),
    ) {
        let mut fresh = vec![0; ample(block.len())];
        let fresh_len = compress(c, &block, &mut fresh, &mut Scratch::new());

        let mut scratch = Scratch::new();
        let mut spill = vec![0; ample(other.len())];
        compress(before, &other, &mut spill, &mut scratch);
        compress(c, &other, &mut spill[..other.len() / 2], &mut scratch);
        compress(c, &block, &mut vec![0; block.len()], &mut scratch);
        let mut used = vec![0xff; ample(block.len())];
        let used_len = compress(c, &block, &mut used, &mut scratch);
        prop_assert_eq!(fresh_len, used_len);
        let len = fresh_len.unwrap();
        prop_assert_eq!(&fresh[..len], &used[..len]);
    }

    #[test]
    fn random_bytes_never_panic(
        c in any_compression(),
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        fix_length in any::<bool>(),
        len in 0usize..4096,
    ) {
        let mut bytes = bytes;
        if fix_length {
            // Get past the headers of the formats that have one.
            let claimed = bytes.len().saturating_sub(8) as u32;
            for (at, byte) in claimed.to_be_bytes().into_iter().chain([3, 0]).enumerate() {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
            }
        }
        let _ = decompress(c, &bytes, &mut vec![0; len], &mut Scratch::new());
    }

    /// A damaged payload is refused or decodes to *something* of the right length, in which nothing
    /// of what the buffer held before shines through; the decoder then still works.
    #[test]
    fn flipped_bits_never_panic(
        c in any_compression(),
        block in any_block(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut scratch = Scratch::new();
        let mut payload = vec![0; ample(block.len())];
        let len = compress(c, &block, &mut payload, &mut scratch).unwrap();
        payload.truncate(len);
        let good = payload.clone();
        for (at, bit) in flips {
            let at = at.index(payload.len());
            payload[at] ^= 1 << bit;
        }
        let (mut back, mut other) = (vec![0; block.len()], vec![0xa5; block.len()]);
        let decoded = decompress(c, &payload, &mut back, &mut scratch);
        prop_assert_eq!(decompress(c, &payload, &mut other, &mut scratch), decoded);
        prop_assert!(decoded.is_err() || back == other);
        let _ = decompress(c, &payload[..cut.index(len)], &mut back, &mut scratch);
        prop_assert_eq!(decompress(c, &good, &mut back, &mut scratch), Ok(()));
        prop_assert_eq!(&back, &block);
    }

    /// A payload cut short is an error, never a short block.
    #[test]
    fn truncation_is_an_error(c in any_compression(), block in any_block(), cut in any::<prop::sample::Index>()) {
        let mut scratch = Scratch::new();
        let mut payload = vec![0; ample(block.len())];
        let len = compress(c, &block, &mut payload, &mut scratch).unwrap();
        let mut back = vec![0; block.len()];
        prop_assert!(decompress(c, &payload[..cut.index(len)], &mut back, &mut scratch).is_err());
    }

    #[test]
    fn packed_blocks_follow_the_rules(
        c in any_compression(),
        block in any_block(),
        unit_shift in 9u32..13,
        may_embed in any::<bool>(),
    ) {
        let unit = 1usize << unit_shift;
        let mut block = block;
        block.resize(block.len().next_multiple_of(unit), 0);
        let mut dst = vec![0xa5; block.len()];
        let mut scratch = Scratch::new();
        let rules = BlockRules { unit_shift, may_embed };
        let packed = compress_block(c, &block, &mut dst, rules, &mut scratch);
        prop_assert_eq!(packed == Packed::Hole, is_zero(&block));
        let stored = match packed {
            Packed::Hole | Packed::AsIs => return Ok(()),
            Packed::Embedded { payload_bytes } => {
                prop_assert!(may_embed && payload_bytes <= EMBEDDED_BYTES_MAX);
                payload_bytes
            }
            Packed::Compressed { payload_bytes, psize_bytes } => {
                prop_assert!(payload_bytes <= payload_limit(c, block.len(), unit));
                prop_assert!(payload_bytes <= psize_bytes && psize_bytes < block.len());
                prop_assert_eq!(psize_bytes, payload_bytes.next_multiple_of(unit));
                prop_assert!(is_zero(&dst[payload_bytes..psize_bytes]));
                prop_assert!(!may_embed || payload_bytes > EMBEDDED_BYTES_MAX);
                psize_bytes
            }
        };
        let mut back = vec![0; block.len()];
        prop_assert_eq!(decompress(c, &dst[..stored], &mut back, &mut scratch), Ok(()));
        prop_assert_eq!(back, block);
    }
}

#[test]
fn large_blocks_round_trip_and_incompressible_ones_are_given_up() {
    let mut scratch = Scratch::new();
    let mut noise = vec![0u8; 1 << 20];
    let mut x = 1u64;
    for chunk in noise.chunks_exact_mut(8) {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        chunk.copy_from_slice(&(x ^ (x >> 29)).to_le_bytes());
    }
    let text: Vec<u8> = b"ground control to major ".iter().copied().cycle().take(1 << 20).collect();
    for c in [
        Compression::Lzjb,
        Compression::Lz4,
        Compression::Gzip(GzipLevel::default()),
        Compression::Zstd(ZstdLevel::DEFAULT),
    ] {
        let mut dst = vec![0; payload_limit(c, 1 << 20, 4096)];
        assert_eq!(compress(c, &noise, &mut dst, &mut scratch), None, "{c}");
        let len = compress(c, &text, &mut dst, &mut scratch).unwrap();
        let mut back = vec![0; 1 << 20];
        decompress(c, &dst[..len], &mut back, &mut scratch).unwrap();
        assert!(back == text, "{c}");
    }
}

/// From 128 KiB on, a limit that the fast compressors miss is not tried at a slow level.
#[test]
fn slow_zstd_levels_are_not_spent_on_what_fast_ones_give_up() {
    let size = |len: usize, level: u8, limit: usize| {
        let block: Vec<u8> =
            (0..len).map(|i| b"eats shoots and leaves "[(i * i / 977 + i / 37 + i) % 23]).collect();
        let level = Compression::Zstd(ZstdLevel::new(level).unwrap());
        compress(level, &block, &mut vec![0; limit], &mut Scratch::new())
    };
    for (len, probed) in [((128 << 10) - 1, false), (128 << 10, true)] {
        let small = size(len, 19, len).unwrap();
        let large = size(len, 1, len).unwrap();
        assert!(small < large, "{small} {large}");
        let limit = (small + large) / 2;
        assert_eq!(size(len, 1, limit), None);
        assert_eq!(size(len, 19, limit), if probed { None } else { Some(small) });
        // The library wants a margin to write in.
        assert_eq!(size(len, 19, large + 1024), Some(small));
    }
}

/// Off asks nothing, empty asks only for zeros, and a block of one unit cannot shrink.
#[test]
fn what_is_stored_as_is() {
    let mut scratch = Scratch::new();
    let mut dst = [0; 4096];
    let rules = BlockRules { unit_shift: 12, may_embed: false };
    let mut pack = |c, src: &[u8], rules| compress_block(c, src, &mut dst, rules, &mut scratch);
    assert_eq!(pack(Compression::Off, &[0; 4096], rules), Packed::AsIs);
    assert_eq!(pack(Compression::Empty, &[0; 4096], rules), Packed::Hole);
    assert_eq!(pack(Compression::Empty, &[1; 4096], rules), Packed::AsIs);
    assert_eq!(pack(Compression::Lz4, &[1; 4096], rules), Packed::AsIs);
    let embed = BlockRules { may_embed: true, ..rules };
    assert!(matches!(
        pack(Compression::Lz4, &[1; 4096], embed),
        Packed::Embedded { payload_bytes: 20..=40 }
    ));
}

#[test]
fn scratch_may_move_between_threads() {
    fn movable<T: Send>() {}
    movable::<Scratch>();
}

/// An encoder that ran out of room leaves nothing behind for the next block.
#[test]
fn a_block_that_did_not_fit_leaves_no_trace() {
    let mut x = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    })
    .take(65_536)
    .collect();
    let regular: Vec<u8> = (0..65_536_u32).map(|i| (i / 64) as u8).collect();
    for level in 1..=9 {
        let gzip = Compression::Gzip(GzipLevel::new(level).unwrap());
        let (mut used, mut fresh) = (Scratch::new(), Scratch::new());
        let mut out = vec![0; 57_344];
        for len in [512, 4096, 4608, 65_536] {
            let room = len - len / 8;
            assert_eq!(compress(gzip, &noise[..len], &mut out[..room], &mut used), None);
            let mut expected = vec![0; 57_344];
            let after = compress(gzip, &regular, &mut out, &mut used).unwrap();
            let first = compress(gzip, &regular, &mut expected, &mut fresh).unwrap();
            assert_eq!(out[..after], expected[..first], "{gzip} after {len} bytes of noise");
        }
    }
}
