//! The block cipher Threefish-512, one way only: Skein never decrypts.
//!
//! Seventy-two rounds of four mixes and a permutation of the words, with a
//! subkey added before every fourth round and after the last. Written here
//! because the crate `threefish`, which the tests take as the model, computes
//! all nineteen subkeys into a table for each block and does not unroll its
//! rounds: Skein changes the key with every block, and ran at 0.46 of this.

use std::array;

/// A block, and a key.
pub(super) type Words = [u64; 8];

const ROUNDS: usize = 72;
const SUBKEYS: usize = ROUNDS / 4 + 1;

/// Makes sure that not all words of the extended key can be zero.
const PARITY: u64 = 0x1bd1_1bda_a9fc_1a22;

/// How far each mix of a round rotates, for eight rounds; then it repeats.
const ROTATIONS: [[u32; 4]; 8] = [
    [46, 36, 19, 37],
    [33, 27, 14, 42],
    [17, 49, 36, 39],
    [44, 9, 54, 56],
    [39, 30, 34, 24],
    [13, 50, 10, 17],
    [25, 29, 39, 43],
    [8, 35, 56, 22],
];

/// Which two words each mix of a round takes. The words stay where they are,
/// and the permutation after each round shows only here; the fourth one
/// restores the order.
const PAIRS: [[(usize, usize); 4]; 4] = [
    [(0, 1), (2, 3), (4, 5), (6, 7)],
    [(2, 1), (4, 7), (6, 5), (0, 3)],
    [(4, 1), (6, 3), (0, 5), (2, 7)],
    [(6, 1), (0, 7), (2, 5), (4, 3)],
];

/// `plain` encrypted under `key` and `tweak`.
#[inline]
pub(super) fn encrypt(key: &Words, tweak: [u64; 2], plain: &Words) -> Words {
    // Key and tweak written out as often as the subkeys go round in them, so
    // that subkey s begins at s and nothing is reduced modulo 9 or 3.
    let mut keys = [0; SUBKEYS + 8];
    keys[..8].copy_from_slice(key);
    keys[8] = key.iter().fold(PARITY, |parity, word| parity ^ word);
    for i in 9..keys.len() {
        keys[i] = keys[i - 9];
    }
    let tweak = [tweak[0], tweak[1], tweak[0] ^ tweak[1]];
    let tweaks: [u64; SUBKEYS + 1] = array::from_fn(|i| tweak[i % 3]);

    let mut words = *plain;
    for subkey in (0..SUBKEYS - 1).step_by(2) {
        add_subkey(&mut words, &keys, &tweaks, subkey);
        four_rounds::<0>(&mut words);
        add_subkey(&mut words, &keys, &tweaks, subkey + 1);
        four_rounds::<4>(&mut words);
    }
    add_subkey(&mut words, &keys, &tweaks, SUBKEYS - 1);
    words
}

#[inline(always)]
fn add_subkey(
    words: &mut Words,
    keys: &[u64; SUBKEYS + 8],
    tweaks: &[u64; SUBKEYS + 1],
    subkey: usize,
) {
    for (word, key) in words.iter_mut().zip(&keys[subkey..subkey + 8]) {
        *word = word.wrapping_add(*key);
    }
    words[5] = words[5].wrapping_add(tweaks[subkey]);
    words[6] = words[6].wrapping_add(tweaks[subkey + 1]);
    words[7] = words[7].wrapping_add(subkey as u64);
}

/// Four rounds, rotating as from round `FIRST` on. Loops over indices: these
/// unroll early enough for the tables to vanish.
#[inline(always)]
fn four_rounds<const FIRST: usize>(words: &mut Words) {
    for round in 0..4 {
        for mix in 0..4 {
            let (x, y) = PAIRS[round][mix];
            words[x] = words[x].wrapping_add(words[y]);
            words[y] = words[y].rotate_left(ROTATIONS[FIRST + round][mix]) ^ words[x];
        }
    }
}
