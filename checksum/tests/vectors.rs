//! Published vectors: the tables of spec 7.2, FIPS 180-4, and BLAKE3's own.

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

#[test]
fn fips_180_4() {
    for (algorithm, data, expected) in [
        (Sha256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (Sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (Sha512_256, "", "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a"),
        (Sha512_256, "abc", "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
    ] {
        assert_eq!(sum(algorithm, Big, data.as_bytes()), digest(expected), "{algorithm} {data:?}");
    }
}

#[test]
fn blake3_keyed() {
    let key = Salt(*b"whats the Elvish word for friend");
    let context = Context::new(Blake3, Some(&key)).unwrap();
    for (len, expected) in [
        (0, "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"),
        (1, "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"),
        (1024, "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4"),
        (1025, "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69"),
    ] {
        let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        assert_eq!(context.compute(Big, [&data[..]]), digest(expected), "{len} bytes");
    }
}
