//! Edon-R-512 with the feedback of its tweaked form, keyed by the salt.
//!
//! The state is a double pipe of two halves of eight words. A quasigroup
//! operation [`star`] on halves works in four rows over the pipe and the
//! message block; its result, XORed with the old pipe and the halves of the
//! message crosswise, is the next pipe. The digest is the pipe's right half,
//! of which a checksum keeps the first 32 bytes.

use std::{array, fmt};

use block_buffer::{EagerBuffer, array::typenum::U128};

use crate::Salt;

const BLOCK_BYTES: usize = 128;
const DIGEST_BYTES: usize = 64;
const WORD_BYTES: usize = 8;

/// Eight words: a half of the pipe or of a message block.
type Half = [u64; 8];

/// The first pipe: the bytes 0x80 to 0xff as big-endian words.
const START: [Half; 2] = {
    let mut halves = [[0; 8]; 2];
    let mut i = 0;
    while i < 16 {
        halves[i / 8][i % 8] = 0x8081_8283_8485_8687 + i as u64 * 0x0808_0808_0808_0808;
        i += 1;
    }
    halves
};

/// One of the two orthogonal Latin squares, by columns: the words that the
/// first five rows add, and those that the last three rows XOR. Columns that
/// share terms begin with them, so that the compiler can compute these once.
struct Square {
    constant: u64,
    added: [[usize; 5]; 8],
    rotated_bits: [u32; 8],
    xored: [[usize; 3]; 8],
}

#[rustfmt::skip]
const LEFT: Square = Square {
    constant: 0xaaaa_aaaa_aaaa_aaaa,
    added: [
        [1, 7, 0, 4, 2], [1, 7, 0, 4, 3], [1, 7, 0, 4, 6], [2, 3, 5, 6, 7],
        [2, 3, 5, 6, 1], [2, 3, 5, 0, 4], [1, 7, 0, 5, 6], [2, 3, 5, 6, 4],
    ],
    rotated_bits: [0, 5, 15, 22, 31, 40, 50, 59],
    xored: [
        [5, 6, 3], [5, 6, 2], [2, 3, 5], [0, 4, 1],
        [0, 4, 7], [1, 7, 6], [2, 3, 4], [1, 7, 0],
    ],
};

#[rustfmt::skip]
const RIGHT: Square = Square {
    constant: 0x5555_5555_5555_5555,
    added: [
        [0, 1, 2, 5, 7], [0, 1, 3, 4, 6], [0, 1, 2, 5, 3], [6, 7, 3, 4, 2],
        [0, 1, 3, 4, 5], [6, 7, 2, 5, 4], [6, 7, 2, 5, 1], [6, 7, 3, 4, 0],
    ],
    rotated_bits: [0, 10, 19, 29, 36, 44, 48, 55],
    xored: [
        [3, 4, 6], [2, 5, 7], [6, 7, 4], [0, 1, 5],
        [6, 7, 2], [0, 1, 3], [3, 4, 0], [2, 5, 1],
    ],
};

impl Square {
    /// Loops over indices and no iterators: these unroll early enough for the
    /// tables to vanish, which is worth a factor of four.
    #[inline(always)]
    fn permute(&self, half: &Half) -> Half {
        let mut sums = [self.constant, 0, 0, 0, 0, 0, 0, 0];
        for (column, sum) in sums.iter_mut().enumerate() {
            let [a, b, c, d, e] = self.added[column];
            let common = half[a].wrapping_add(half[b]).wrapping_add(half[c]);
            let all = common.wrapping_add(half[d]).wrapping_add(half[e]);
            *sum = sum.wrapping_add(all).rotate_left(self.rotated_bits[column]);
        }
        let mut result = [0; 8];
        for (column, word) in result.iter_mut().enumerate() {
            let [a, b, c] = self.xored[column];
            *word = sums[a] ^ sums[b] ^ sums[c];
        }
        result
    }
}

/// The quasigroup operation.
#[inline(always)]
fn star(left: &Half, right: &Half) -> Half {
    let (left, right) = (LEFT.permute(left), RIGHT.permute(right));
    let mut result = [0; 8];
    for column in 0..8 {
        result[(column + 5) % 8] = left[column].wrapping_add(right[column]);
    }
    result
}

/// Takes one message block into the pipe.
#[inline]
fn compress(pipe: &mut [Half; 2], block: &[u8; BLOCK_BYTES]) {
    let (words, _) = block.as_chunks();
    let first: Half = array::from_fn(|i| u64::from_le_bytes(words[i]));
    let second: Half = array::from_fn(|i| u64::from_le_bytes(words[i + 8]));
    let reversed = |half: Half| -> Half { array::from_fn(|i| half[7 - i]) };
    let [left, right] = *pipe;

    let a = star(&reversed(second), &first);
    let b = star(&a, &second);
    let a = star(&right, &a);
    let b = star(&a, &b);
    let a = star(&a, &left);
    let b = star(&b, &a);
    let a = star(&reversed(first), &a);
    let b = star(&a, &b);

    *pipe = [
        array::from_fn(|i| a[i] ^ left[i] ^ second[i]),
        array::from_fn(|i| b[i] ^ right[i] ^ first[i]),
    ];
}

/// What is the same for each block of a pool: the pipe after the key block,
/// which is the hash of the salt followed by the hash of that hash.
#[derive(Clone, Copy)]
pub(crate) struct EdonrKey([Half; 2]);

impl EdonrKey {
    pub(crate) fn new(salt: &Salt) -> Self {
        let hash = |data: &[u8]| {
            let mut state = Edonr::resume(START, 0);
            state.update(data);
            state.digest()
        };
        let once = hash(&salt.0);
        let twice = hash(&once);
        let mut block = [0; BLOCK_BYTES];
        block[..DIGEST_BYTES].copy_from_slice(&once);
        block[DIGEST_BYTES..].copy_from_slice(&twice);
        let mut pipe = START;
        compress(&mut pipe, &block);
        Self(pipe)
    }
}

/// Does not show what was made of the salt.
impl fmt::Debug for EdonrKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdonrKey(..)")
    }
}

/// Keyed Edon-R over any sequence of byte slices.
#[derive(Clone)]
pub(crate) struct Edonr {
    pipe: [Half; 2],
    /// Bytes taken, with the key block.
    len_bytes: u64,
    buffer: EagerBuffer<U128>,
}

impl Edonr {
    #[inline]
    pub(crate) fn new(key: &EdonrKey) -> Self {
        Self::resume(key.0, BLOCK_BYTES as u64)
    }

    #[inline]
    fn resume(pipe: [Half; 2], len_bytes: u64) -> Self {
        Self { pipe, len_bytes, buffer: EagerBuffer::default() }
    }

    pub(crate) fn update(&mut self, segment: &[u8]) {
        let Self { pipe, len_bytes, buffer } = self;
        *len_bytes = len_bytes.wrapping_add(segment.len() as u64);
        buffer.digest_blocks(segment, |blocks| {
            blocks.iter().for_each(|block| compress(pipe, block.as_ref()));
        });
    }

    /// The first 32 bytes of the digest.
    pub(crate) fn finish(self) -> [u8; 32] {
        let digest = self.digest();
        array::from_fn(|i| digest[i])
    }

    fn digest(mut self) -> [u8; DIGEST_BYTES] {
        let len_bits = self.len_bytes.wrapping_mul(8);
        let pipe = &mut self.pipe;
        self.buffer.len64_padding_le(len_bits, |block| compress(pipe, block.as_ref()));
        let mut digest = [0; DIGEST_BYTES];
        for (slot, word) in digest.chunks_exact_mut(WORD_BYTES).zip(self.pipe[1]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }
}

/// Does not show what was made of the salt.
impl fmt::Debug for Edonr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edonr(..)")
    }
}
