//! The 256-bit value itself.

use std::fmt;

use crate::ByteOrder;

/// A 256-bit checksum as four 64-bit words, the way a block pointer holds it.
///
/// Words are integers: the same block has the same words on every machine.
/// Bytes appear only where a checksum is stored, in the writer's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum(pub [u64; 4]);

impl Checksum {
    /// Four zero words: the value of [`Algorithm::Off`](crate::Algorithm::Off), and of any all-zero
    /// block under fletcher.
    pub const ZERO: Self = Self([0; 4]);

    /// Reads the 32 stored bytes of a checksum, words in `order`.
    #[must_use]
    pub const fn from_bytes(bytes: &[u8; 32], order: ByteOrder) -> Self {
        let mut words = [0; 4];
        let mut i = 0;
        while i < 4 {
            let mut word = [0; 8];
            let mut j = 0;
            while j < 8 {
                word[j] = bytes[i * 8 + j];
                j += 1;
            }
            words[i] = order.read_u64(word);
            i += 1;
        }
        Self(words)
    }

    /// The 32 bytes a writer of `order` stores.
    #[must_use]
    pub fn to_bytes(self, order: ByteOrder) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            slot.copy_from_slice(&order.write_u64(word));
        }
        bytes
    }
}

/// Four groups of sixteen hexadecimal digits, joined by colons.
impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a:016x}:{b:016x}:{c:016x}:{d:016x}")
    }
}
