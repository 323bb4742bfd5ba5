//! Edon-R against a slow model that follows its definition to the letter: the
//! Latin squares as published, messages padded as a whole.

use checksum::{Algorithm, ByteOrder, Checksum, Context, Salt};
use proptest::{collection::vec, prelude::*};

type Half = [u64; 8];

/// A Latin square by rows, how far the sum of each column is rotated, and what
/// is added to the first sum.
type Square = ([[usize; 8]; 8], [u32; 8], u64);

const FIRST: Square = (
    [
        [0, 7, 1, 3, 2, 4, 6, 5],
        [4, 1, 7, 6, 3, 0, 5, 2],
        [7, 0, 4, 2, 5, 3, 1, 6],
        [1, 4, 0, 5, 6, 2, 7, 3],
        [2, 3, 6, 7, 1, 5, 0, 4],
        [5, 2, 3, 1, 7, 6, 4, 0],
        [3, 6, 5, 0, 4, 7, 2, 1],
        [6, 5, 2, 4, 0, 1, 3, 7],
    ],
    [0, 5, 15, 22, 31, 40, 50, 59],
    0xaaaa_aaaa_aaaa_aaaa,
);

const SECOND: Square = (
    [
        [0, 4, 2, 3, 1, 6, 5, 7],
        [7, 6, 3, 2, 5, 4, 1, 0],
        [5, 3, 1, 6, 0, 2, 7, 4],
        [1, 0, 5, 4, 3, 7, 2, 6],
        [2, 1, 0, 7, 4, 5, 6, 3],
        [3, 5, 7, 0, 6, 1, 4, 2],
        [4, 7, 6, 1, 2, 0, 3, 5],
        [6, 2, 4, 5, 7, 3, 0, 1],
    ],
    [0, 10, 19, 29, 36, 44, 48, 55],
    0x5555_5555_5555_5555,
);

/// Adds the words of the upper five rows, rotates, XORs those of the lower three.
fn permute((rows, rotations, constant): &Square, words: &Half) -> Half {
    let mut sums = [*constant, 0, 0, 0, 0, 0, 0, 0];
    for column in 0..8 {
        for row in &rows[..5] {
            sums[column] = sums[column].wrapping_add(words[row[column]]);
        }
        sums[column] = sums[column].rotate_left(rotations[column]);
    }
    std::array::from_fn(|column| rows[5..].iter().fold(0, |x, row| x ^ sums[row[column]]))
}

fn star(x: &Half, y: &Half) -> Half {
    let (x, y) = (permute(&FIRST, x), permute(&SECOND, y));
    let mut result = [0; 8];
    for column in 0..8 {
        result[(column + 5) % 8] = x[column].wrapping_add(y[column]);
    }
    result
}

fn reversed(mut half: Half) -> Half {
    half.reverse();
    half
}

/// The digest of `message`, 64 bytes.
fn hash(message: &[u8]) -> Vec<u8> {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 128 != 120 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_le_bytes());

    let start: Vec<u8> = (0x80..=0xff).collect();
    let word = |i: usize| u64::from_be_bytes(start[8 * i..8 * i + 8].try_into().unwrap());
    let mut pipe: [Half; 2] = [std::array::from_fn(word), std::array::from_fn(|i| word(i + 8))];
    for block in padded.chunks(128) {
        let word = |i: usize| u64::from_le_bytes(block[8 * i..8 * i + 8].try_into().unwrap());
        let message: [Half; 2] = [std::array::from_fn(word), std::array::from_fn(|i| word(i + 8))];
        let row1 = star(&reversed(message[1]), &message[0]);
        let row1 = [row1, star(&row1, &message[1])];
        let row2 = star(&pipe[1], &row1[0]);
        let row2 = [row2, star(&row2, &row1[1])];
        let row3 = star(&row2[0], &pipe[0]);
        let row3 = [row3, star(&row2[1], &row3)];
        let row4 = star(&reversed(message[0]), &row3[0]);
        let row4 = [row4, star(&row4, &row3[1])];
        for half in 0..2 {
            for i in 0..8 {
                pipe[half][i] ^= row4[half][i] ^ message[1 - half][i];
            }
        }
    }
    pipe[1].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The checksum: the key block, then the data.
fn model(salt: &[u8; 32], order: ByteOrder, data: &[u8]) -> Checksum {
    let once = hash(salt);
    let message = [&once[..], &hash(&once), data].concat();
    Checksum::from_bytes(hash(&message)[..32].try_into().unwrap(), order)
}

#[test]
fn equals_the_model_at_every_length_around_the_padding() {
    let data: Vec<u8> = (0..400).map(|i: u32| (i * 37 + 11) as u8).collect();
    let salt = [0x33; 32];
    let context = Context::new(Algorithm::Edonr, Some(&Salt(salt))).unwrap();
    for len in 0..=data.len() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let expected = model(&salt, order, &data[..len]);
            assert_eq!(context.compute(order, [&data[..len]]), expected, "{len} bytes");
        }
    }
}

proptest! {
    #[test]
    fn equals_the_model(salt: [u8; 32], data in vec(any::<u8>(), 0..3000)) {
        let context = Context::new(Algorithm::Edonr, Some(&Salt(salt))).unwrap();
        let order = ByteOrder::NATIVE;
        prop_assert_eq!(context.compute(order, [&data[..]]), model(&salt, order, &data));
    }
}
