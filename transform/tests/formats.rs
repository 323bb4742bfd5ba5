//! The formats by hand: published vectors, ids, headers, and each way to be malformed.

use transform::{
    Compression, DecodeError, Format, GzipLevel, IdError, Scratch, ZstdHeader, ZstdLevel, compress,
    decompress,
};

fn packed(compression: Compression, src: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut dst = vec![0; limit];
    let len = compress(compression, src, &mut dst, &mut Scratch::new())?;
    dst.truncate(len);
    Some(dst)
}

fn unpacked(compression: Compression, src: &[u8], len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut dst = vec![0xa5; len];
    decompress(compression, src, &mut dst, &mut Scratch::new()).map(|()| dst)
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn vector(compression: Compression, src: &[u8], payload: &str) {
    let payload = hex(payload);
    assert_eq!(packed(compression, src, src.len() + 200).unwrap(), payload);
    assert_eq!(unpacked(compression, &payload, src.len()).unwrap(), src);
}

#[test]
fn zle_vectors() {
    let with_zeros =
        |head: &[u8], zeros: usize, tail: &[u8]| [head, &vec![0; zeros], tail].concat();
    vector(Compression::Zle, &with_zeros(&[1, 2, 3], 10, &[4]), "02 01 02 03 49 00 04");
    vector(Compression::Zle, &[0; 500], "ff ff b3");
    vector(
        Compression::Zle,
        &with_zeros(&[1, 0, 2, 0, 0, 3], 200, &[]),
        "02 01 00 02 41 00 03 ff 47",
    );
    let sixty_four = "41 ".repeat(64);
    vector(Compression::Zle, &[b'A'; 70], &format!("3f {sixty_four} 05 41 41 41 41 41 41"));
}

#[test]
fn lzjb_vector() {
    vector(
        Compression::Lzjb,
        &b"abc".repeat(80),
        "38 61 62 63 fc 03 fc 42 fc 42 61 62 00 63 61 62 63 61 62 63 61 00 62 63 61 62 63 61 62 63 \
         00 61 62 63 61 62 63 61 62 00 63 61 62 63 61 62 63 61 00 62 63 61 62 63",
    );
}

#[test]
fn ids_go_there_and_back() {
    for id in 0..=u8::MAX {
        match (id, Compression::from_id(id)) {
            (0, answer) => assert_eq!(answer, Err(IdError::PropertyOnly { id, name: "inherit" })),
            (1, answer) => assert_eq!(answer, Err(IdError::PropertyOnly { id, name: "on" })),
            (2..=16, answer) => assert_eq!(answer.unwrap().id(), id),
            (_, answer) => assert_eq!(answer, Err(IdError::Unknown { id })),
        }
    }
    let name = |id| Compression::from_id(id).unwrap().to_string();
    assert_eq!(
        [2, 3, 4, 5, 13, 14, 15, 16].map(name),
        ["off", "lzjb", "empty", "gzip-1", "gzip-9", "zle", "lz4", "zstd-3"]
    );
    assert_eq!(GzipLevel::new(0), None);
    assert_eq!(GzipLevel::new(10), None);
}

#[test]
fn zstd_levels_have_their_ids() {
    assert_eq!((1..=19).map(|n| ZstdLevel::new(n).unwrap().id()).collect::<Vec<_>>(), {
        (1..=19).collect::<Vec<u8>>()
    });
    let fast = |n| ZstdLevel::fast(n).unwrap().id();
    assert_eq!([1, 2, 10, 20, 100, 500, 1000].map(fast), [103, 104, 112, 113, 121, 122, 123]);
    for n in [0, 20, 102] {
        assert_eq!(ZstdLevel::new(n), None);
    }
    for n in [0, 11, 25, 101, 1001] {
        assert_eq!(ZstdLevel::fast(n), None);
    }
    let known = (0..=u8::MAX).filter(|&id| {
        ZstdLevel::from_id(id).is_some_and(|level| {
            assert_eq!(level.id(), id);
            true
        })
    });
    assert_eq!(known.count(), 19 + 21);
    assert_eq!(ZstdLevel::fast(500).unwrap().to_string(), "fast-500");
    assert_eq!(ZstdLevel::fast(500).unwrap().level(), -500);
}

#[test]
fn every_zstd_level_round_trips_and_signs_its_header() {
    let src = b"to and fro ".repeat(400);
    for id in 0..=u8::MAX {
        let Some(level) = ZstdLevel::from_id(id) else { continue };
        let payload = packed(Compression::Zstd(level), &src, src.len()).unwrap();
        let header = ZstdHeader::parse(&payload).unwrap();
        assert_eq!(header.level_id, id);
        assert_eq!(header.frame_bytes as usize, payload.len() - 8);
        assert_eq!(
            unpacked(Compression::Zstd(ZstdLevel::DEFAULT), &payload, src.len()),
            Ok(src.clone())
        );
    }
}

#[test]
fn zstd_header_is_read_in_both_byte_orders() {
    // Version 1.4.5 is 10405 = 00 28 a5.
    let level_first = hex("00 00 01 02 03 00 28 a5");
    let version_first = hex("00 00 01 02 00 28 a5 03");
    let want = ZstdHeader { frame_bytes: 0x102, level_id: 3, version: 10_405 };
    assert_eq!(ZstdHeader::parse(&level_first), Ok(want));
    assert_eq!(ZstdHeader::parse(&version_first), Ok(want));
    assert_eq!(
        ZstdHeader::parse(&hex("00 00 01 02 03 28 a5 00")),
        Err(DecodeError::ZstdHeader { bytes: [3, 0x28, 0xa5, 0] })
    );

    let src = vec![7; 4096];
    let mut payload = packed(Compression::Zstd(ZstdLevel::DEFAULT), &src, 4096).unwrap();
    payload[4..8].rotate_left(1);
    assert_eq!(unpacked(Compression::Zstd(ZstdLevel::DEFAULT), &payload, 4096), Ok(src));
}

/// A zlib stream's second byte says in its top two bits how hard the encoder tried (RFC 1950).
#[test]
fn gzip_levels_reach_the_encoder() {
    let src = b"to and fro ".repeat(400);
    let effort = |level| {
        let gzip = Compression::Gzip(GzipLevel::new(level).unwrap());
        packed(gzip, &src, src.len()).unwrap()[1] >> 6
    };
    assert_eq!([1, 2, 5, 6, 9].map(effort), [0, 1, 1, 2, 3]);
}

#[test]
fn lz4_length_is_big_endian_and_exact() {
    let src = vec![7; 4096];
    let payload = packed(Compression::Lz4, &src, 4096).unwrap();
    let claimed = u32::from_be_bytes(payload[..4].try_into().unwrap()) as usize;
    assert_eq!(claimed, payload.len() - 4);

    let short = &payload[..payload.len() - 1];
    assert_eq!(
        unpacked(Compression::Lz4, short, 4096),
        Err(DecodeError::LengthBeyondPayload {
            format: Format::Lz4,
            claimed_bytes: claimed,
            available_bytes: claimed - 1,
        })
    );
    assert_eq!(
        unpacked(Compression::Lz4, &payload[..3], 4096),
        Err(DecodeError::HeaderTruncated {
            format: Format::Lz4,
            header_bytes: 4,
            payload_bytes: 3
        })
    );
}

#[test]
fn a_block_of_another_length_is_refused() {
    let src: Vec<u8> = (0..4096u32).map(|i| (i / 16) as u8).collect();
    for compression in [
        Compression::Lz4,
        Compression::Zstd(ZstdLevel::DEFAULT),
        Compression::Gzip(GzipLevel::default()),
    ] {
        let payload = packed(compression, &src, 4096).unwrap();
        assert_eq!(unpacked(compression, &payload, 4096).unwrap(), src);
        for wrong in [4095, 4097, 512, 8192] {
            assert!(unpacked(compression, &payload, wrong).is_err(), "{compression} {wrong}");
        }
    }
    // lzjb and zle have no end of their own: too long is an error, too short is a prefix.
    for compression in [Compression::Lzjb, Compression::Zle] {
        let payload = packed(compression, &src, 8192).unwrap();
        assert!(unpacked(compression, &payload, 4097).is_err(), "{compression}");
    }
    assert_eq!(
        unpacked(Compression::Off, &src, 4097),
        Err(DecodeError::StoredLength { payload_bytes: 4096, wanted_bytes: 4097 })
    );
    assert_eq!(unpacked(Compression::Off, &src, 4096), Ok(src));
}

#[test]
fn malformed_runs_are_located() {
    // A match in the first item: nothing to refer to.
    assert_eq!(
        unpacked(Compression::Lzjb, &hex("01 00 01"), 8),
        Err(DecodeError::MatchBeforeStart {
            format: Format::Lzjb,
            at_byte: 1,
            distance_bytes: 1,
            produced_bytes: 0
        })
    );
    // Distance zero.
    assert_eq!(
        unpacked(Compression::Lzjb, &hex("02 61 00 00"), 8),
        Err(DecodeError::MatchBeforeStart {
            format: Format::Lzjb,
            at_byte: 2,
            distance_bytes: 0,
            produced_bytes: 1
        })
    );
    // A match longer than the room is cut.
    assert_eq!(unpacked(Compression::Lzjb, &hex("02 61 fc 01"), 5).unwrap(), b"aaaaa");
    assert_eq!(
        unpacked(Compression::Lzjb, &hex("00 61 62"), 5),
        Err(DecodeError::InputEnds {
            format: Format::Lzjb,
            at_byte: 3,
            produced_bytes: 2,
            wanted_bytes: 5
        })
    );
    assert_eq!(
        unpacked(Compression::Zle, &hex("00 61 45"), 6),
        Err(DecodeError::RunTooLong {
            format: Format::Zle,
            at_byte: 2,
            run_bytes: 6,
            room_bytes: 5
        })
    );
    assert_eq!(
        unpacked(Compression::Zle, &hex("02 61 62"), 6),
        Err(DecodeError::InputEnds {
            format: Format::Zle,
            at_byte: 3,
            produced_bytes: 0,
            wanted_bytes: 6
        })
    );
    assert!(matches!(
        unpacked(Compression::Empty, &[], 0),
        Err(DecodeError::NotStored { compression: Compression::Empty })
    ));
}
