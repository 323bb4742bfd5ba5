//! Encryption: OpenZFS's results, public vectors, and properties over all blocks.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;
use transform::crypt::{
    BlockKey, ByteOrder, HmacKey, Iv, KeyCache, KeyError, Mac, MasterKey, OpenError, PointerWords,
    Salt, SealError, SealParams, Suite, SuiteIdError,
};
use transform::{Compression, Scratch, decompress};

mod common;

/// The rows of a fixture; all columns are strings but for the lengths.
fn rows<const COLUMNS: usize>(text: &str) -> Vec<[Value; COLUMNS]> {
    let rows: Vec<Vec<Value>> = serde_json::from_str(text).unwrap();
    rows.into_iter().map(|row| row.try_into().unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2));
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    unhex(text(value)).try_into().unwrap()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn suite(value: &Value) -> Suite {
    let name = text(value);
    Suite::ALL.into_iter().find(|suite| suite.name() == name).unwrap()
}

#[test]
fn keys_macs_and_ciphertexts_are_those_of_openzfs() {
    let mut suites = Vec::new();
    for row in rows::<9>(include_str!("fixtures/golden-crypt.json")) {
        let [name, generator, len, master, salt, iv, derived, mac, sha256] = &row;
        let suite = suite(name);
        let block = common::generate(text(generator), number(len));
        let (salt, iv, mac): (Salt, Iv, Mac) = (bytes(salt), bytes(iv), bytes(mac));

        let key = MasterKey::new(suite, &unhex(text(master))).unwrap().derive(&salt);
        let mut sealed = vec![0; block.len()];
        assert_eq!(key.seal(&iv, &[], [&block[..]], &mut sealed), Ok(mac), "{suite}");
        assert_eq!(common::hex_sha256(&sealed), text(sha256), "{suite}");

        // The derived key itself is as expected, too, if it opens what the derived one sealed.
        let same = BlockKey::new(suite, &unhex(text(derived))).unwrap();
        let mut back = vec![0xa5; block.len()];
        assert_eq!(same.open(&iv, &mac, &[], [&sealed[..]], &mut back), Ok(()), "{suite}");
        assert!(back == block, "{suite}");
        suites.push(suite);
    }
    suites.sort_by_key(|suite| suite.id());
    suites.dedup();
    assert_eq!(suites, Suite::ALL);
}

#[test]
fn blocks_of_a_real_pool_open() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for [name, master, pointer, generator, len] in
        rows::<5>(include_str!("fixtures/sealed-blocks.json"))
    {
        let pointer: [u8; 128] = bytes(&pointer);
        let words: [u64; 16] = std::array::from_fn(|at| {
            u64::from_le_bytes(pointer[8 * at..8 * at + 8].try_into().unwrap())
        });
        let stored = std::fs::read(dir.join(text(&name)).with_extension("sealed")).unwrap();
        let keys = KeyCache::new(MasterKey::new(Suite::Aes256Gcm, &bytes::<32>(&master)).unwrap());

        let params = SealParams::from_pointer(&words, ByteOrder::Little);
        let mut payload = vec![0; stored.len()];
        keys.get(&params.salt)
            .open(&params.iv, &params.mac, &[], [&stored[..]], &mut payload)
            .unwrap();
        let compression = Compression::from_id((words[6] >> 32) as u8 & 0x7f).unwrap();
        let mut block = vec![0; number(&len)];
        decompress(compression, &payload, &mut block, &mut Scratch::new()).unwrap();
        assert!(block == common::generate(text(&generator), block.len()), "{name}");

        // Sealed again with the same parameters it is what the pool holds, pointer and all.
        let mac = keys.get(&params.salt).seal_in_place(&params.iv, &[], &mut payload).unwrap();
        assert!(payload == stored, "{name}");
        let mut again = words;
        for word in [4, 5, 14, 15] {
            again[word] = 0;
        }
        again[11] &= 0xffff_ffff;
        SealParams { mac, ..params }.store(&mut again, ByteOrder::Little);
        assert_eq!(again, words, "{name}");
    }
}

/// GCM: McGrew and Viega's test cases. CCM: NIST's CAVP. (See fixtures/README.md.)
#[test]
fn public_vectors() {
    let rows = rows::<7>(include_str!("fixtures/public-aead.json"));
    assert_eq!(rows.len(), 40);
    for row in &rows {
        let name = suite(&row[0]);
        let key = BlockKey::new(name, &unhex(text(&row[1]))).unwrap();
        let (iv, mac): (Iv, Mac) = (bytes(&row[2]), bytes(&row[6]));
        let (aad, plain, cipher) =
            (unhex(text(&row[3])), unhex(text(&row[4])), unhex(text(&row[5])));

        let mut out = vec![0; plain.len()];
        assert_eq!(key.seal(&iv, &aad, [&plain[..]], &mut out), Ok(mac), "{name}");
        assert_eq!(out, cipher, "{name}");
        let mut back = vec![0; plain.len()];
        assert_eq!(key.open(&iv, &mac, &aad, [&cipher[..]], &mut back), Ok(()), "{name}");
        assert_eq!(back, plain, "{name}");
    }
}

/// RFC 4231, test cases 1 to 3. HMAC fills a short key up with zeros, so theirs are 64-byte keys
/// that end in zeros.
#[test]
fn hmac_vectors() {
    let mac = |key: &[u8], data: &[u8]| {
        let mut padded = [0; 64];
        padded[..key.len()].copy_from_slice(key);
        HmacKey::new(&padded).unwrap().authenticate([data]).to_vec()
    };
    assert_eq!(mac(&[0x0b; 20], b"Hi There"), unhex("87aa7cdea5ef619d4ff0b4241a1d6cb0"));
    assert_eq!(
        mac(b"Jefe", b"what do ya want for nothing?"),
        unhex("164b7a7bfcf819e2e395fbe73b56e0a3")
    );
    assert_eq!(mac(&[0xaa; 20], &[0xdd; 50]), unhex("fa73b0089d56a284efb0f0756c890be9"));
}

#[test]
fn suites_have_their_ids() {
    for id in 0..=u8::MAX {
        match (id, Suite::from_id(id)) {
            (0, answer) => assert_eq!(answer, Err(property(id, "inherit"))),
            (1, answer) => assert_eq!(answer, Err(property(id, "on"))),
            (2, answer) => assert_eq!(answer, Err(property(id, "off"))),
            (3..=8, answer) => assert_eq!(answer.unwrap().id(), id),
            (_, answer) => assert_eq!(answer, Err(SuiteIdError::Unknown { id })),
        }
    }
    let named = [3, 4, 5, 6, 7, 8].map(|id| Suite::from_id(id).unwrap().to_string());
    assert_eq!(
        named,
        ["aes-128-ccm", "aes-192-ccm", "aes-256-ccm", "aes-128-gcm", "aes-192-gcm", "aes-256-gcm"]
    );
    assert_eq!(Suite::default(), Suite::Aes256Gcm);
}

fn property(id: u8, name: &'static str) -> SuiteIdError {
    SuiteIdError::PropertyOnly { id, name }
}

#[test]
fn keys_of_another_length_are_refused() {
    for suite in Suite::ALL {
        for got_bytes in [0, 15, 16, 17, 24, 31, 32, 33, 64] {
            let key = vec![1; got_bytes];
            let wanted_bytes = suite.key_bytes();
            let error = KeyError { what: suite.name(), wanted_bytes, got_bytes };
            let answers =
                [MasterKey::new(suite, &key).map(drop), BlockKey::new(suite, &key).map(drop)];
            let expected = if got_bytes == wanted_bytes { Ok(()) } else { Err(error) };
            assert_eq!(answers, [expected; 2]);
        }
    }
    assert_eq!(
        HmacKey::new(&[1; 63]).map(drop),
        Err(KeyError { what: "hmac-sha512", wanted_bytes: 64, got_bytes: 63 })
    );
}

#[test]
fn no_key_is_printed() {
    let secret = [0xab; 32];
    let master = MasterKey::new(Suite::Aes256Gcm, &secret).unwrap();
    let shown = format!("{:?} {:?}", master, master.derive(&[0; 8]));
    let shown =
        format!("{shown} {:?} {:?}", HmacKey::new(&[0xab; 64]).unwrap(), KeyCache::new(master));
    assert_eq!(
        shown,
        "MasterKey { suite: Aes256Gcm, .. } BlockKey { suite: Aes256Gcm, .. } HmacKey { .. } \
         KeyCache { suite: Aes256Gcm, .. }"
    );
}

#[test]
fn a_block_beyond_ccms_count_is_refused() {
    let ccm = BlockKey::new(Suite::Aes128Ccm, &[1; 16]).unwrap();
    let mut block = vec![7; 1 << 24];
    let (suite, block_bytes, block_bytes_max) = (Suite::Aes128Ccm, 1 << 24, (1 << 24) - 1);
    assert_eq!(
        ccm.seal_in_place(&[0; 12], &[], &mut block),
        Err(SealError::TooLong { suite, block_bytes, block_bytes_max })
    );
    assert!(transform::is_zero(&block));
    assert_eq!(
        ccm.open_in_place(&[0; 12], &[0; 16], &[], &mut block),
        Err(OpenError::TooLong { suite, block_bytes, block_bytes_max })
    );

    let mut longest = vec![7; (1 << 24) - 1];
    let mac = ccm.seal_in_place(&[0; 12], &[], &mut longest).unwrap();
    ccm.open_in_place(&[0; 12], &mac, &[], &mut longest).unwrap();
    assert!(longest.iter().all(|&byte| byte == 7));

    let gcm = BlockKey::new(Suite::Aes128Gcm, &[1; 16]).unwrap();
    assert!(gcm.seal_in_place(&[0; 12], &[], &mut block).is_ok());
}

#[test]
fn segments_that_do_not_add_up_leave_zeros() {
    for suite in Suite::ALL {
        let key = BlockKey::new(suite, &vec![1; suite.key_bytes()]).unwrap();
        for lens in [&[99][..], &[101], &[50, 49], &[50, 51], &[100, 1], &[1, 100], &[]] {
            let segments = || lens.iter().map(|&len| &[7; 101][..len]);
            let mut out = [0xa5; 100];
            assert_eq!(
                key.seal(&[0; 12], &[], segments(), &mut out),
                Err(SealError::Length { suite, cipher_bytes: 100 }),
                "{lens:?}"
            );
            assert_eq!(out, [0; 100]);
            out.fill(0xa5);
            assert_eq!(
                key.open(&[0; 12], &[0; 16], &[], segments(), &mut out),
                Err(OpenError::Length { suite, plain_bytes: 100 }),
                "{lens:?}"
            );
            assert_eq!(out, [0; 100]);
        }
    }
}

#[test]
fn a_kept_key_is_the_derived_one_and_is_derived_once() {
    let master = || MasterKey::new(Suite::Aes192Gcm, &[3; 24]).unwrap();
    let keys = KeyCache::new(master());
    let seal = |key: &BlockKey| key.seal_in_place(&[0; 12], &[], &mut [5; 40]).unwrap();
    // More salts than are kept, twice, and one that is used in between all the time.
    let favourite = keys.get(&[0xff; 8]);
    for round in 0..2 {
        for salt in 0..40u64 {
            let salt = salt.to_le_bytes();
            let key = keys.get(&salt);
            assert_eq!(seal(&key), seal(&master().derive(&salt)), "{round} {salt:?}");
            assert!(Arc::ptr_eq(&key, &keys.get(&salt)));
            assert!(Arc::ptr_eq(&favourite, &keys.get(&[0xff; 8])));
        }
    }
    assert!(!Arc::ptr_eq(&keys.get(&[0; 8]), &keys.get(&[1; 8])));
}

#[test]
fn keys_are_shared_between_threads() {
    let keys = KeyCache::new(MasterKey::new(Suite::Aes256Gcm, &[3; 32]).unwrap());
    let expected: Vec<Mac> = (0..40u8)
        .map(|salt| keys.master().derive(&[salt; 8]).seal_in_place(&[0; 12], &[], &mut [5; 40]))
        .map(Result::unwrap)
        .collect();
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (keys, expected) = (&keys, &expected);
            scope.spawn(move || {
                for step in 0..400 {
                    let salt = (start * 10 + step * 7) % 40;
                    let key = keys.get(&[salt as u8; 8]);
                    let mac = key.seal_in_place(&[0; 12], &[], &mut [5; 40]).unwrap();
                    assert_eq!(mac, expected[salt]);
                }
            });
        }
    });
}

/// The same sixteen bytes on disk, whoever writes them: the integers differ.
#[test]
fn pointer_words_of_a_big_endian_writer() {
    let params = SealParams { salt: *b"saltsalt", iv: *b"0123456789ab", mac: *b"ABCDEFGHIJKLMNOP" };
    let words = |order| params.to_words(order);
    assert_eq!(
        words(ByteOrder::Big),
        PointerWords {
            salt: 0x7361_6c74_7361_6c74,
            iv_head: 0x3031_3233_3435_3637,
            iv_tail: 0x3839_6162,
            mac: [0x4142_4344_4546_4748, 0x494a_4b4c_4d4e_4f50],
        }
    );
    assert_eq!(words(ByteOrder::Little).iv_tail, 0x6261_3938);
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut pointer = [0x1111_2222_3333_4444; 16];
        params.store(&mut pointer, order);
        assert_eq!(SealParams::from_pointer(&pointer, order), params);
        assert_eq!(pointer[11] & 0xffff_ffff, 0x3333_4444, "the fill count stays");
        assert_eq!(pointer[12..14], [0x1111_2222_3333_4444; 2], "the checksum stays");
    }
}

fn any_suite() -> impl Strategy<Value = Suite> {
    prop::sample::select(Suite::ALL.to_vec())
}

/// `block` in pieces, empty ones among them.
fn cut<'a>(block: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(block.len() + 1)).collect();
    at.extend([0, block.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &block[pair[0]..pair[1]]).collect()
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    proptest::collection::vec(any::<prop::sample::Index>(), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// All four ways to seal give the same, all four ways to open give the block back.
    #[test]
    fn sealing_and_opening_do_not_depend_on_cuts(
        suite in any_suite(),
        key in any::<[u8; 32]>(),
        salt in any::<Salt>(),
        iv in any::<Iv>(),
        aad in proptest::collection::vec(any::<u8>(), 0..40),
        block in proptest::collection::vec(any::<u8>(), 0..3000),
        cuts in cuts(),
    ) {
        let key = MasterKey::new(suite, &key[..suite.key_bytes()]).unwrap().derive(&salt);
        let mut sealed = vec![0xa5; block.len()];
        let mac = key.seal(&iv, &aad, [&block[..]], &mut sealed).unwrap();
        let mut pieces = vec![0xa5; block.len()];
        prop_assert_eq!(key.seal(&iv, &aad, cut(&block, &cuts), &mut pieces), Ok(mac));
        prop_assert_eq!(&pieces, &sealed);
        let mut in_place = block.clone();
        prop_assert_eq!(key.seal_in_place(&iv, &aad, &mut in_place), Ok(mac));
        prop_assert_eq!(&in_place, &sealed);

        let mut back = vec![0xa5; block.len()];
        prop_assert_eq!(key.open(&iv, &mac, &aad, cut(&sealed, &cuts), &mut back), Ok(()));
        prop_assert_eq!(&back, &block);
        back.fill(0xa5);
        prop_assert_eq!(key.open(&iv, &mac, &aad, [&sealed[..]], &mut back), Ok(()));
        prop_assert_eq!(&back, &block);
        prop_assert_eq!(key.open_in_place(&iv, &mac, &aad, &mut in_place), Ok(()));
        prop_assert_eq!(&in_place, &block);
    }

    /// Any bit of ciphertext, MAC, IV, salt or additional data counts, and nothing leaks.
    #[test]
    fn a_flipped_bit_is_noticed_and_nothing_leaks(
        suite in any_suite(),
        key in any::<[u8; 32]>(),
        salt in any::<Salt>(),
        iv in any::<Iv>(),
        aad in proptest::collection::vec(any::<u8>(), 1..40),
        block in proptest::collection::vec(1u8.., 1..1000),
        cuts in cuts(),
        bit in any::<prop::sample::Index>(),
        part in 0..5,
    ) {
        let master = MasterKey::new(suite, &key[..suite.key_bytes()]).unwrap();
        let mut sealed = vec![0; block.len()];
        let mac = master.derive(&salt).seal(&iv, &aad, [&block[..]], &mut sealed).unwrap();

        let (mut salt, mut iv, mut mac, mut aad) = (salt, iv, mac, aad);
        let bytes: &mut [u8] = match part {
            0 => &mut sealed,
            1 => &mut mac,
            2 => &mut iv,
            3 => &mut salt,
            _ => &mut aad,
        };
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);

        let key = master.derive(&salt);
        let forged = Err(OpenError::Mac { what: suite.name(), block_bytes: block.len() });
        let mut back = vec![0xa5; block.len()];
        prop_assert_eq!(key.open(&iv, &mac, &aad, [&sealed[..]], &mut back), forged);
        prop_assert!(transform::is_zero(&back));
        back.fill(0xa5);
        prop_assert_eq!(key.open(&iv, &mac, &aad, cut(&sealed, &cuts), &mut back), forged);
        prop_assert!(transform::is_zero(&back));
        prop_assert_eq!(key.open_in_place(&iv, &mac, &aad, &mut sealed), forged);
        prop_assert!(transform::is_zero(&sealed));
    }

    #[test]
    fn authentication_does_not_depend_on_cuts_and_notices_every_bit(
        key in proptest::collection::vec(any::<u8>(), 64),
        block in proptest::collection::vec(any::<u8>(), 1..2000),
        cuts in cuts(),
        bit in any::<prop::sample::Index>(),
    ) {
        let key = HmacKey::new(&key).unwrap();
        let mac = key.authenticate([&block[..]]);
        prop_assert_eq!(key.authenticate(cut(&block, &cuts)), mac);
        prop_assert_eq!(key.verify(cut(&block, &cuts), &mac), Ok(()));

        let mut block = block;
        let at = bit.index(block.len() * 8);
        block[at / 8] ^= 1 << (at % 8);
        let forged = OpenError::Mac { what: "hmac-sha512", block_bytes: block.len() };
        prop_assert_eq!(key.verify(cut(&block, &cuts), &mac), Err(forged));
        block[at / 8] ^= 1 << (at % 8);
        let mut mac = mac;
        let at = bit.index(128);
        mac[at / 8] ^= 1 << (at % 8);
        prop_assert_eq!(key.verify([&block[..]], &mac), Err(forged));
    }
}
