//! Where salt, IV and MAC stand in a block pointer.

use super::{IV_BYTES, Iv, MAC_BYTES, Mac, SALT_BYTES, Salt};

/// Order of the bytes in a block pointer's words: its writer's, in bit 63 of word 6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// Salt, IV and MAC of a block: all that opening it takes beside the master key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealParams {
    /// From which the block's key is derived.
    pub salt: Salt,
    /// Initialisation vector.
    pub iv: Iv,
    /// Message authentication code.
    pub mac: Mac,
}

/// The same as integers, by their place in a block pointer (spec 2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PointerWords {
    /// Word 4: the salt.
    pub salt: u64,
    /// Word 5: bytes 0 to 7 of the IV.
    pub iv_head: u64,
    /// High half of word 11: bytes 8 to 11 of the IV. The low half is the fill count.
    pub iv_tail: u32,
    /// Words 14 and 15, which are words 2 and 3 of the checksum: the MAC.
    pub mac: [u64; 2],
}

const SALT_WORD: usize = 4;
const IV_HEAD_WORD: usize = 5;
const IV_TAIL_WORD: usize = 11;
const MAC_WORDS: [usize; 2] = [14, 15];
const LOW_HALF: u64 = 0xffff_ffff;

impl SealParams {
    /// Reads them from a pointer's sixteen words, which are integers already (a pointer of the
    /// other byte order has been swapped).
    ///
    /// `order` is the order the pointer was written in. The bytes of salt, IV and MAC keep their
    /// order on disk whoever writes them, so as integers they differ: a big-endian writer's word
    /// has the first byte on top. (The fixtures are of little-endian pools; that big-endian
    /// writers do so follows from their copying bytes into their own words.)
    ///
    /// ```
    /// use transform::crypt::{ByteOrder, SealParams};
    /// let mut words = [0; 16];
    /// words[4] = 0xa1c5_8b9f_aa1b_d608;
    /// let salt = SealParams::from_pointer(&words, ByteOrder::Little).salt;
    /// assert_eq!(salt, [0x08, 0xd6, 0x1b, 0xaa, 0x9f, 0x8b, 0xc5, 0xa1]);
    /// ```
    pub fn from_pointer(words: &[u64; 16], order: ByteOrder) -> Self {
        Self::from_words(PointerWords::in_pointer(words), order)
    }

    /// Puts them into a pointer's sixteen words; what stands beside them stays.
    pub fn store(&self, words: &mut [u64; 16], order: ByteOrder) {
        let PointerWords { salt, iv_head, iv_tail, mac } = self.to_words(order);
        words[SALT_WORD] = salt;
        words[IV_HEAD_WORD] = iv_head;
        words[IV_TAIL_WORD] = (words[IV_TAIL_WORD] & LOW_HALF) | (u64::from(iv_tail) << 32);
        for (at, word) in MAC_WORDS.into_iter().zip(mac) {
            words[at] = word;
        }
    }

    /// From integers, as [`from_pointer`](Self::from_pointer).
    pub fn from_words(words: PointerWords, order: ByteOrder) -> Self {
        let mut iv = [0; IV_BYTES];
        iv[..8].copy_from_slice(&order.bytes_of(words.iv_head));
        iv[8..].copy_from_slice(&order.bytes_of_half(words.iv_tail));
        let mut mac = [0; MAC_BYTES];
        mac[..8].copy_from_slice(&order.bytes_of(words.mac[0]));
        mac[8..].copy_from_slice(&order.bytes_of(words.mac[1]));
        Self { salt: order.bytes_of(words.salt), iv, mac }
    }

    /// As integers for a pointer of this byte order.
    pub fn to_words(&self, order: ByteOrder) -> PointerWords {
        let [i0, i1, i2, i3, i4, i5, i6, i7, iv_tail @ ..] = self.iv;
        let [m0, m1, m2, m3, m4, m5, m6, m7, mac_tail @ ..] = self.mac;
        PointerWords {
            salt: order.word_of(self.salt),
            iv_head: order.word_of([i0, i1, i2, i3, i4, i5, i6, i7]),
            iv_tail: order.half_of(iv_tail),
            mac: [order.word_of([m0, m1, m2, m3, m4, m5, m6, m7]), order.word_of(mac_tail)],
        }
    }
}

impl PointerWords {
    /// Picks them out of a pointer's sixteen words.
    pub fn in_pointer(words: &[u64; 16]) -> Self {
        Self {
            salt: words[SALT_WORD],
            iv_head: words[IV_HEAD_WORD],
            iv_tail: (words[IV_TAIL_WORD] >> 32) as u32,
            mac: MAC_WORDS.map(|at| words[at]),
        }
    }
}

impl ByteOrder {
    fn bytes_of(self, word: u64) -> [u8; SALT_BYTES] {
        match self {
            Self::Little => word.to_le_bytes(),
            Self::Big => word.to_be_bytes(),
        }
    }

    fn bytes_of_half(self, half: u32) -> [u8; 4] {
        match self {
            Self::Little => half.to_le_bytes(),
            Self::Big => half.to_be_bytes(),
        }
    }

    fn word_of(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }

    fn half_of(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}
