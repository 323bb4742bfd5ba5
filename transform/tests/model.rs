//! lzjb and zle beside the plain model of `common/plain.rs`, byte for byte.

use proptest::prelude::*;
use transform::{Compression, Scratch, compress, decompress};

#[path = "common/plain.rs"]
mod plain;

/// Runs, zeros alone and in pairs, repeats at all distances, and noise.
fn any_block() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (any::<u8>(), 1usize..300).prop_map(|(byte, len)| vec![byte; len]),
        proptest::collection::vec(any::<u8>(), 1..1100),
        proptest::collection::vec(0u8..2, 1..300),
        proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(0)], 1..200),
        (proptest::collection::vec(any::<u8>(), 1..1100), 2usize..4).prop_map(|(p, n)| p.repeat(n)),
    ];
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

fn check_encoder(
    compression: Compression,
    model: fn(&[u8], &mut [u8]) -> Option<usize>,
    block: &[u8],
    limit: usize,
) -> Result<(), TestCaseError> {
    let (mut ours, mut theirs) = (vec![0; limit], vec![0; limit]);
    // What the table holds from an earlier block must not matter.
    let mut scratch = Scratch::new();
    compress(compression, &block[block.len() / 3..], &mut ours, &mut scratch);
    let len = compress(compression, block, &mut ours, &mut scratch);
    prop_assert_eq!(len, model(block, &mut theirs));
    if let Some(len) = len {
        prop_assert_eq!(&ours[..len], &theirs[..len]);
    }
    Ok(())
}

fn check_decoder(
    compression: Compression,
    model: fn(&[u8], &mut [u8]) -> Option<()>,
    payload: &[u8],
    len: usize,
) -> Result<(), TestCaseError> {
    let (mut ours, mut theirs) = (vec![0xa5; len], vec![0; len]);
    let decoded = decompress(compression, payload, &mut ours, &mut Scratch::new());
    prop_assert_eq!(decoded.ok(), model(payload, &mut theirs));
    if decoded.is_ok() {
        prop_assert_eq!(ours, theirs);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn encoders_write_what_the_model_writes(block in any_block(), permille in 0usize..1200) {
        let limit = block.len() * permille / 1000;
        check_encoder(Compression::Lzjb, plain::lzjb_compress, &block, limit)?;
        check_encoder(Compression::Zle, plain::zle_compress, &block, limit)?;
    }

    #[test]
    fn decoders_read_what_the_model_reads(
        block in any_block(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        extra in 0usize..3,
    ) {
        for (compression, encode, decode) in [
            (
                Compression::Lzjb,
                plain::lzjb_compress as fn(&[u8], &mut [u8]) -> Option<usize>,
                plain::lzjb_decompress as fn(&[u8], &mut [u8]) -> Option<()>,
            ),
            (Compression::Zle, plain::zle_compress, plain::zle_decompress),
        ] {
            let mut payload = vec![0; 2 * block.len() + 100];
            let len = encode(&block, &mut payload).unwrap();
            payload.truncate(len);
            for (at, byte) in &damage {
                let at = at.index(len);
                payload[at] = *byte;
            }
            check_decoder(compression, decode, &payload, block.len() + extra)?;
        }
    }

    #[test]
    fn decoders_refuse_what_the_model_refuses(
        payload in proptest::collection::vec(any::<u8>(), 0..600),
        len in 0usize..1500,
    ) {
        check_decoder(Compression::Lzjb, plain::lzjb_decompress, &payload, len)?;
        check_decoder(Compression::Zle, plain::zle_decompress, &payload, len)?;
    }
}
