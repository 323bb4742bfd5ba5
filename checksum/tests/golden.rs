//! Values made by a real OpenZFS, both byte orders.

use checksum::{Algorithm, ByteOrder, Checksum, Context, Salt};

/// The bytes a generator of the golden file makes.
fn generate(name: &str, len: usize) -> Vec<u8> {
    match name {
        "lin131" => (0..len).map(|i| (i * 131 + (i >> 8) * 17 + 7) as u8).collect(),
        "zero" => vec![0; len],
        "xs64star" => xorshift(len, |_| true),
        "half4k" => xorshift(len, |i| i % 4096 < 2048),
        other => panic!("no generator {other}"),
    }
}

/// xorshift64* by words of eight bytes; where `wanted` says no, zeros are
/// written and the generator stands still.
fn xorshift(len: usize, wanted: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut x: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        let mut word = 0;
        if wanted(bytes.len()) {
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
            word = x.wrapping_mul(2_685_821_657_736_338_717);
        }
        bytes.extend(word.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Four comma-separated hexadecimal words.
fn words(text: &str) -> Checksum {
    let words: Vec<u64> =
        text.split(',').map(|word| u64::from_str_radix(word, 16).unwrap()).collect();
    Checksum(words.try_into().unwrap())
}

/// The rows of the golden file that begin with `kind`, split at blanks.
fn rows(kind: &str) -> Vec<Vec<&'static str>> {
    include_str!("data/golden.txt")
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|row| row[0] == kind)
        .collect()
}

#[test]
fn sums_equal_openzfs() {
    let counting: [u8; 32] = std::array::from_fn(|i| i as u8);
    let rows = rows("sum");
    assert_eq!(rows.len(), 478);
    for row in rows {
        let (name, salt) = match row[1].split_once('/') {
            Some((name, "salt0")) => (name, Some(Salt([0; 32]))),
            Some((name, "salt1")) => (name, Some(Salt(counting))),
            _ => (row[1], None),
        };
        let algorithm = Algorithm::ALL.into_iter().find(|a| a.name() == name).unwrap();
        let context = Context::new(algorithm, salt.as_ref()).unwrap();
        let data = generate(row[2], row[3].parse().unwrap());
        for (order, expected) in [(ByteOrder::Little, row[4]), (ByteOrder::Big, row[5])] {
            let expected = words(expected);
            context
                .verify(order, [&data[..]], &expected)
                .unwrap_or_else(|e| panic!("{name} {} {} {order:?}: {e}", row[2], row[3]));
        }
    }
}

#[test]
fn sealed_blocks_equal_openzfs() {
    use checksum::embedded::{self, MAGIC, Verifier};

    let rows = rows("block");
    assert_eq!(rows.len(), 5);
    for row in rows {
        let mut block = generate(row[2], row[3].parse().unwrap());
        let seed = words(row[5]);
        let verifier = match row[1] {
            "label" => Verifier::Label { offset_bytes: seed.0[0] },
            "gang_header" => Verifier::GangHeader {
                vdev: seed.0[0],
                offset_bytes: seed.0[1],
                birth_txg: seed.0[2],
            },
            "zilog" => Verifier::Zilog(seed),
            "zilog2" => Verifier::Zilog2(seed),
            other => panic!("no kind {other}"),
        };
        assert_eq!(verifier.algorithm().name(), row[1]);
        if let Ok(used) = row[6].parse::<u64>() {
            block[136..144].copy_from_slice(&used.to_le_bytes());
        }

        let stored = embedded::seal(&mut block, &verifier, ByteOrder::Little).unwrap();

        assert_eq!(stored, words(row[7]), "{row:?}");
        let at: usize = row[4].parse().unwrap();
        assert_eq!(block[at..at + 8], MAGIC.to_le_bytes());
        let sha256 = Context::new(Algorithm::Sha256, None).unwrap();
        let whole = sha256.compute(ByteOrder::Little, [&block[..]]);
        let whole: String = whole.0.iter().map(|word| format!("{word:016x}")).collect();
        assert_eq!(whole, row[8], "whole block, {row:?}");
        assert_eq!(embedded::check(&block, &verifier), Ok(ByteOrder::Little));
    }
}
