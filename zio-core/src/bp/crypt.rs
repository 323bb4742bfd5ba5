//! What a pointer says about encryption (spec 2.1, encrypted variant).
//!
//! A pointer with the encryption bit gives two of its checksum words to a MAC.
//! If the block is encrypted as well, the third address makes room for salt and IV,
//! and the high half of the fill count takes the rest of the IV.

use super::{BlockPointer, CRYPT, WORD_CHECKSUM, WORD_FILL, WORD_PROPS, check};

/// Object type of the root of a set of objects. Its MACs are inside the block,
/// so its checksum keeps all four words.
pub const OBJECT_TYPE_OBJSET: u8 = 11;

/// First word of salt and IV: those of the third address.
const WORD_SALT: usize = 4;
const WORD_IV: usize = 5;

/// Salt and IV of an encrypted block, as the words of its pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CryptWords {
    /// Salt.
    pub salt: u64,
    /// IV, first eight bytes.
    pub iv: u64,
    /// IV, last four bytes.
    pub iv_tail: u32,
}

impl BlockPointer {
    /// Is the payload encrypted: a level-0 block of an encrypted type?
    pub const fn is_encrypted(&self) -> bool {
        self.is_crypt() && self.level() == 0 && check::is_encrypted_type(self.object_type())
    }

    /// Is the payload plain, and proven by a MAC: a level-0 block of another type?
    pub const fn is_authenticated(&self) -> bool {
        self.is_crypt() && self.level() == 0 && !check::is_encrypted_type(self.object_type())
    }

    /// Do the last two words of the checksum hold a MAC, so that only the first two are a
    /// checksum? So it is wherever encryption is used, but for the root of a set of objects.
    pub const fn has_mac(&self) -> bool {
        self.is_crypt() && self.object_type() != OBJECT_TYPE_OBJSET
    }

    /// The last two words of the checksum, where they are a [MAC](Self::has_mac).
    pub const fn mac_words(&self) -> [u64; 2] {
        [self.0[WORD_CHECKSUM + 2], self.0[WORD_CHECKSUM + 3]]
    }

    /// Sets the last two words of the checksum.
    pub fn set_mac_words(&mut self, words: [u64; 2]) {
        self.0[WORD_CHECKSUM + 2..].copy_from_slice(&words);
    }

    /// Salt and IV; meaningful where the block [is encrypted](Self::is_encrypted).
    pub const fn crypt_words(&self) -> CryptWords {
        CryptWords {
            salt: self.0[WORD_SALT],
            iv: self.0[WORD_IV],
            iv_tail: (self.0[WORD_FILL] >> 32) as u32,
        }
    }

    /// Sets salt and IV. The third address and the high half of the fill
    /// count are theirs from now on.
    pub fn set_crypt_words(&mut self, words: CryptWords) {
        self.0[WORD_SALT] = words.salt;
        self.0[WORD_IV] = words.iv;
        self.0[WORD_FILL] =
            (u64::from(words.iv_tail) << 32) | (self.0[WORD_FILL] & u64::from(u32::MAX));
    }

    /// Marks the block as one of the encryption machinery, or not.
    pub fn set_crypt(&mut self, crypt: bool) {
        self.0[WORD_PROPS] = CRYPT.set(self.props(), u64::from(crypt));
    }
}
