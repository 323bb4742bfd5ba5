//! Published vectors: the tables of spec 7.2, NIST's examples of FIPS 180-4, and
//! BLAKE3's own. Those of Skein are in `skein.rs`, with a model that can make them.

use checksum::{
    Algorithm, ByteOrder, Checksum, Context, Salt,
    embedded::{self, Verifier},
};

use Algorithm::{Blake3, Fletcher2, Fletcher4, Sha256, Sha512_256};
use ByteOrder::{Big, Little};

/// Four comma-separated hexadecimal words.
fn words(text: &str) -> Checksum {
    let words: Vec<u64> =
        text.split(',').map(|word| u64::from_str_radix(word, 16).unwrap()).collect();
    Checksum(words.try_into().unwrap())
}

fn sum(algorithm: Algorithm, order: ByteOrder, data: &[u8]) -> Checksum {
    Context::new(algorithm, None).unwrap().compute(order, [data])
}

#[test]
fn spec_7_2_bytes_0_to_255_twice() {
    let data: Vec<u8> = (0..512).map(|i| i as u8).collect();
    for (algorithm, order, expected) in [
        (Fletcher2, Little, "efcfaf8f6f4f2f00,f0d0b09070503000,4a38261401efdd00,dac8b6a492806d80"),
        (Fletcher2, Big, "0f2f4f6f8fafcfe0,1030507090b0d0e0,cfe1f406182a3b70,60728496a8bacbf0"),
        (Fletcher4, Little, "40c03fbf00,da342e27500,214fa7f828a80,3d9765c9f3c980"),
        (Fletcher4, Big, "3f3fc04080,d4262c315c0,204948f886b00,3b7e5b56b441e0"),
        (Sha256, Little, "110009dcee21620b,166f3abfecb5eff7,a873be729d1c2d53,822e7acc5f34eb9b"),
        (Sha256, Big, "110009dcee21620b,166f3abfecb5eff7,a873be729d1c2d53,822e7acc5f34eb9b"),
        (Sha512_256, Little, "6cf5b1411d91141d,0ea8ddb86fa627f0,991896779c0da9d7,3bdc08f7e9f3faed"),
    ] {
        assert_eq!(sum(algorithm, order, &data), words(expected), "{algorithm} {order:?}");
    }
}

#[test]
fn spec_7_2_wrapping_and_small() {
    let ones = vec![0xff; 128 << 10];
    assert_eq!(
        sum(Fletcher2, Little, &ones),
        words("ffffffffffffe000,ffffffffffffe000,fffffffffdfff000,fffffffffdfff000")
    );
    assert_eq!(
        sum(Fletcher4, Little, &ones),
        words("7fffffff8000,20003fffdfffc000,75557aaa8aaa8000,c7556d5537ffe000")
    );
    let ramp: Vec<u8> = (0..8192).map(|i| i as u8).collect();
    assert_eq!(
        sum(Fletcher4, Little, &ramp),
        words("40c03fbf000,1007431eeb5000,2a8f907528f6a800,ccbaf6a438549800")
    );
    assert_eq!(sum(Fletcher4, Little, &[1, 0, 0, 0, 2, 0, 0, 0]), Checksum([3, 4, 5, 6]));
    let one_word = 0xdead_beef_u32;
    assert_eq!(sum(Fletcher4, Big, &one_word.to_be_bytes()), Checksum([u64::from(one_word); 4]));
    let zeros = [0; 4096];
    assert_eq!(sum(Fletcher2, Little, &zeros), Checksum::ZERO);
    assert_eq!(sum(Fletcher4, Little, &zeros), Checksum::ZERO);
    assert_eq!(
        sum(Sha256, Little, &zeros),
        words("ad7facb2586fc6e9,66c004d7d1d16b02,4f5805ff7cb47c7a,85dabd8b48892ca7")
    );
}

#[test]
fn spec_7_2_sealed_zeros() {
    let mut label = [0; 1024];
    assert_eq!(
        embedded::seal(&mut label, &Verifier::Label { offset_bytes: 131_072 }, Little).unwrap(),
        words("983be871da3047a9,048a3e6f63c266c3,a8a57aff47276e01,d99a1a18cafdede2")
    );
    let mut gang = [0; 512];
    let verifier = Verifier::GangHeader { vdev: 1, offset_bytes: 0x40000, birth_txg: 77 };
    assert_eq!(
        embedded::seal(&mut gang, &verifier, Little).unwrap(),
        words("493885a1305141f2,0bec2ee645c91e4a,ce73185ab3cbcd3f,b8dbcd3a11c9a407")
    );
}

/// Digest bytes in hexadecimal, as they are published.
fn digest(text: &str) -> Checksum {
    let bytes: Vec<u8> =
        (0..32).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect();
    Checksum::from_bytes(&bytes.try_into().unwrap(), Big)
}

/// NIST, "Cryptographic Standards and Guidelines: Example Values", SHA-256 and
/// SHA-512/256, the empty message and a million times "a" with them.
#[test]
fn fips_180_4() {
    const BITS_448: &str = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    const BITS_896: &str = "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn\
                            hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
    let million = "a".repeat(1_000_000);
    for (algorithm, data, expected) in [
        (Sha256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (Sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (Sha256, BITS_448, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
        (Sha256, &million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        (Sha512_256, "", "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a"),
        (Sha512_256, "abc", "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
        (Sha512_256, BITS_896, "3928e184fb8690f840da3988121d31be65cb9d3ef83ee6146feac861e19b563a"),
        (Sha512_256, &million, "9a59a052930187a97038cae692f30708aa6491923ef5194394dc68d56c74fb21"),
    ] {
        let expected = digest(expected);
        assert_eq!(sum(algorithm, Big, data.as_bytes()), expected, "{algorithm} {data:.9}");
        let context = Context::new(algorithm, None).unwrap();
        let pieces = data.as_bytes().chunks(61);
        assert_eq!(context.compute(Big, pieces), expected, "{algorithm} {data:.9}, in pieces");
    }
}

/// `test_vectors.json` of the repository BLAKE3-team/BLAKE3, `keyed_hash`.
#[test]
fn blake3_keyed() {
    let key = Salt(*b"whats the Elvish word for friend");
    let context = Context::new(Blake3, Some(&key)).unwrap();
    for (len, expected) in [
        (0, "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"),
        (1, "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"),
        (1024, "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4"),
        (1025, "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69"),
        (8192, "dc9637c8845a770b4cbf76b8daec0eebf7dc2eac11498517f08d44c8fc00d58a"),
        (8193, "954a2a75420c8d6547e3ba5b98d963e6fa6491addc8c023189cc519821b4a1f5"),
        (16384, "9e9fc4eb7cf081ea7c47d1807790ed211bfec56aa25bb7037784c13c4b707b0d"),
        (31744, "efa53b389ab67c593dba624d898d0f7353ab99e4ac9d42302ee64cbf9939a419"),
        (102_400, "1c35d1a5811083fd7119f5d5d1ba027b4d01c0c6c49fb6ff2cf75393ea5db4a7"),
    ] {
        let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        assert_eq!(context.compute(Big, [&data[..]]), digest(expected), "{len} bytes");
        let pieces = context.compute(Big, data.chunks(700));
        assert_eq!(pieces, digest(expected), "{len} bytes in pieces");
    }
}
