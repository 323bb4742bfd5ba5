//! Skein-512 against a slow model that hashes the message as a whole with the
//! crate `threefish`, and the model against the published vectors: these have
//! other keys and longer digests than a pool's, which only the model can make.

use checksum::{Algorithm, ByteOrder, Checksum, Context, Salt};
use proptest::{collection::vec, prelude::*};
use threefish::Threefish512;

const KEY: u64 = 0;
const CONFIG: u64 = 4;
const MESSAGE: u64 = 48;
const OUTPUT: u64 = 63;

/// One part: blocks of 64 bytes, at least one, the last filled up with zeros.
fn part(chain: [u64; 8], kind: u64, bytes: &[u8]) -> [u64; 8] {
    let blocks = bytes.len().div_ceil(64).max(1);
    (0..blocks).fold(chain, |chain, number| {
        let from = number * 64;
        let to = bytes.len().min(from + 64);
        let mut block = [0; 64];
        block[..to - from].copy_from_slice(&bytes[from..to]);
        let first = u64::from(number == 0) << 62;
        let last = u64::from(number == blocks - 1) << 63;
        let word = |i: usize| u64::from_le_bytes(block[8 * i..8 * i + 8].try_into().unwrap());
        let plain: [u64; 8] = std::array::from_fn(word);
        let mut cipher = plain;
        Threefish512::new_with_tweak_u64(&chain, &[to as u64, kind << 56 | first | last])
            .encrypt_block_u64(&mut cipher);
        std::array::from_fn(|i| plain[i] ^ cipher[i])
    })
}

/// Skein-512 with a digest of up to 64 bytes. No key is not an empty part.
fn model(key: Option<&[u8]>, message: &[u8], digest_bytes: usize) -> Vec<u8> {
    let mut config = *b"SHA3\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    config[8..16].copy_from_slice(&(digest_bytes as u64 * 8).to_le_bytes());
    let chain = key.map_or([0; 8], |key| part([0; 8], KEY, key));
    let chain = part(chain, CONFIG, &config);
    let chain = part(chain, MESSAGE, message);
    let chain = part(chain, OUTPUT, &[0; 8]);
    let digest: Vec<u8> = chain.iter().flat_map(|word| word.to_le_bytes()).collect();
    digest[..digest_bytes].to_vec()
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.chunks(2).map(byte).collect()
}

/// From `skein_golden_kat.txt` of the submission's package, version 1.3.
#[test]
fn the_model_equals_the_published_vectors() {
    let descending: Vec<u8> = (0x80..=0xff).rev().collect();
    assert_eq!(
        model(None, &descending, 32),
        bytes("1a6a5ba08e74a864b5cb052cfb9b2fa128203230a4d9923a329f5427c477a4db")
    );
    assert_eq!(
        model(None, &[0xff], 64),
        bytes(
            "71b7bce6fe6452227b9ced6014249e5bf9a9754c3ad618ccc4e0aae16b316cc8
             ca698d864307ed3e80b6ef1570812ac5272dc409b5a012df2a579102f340617a"
        )
    );
    let key = bytes("cb41f1706cde09651203c2d0efbaddf847a0d315cb2e53ff8bac41da0002672e");
    let message = bytes(
        "d3090c72167517f7c7ad82a70c2fd3f6443f608301591e598eadb195e8357135
         ba26fede2ee187417f816048d00fc23512737a2113709a77e4170c49a94b7fdf
         f45ff579a72287743102e7766c35ca5abc5dfe2f63a1e726ce5fbd2926db03a2",
    );
    assert_eq!(
        model(Some(&key), &message[..8], 64),
        bytes(
            "0c1f1921253dd8e5c2d4c5f4099f851042d9114789270582
             9161f5fc64d89785226eb6e187068493ee4c78a4b7c0f55a
             8cbbb1a5982c2daf638fc6a74b16b0d7"
        )
    );
    assert_eq!(
        model(Some(&key), &message, 64),
        bytes(
            "d10e3ba81855ac087fbf5a3bc1f99b27d05f98ba22441138026225d34a418b93
             fd9e8dfaf5120757451adabe050d0eb59d271b0fe1bbf04badbcf9ba25a8791b"
        )
    );
}

#[test]
fn equals_the_model_at_every_length_around_the_blocks() {
    let data: Vec<u8> = (0..300).map(|i: u32| (i * 37 + 11) as u8).collect();
    let salt = [0x33; 32];
    let context = Context::new(Algorithm::Skein, Some(&Salt(salt))).unwrap();
    for len in 0..=data.len() {
        let digest: [u8; 32] = model(Some(&salt), &data[..len], 32).try_into().unwrap();
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let expected = Checksum::from_bytes(&digest, order);
            assert_eq!(context.compute(order, [&data[..len]]), expected, "{len} bytes");
        }
    }
}

proptest! {
    #[test]
    fn equals_the_model(salt: [u8; 32], data in vec(any::<u8>(), 0..3000)) {
        let context = Context::new(Algorithm::Skein, Some(&Salt(salt))).unwrap();
        let digest: [u8; 32] = model(Some(&salt), &data, 32).try_into().unwrap();
        let expected = Checksum::from_bytes(&digest, ByteOrder::NATIVE);
        prop_assert_eq!(context.compute(ByteOrder::NATIVE, [&data[..]]), expected);
    }
}
