//! Skein-512 as a MAC of 256 bits: its chaining mode around the block cipher
//! Threefish-512.
//!
//! Key, configuration, message and output are four parts hashed one after the
//! other. Each 64-byte block is encrypted under the chaining value, tweaked by
//! how far the part has come and what it is, and XORed with the ciphertext
//! gives the next chaining value.

mod threefish;

use std::{array, fmt};

use block_buffer::{LazyBuffer, array::typenum::U64};

use crate::Salt;
use threefish::Words;

const BLOCK_BYTES: usize = 64;
const DIGEST_BYTES: usize = 32;
const WORD_BYTES: usize = 8;

/// What a part is, in the upper word of the tweak.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Part {
    Key = 0 << 56,
    Config = 4 << 56,
    Message = 48 << 56,
    Output = 63 << 56,
}

/// Marks the first block of a part, in the upper word of the tweak.
const FIRST: u64 = 1 << 62;
/// Marks the last block of a part.
const LAST: u64 = 1 << 63;

/// "SHA3" and version 1, then the length of the output in bits. What follows,
/// the shape of a hash tree, is zero: there is none.
const CONFIG: [u8; 32] = {
    let mut config = [0; 32];
    let (schema, rest) = config.split_at_mut(8);
    schema.copy_from_slice(b"SHA3\x01\0\0\0");
    rest.split_at_mut(8).0.copy_from_slice(&(DIGEST_BYTES as u64 * 8).to_le_bytes());
    config
};

/// Takes one block into the chaining value. `end_bytes` of the part are taken
/// with it.
#[inline]
fn compress(chain: &mut Words, block: &[u8; BLOCK_BYTES], end_bytes: u64, kind: u64) {
    let (words, _) = block.as_chunks();
    let plain: Words = array::from_fn(|i| u64::from_le_bytes(words[i]));
    let cipher = threefish::encrypt(chain, [end_bytes, kind], &plain);
    *chain = array::from_fn(|i| cipher[i] ^ plain[i]);
}

/// Takes a part of at most one block.
fn compress_short<const N: usize>(chain: &mut Words, part: Part, bytes: &[u8; N]) {
    const { assert!(N <= BLOCK_BYTES) };
    let mut block = [0; BLOCK_BYTES];
    block[..N].copy_from_slice(bytes);
    compress(chain, &block, N as u64, part as u64 | FIRST | LAST);
}

/// What is the same for each block of a pool: the chaining value after the
/// salt as key, and the configuration.
#[derive(Clone, Copy)]
pub(crate) struct SkeinKey(Words);

impl SkeinKey {
    pub(crate) fn new(salt: &Salt) -> Self {
        let mut chain = [0; 8];
        compress_short(&mut chain, Part::Key, &salt.0);
        compress_short(&mut chain, Part::Config, &CONFIG);
        Self(chain)
    }
}

/// Does not show what was made of the salt.
impl fmt::Debug for SkeinKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SkeinKey(..)")
    }
}

/// Keyed Skein over any sequence of byte slices.
#[derive(Clone)]
pub(crate) struct Skein {
    chain: Words,
    /// Bytes in the chaining value. The buffer's are not: the last block is
    /// marked, so it waits for the end, even if it is full.
    len_bytes: u64,
    buffer: LazyBuffer<U64>,
}

impl Skein {
    #[inline]
    pub(crate) fn new(key: &SkeinKey) -> Self {
        Self { chain: key.0, len_bytes: 0, buffer: LazyBuffer::default() }
    }

    pub(crate) fn update(&mut self, segment: &[u8]) {
        let Self { chain, len_bytes, buffer } = self;
        buffer.digest_blocks(segment, |blocks| {
            for block in blocks {
                let kind = Part::Message as u64 | if *len_bytes == 0 { FIRST } else { 0 };
                *len_bytes = len_bytes.wrapping_add(BLOCK_BYTES as u64);
                compress(chain, block.as_ref(), *len_bytes, kind);
            }
        });
    }

    /// The 32 bytes of the digest.
    pub(crate) fn finish(mut self) -> [u8; DIGEST_BYTES] {
        let first = if self.len_bytes == 0 { FIRST } else { 0 };
        let len_bytes = self.len_bytes.wrapping_add(self.buffer.get_pos() as u64);
        let block = self.buffer.pad_with_zeros();
        compress(&mut self.chain, block.as_ref(), len_bytes, Part::Message as u64 | first | LAST);
        // The output part is a counter of output blocks; one block is enough.
        compress_short(&mut self.chain, Part::Output, &[0; WORD_BYTES]);
        let mut digest = [0; DIGEST_BYTES];
        for (slot, word) in digest.chunks_exact_mut(WORD_BYTES).zip(self.chain) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        digest
    }
}

/// Does not show what was made of the salt.
impl fmt::Debug for Skein {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Skein(..)")
    }
}
