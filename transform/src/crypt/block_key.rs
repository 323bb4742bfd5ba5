//! Sealing and opening blocks.

use std::fmt;

use aes::{Aes128, Aes192, Aes256};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ccm::aead::AeadInOut;
use ccm::aead::inout::InOutBuf;
use ccm::consts::{U12, U16};
use ccm::{Ccm, KeyInit};

use super::error::{KeyError, OpenError, SealError};
use super::suite::Suite;
use super::{Iv, MAC_BYTES, Mac};

/// The key of all blocks that share a salt; made by [`MasterKey::derive`](super::MasterKey::derive).
///
/// Data is taken as a list of segments into one output of the same length. A single segment is
/// read where it is; several are first copied together. The `_in_place` forms copy nothing.
///
/// `aad` is data that is authenticated but not encrypted; ordinary blocks have none.
///
/// Overwritten when dropped; printing it shows the suite alone.
pub struct BlockKey {
    suite: Suite,
    cipher: Cipher,
}

enum Cipher {
    Gcm(LessSafeKey),
    Ccm128(Box<Ccm<Aes128, U16, U12>>),
    Ccm192(Box<Ccm<Aes192, U16, U12>>),
    Ccm256(Box<Ccm<Aes256, U16, U12>>),
}

/// The library's answer, which has no more to say than "no".
struct Refused;

impl BlockKey {
    /// The block key of these bytes, for those who have derived it already.
    ///
    /// # Errors
    ///
    /// [`KeyError`] unless there are exactly [`Suite::key_bytes`].
    ///
    /// # Panics
    ///
    /// If the library has no memory for a key.
    pub fn new(suite: Suite, key: &[u8]) -> Result<Self, KeyError> {
        KeyError::check(suite.name(), suite.key_bytes(), key)?;
        let cipher = match suite {
            Suite::Aes128Ccm => Cipher::Ccm128(ccm(key)),
            Suite::Aes192Ccm => Cipher::Ccm192(ccm(key)),
            Suite::Aes256Ccm => Cipher::Ccm256(ccm(key)),
            Suite::Aes128Gcm => Cipher::Gcm(gcm(&aead::AES_128_GCM, key)),
            Suite::Aes192Gcm => Cipher::Gcm(gcm(&aead::AES_192_GCM, key)),
            Suite::Aes256Gcm => Cipher::Gcm(gcm(&aead::AES_256_GCM, key)),
        };
        Ok(Self { suite, cipher })
    }

    /// The suite the key was made for.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Encrypts the segments, in order, into `cipher` and returns the MAC.
    ///
    /// Never with an IV that this salt and master key have seen before.
    ///
    /// # Errors
    ///
    /// [`SealError`]: the segments do not add up to the output's length, or are too long for the
    /// mode. `cipher` is then all zeros.
    pub fn seal<'a>(
        &self,
        iv: &Iv,
        aad: &[u8],
        plain: impl IntoIterator<Item = &'a [u8]>,
        cipher: &mut [u8],
    ) -> Result<Mac, SealError> {
        let sealed = self.check_seal(cipher.len()).and_then(|()| {
            match gather(plain, cipher) {
                Gathered::One(plain) => self.cipher.seal(iv, aad, plain, cipher),
                Gathered::Copied => self.cipher.seal_in_place(iv, aad, cipher),
                Gathered::WrongLength => {
                    let cipher_bytes = cipher.len();
                    return Err(SealError::Length { suite: self.suite, cipher_bytes });
                }
            }
            .map_err(|Refused| self.refused(cipher.len()))
        });
        sealed.inspect_err(|_| cipher.fill(0))
    }

    /// Encrypts `block` where it is and returns the MAC.
    ///
    /// # Errors
    ///
    /// [`SealError`]: too long for the mode. `block` is then all zeros.
    pub fn seal_in_place(&self, iv: &Iv, aad: &[u8], block: &mut [u8]) -> Result<Mac, SealError> {
        let block_bytes = block.len();
        self.check_seal(block_bytes)
            .and_then(|()| {
                self.cipher
                    .seal_in_place(iv, aad, block)
                    .map_err(|Refused| self.refused(block_bytes))
            })
            .inspect_err(|_| block.fill(0))
    }

    /// Decrypts the segments, in order, into `plain` if they have this MAC.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: most of all, the MAC is not theirs. `plain` is then all zeros.
    pub fn open<'a>(
        &self,
        iv: &Iv,
        mac: &Mac,
        aad: &[u8],
        cipher: impl IntoIterator<Item = &'a [u8]>,
        plain: &mut [u8],
    ) -> Result<(), OpenError> {
        let plain_bytes = plain.len();
        let opened = self.check_open(plain_bytes).and_then(|()| {
            match gather(cipher, plain) {
                Gathered::One(cipher) => self.cipher.open(iv, mac, aad, cipher, plain),
                Gathered::Copied => self.cipher.open_in_place(iv, mac, aad, plain),
                Gathered::WrongLength => {
                    return Err(OpenError::Length { suite: self.suite, plain_bytes });
                }
            }
            .map_err(|Refused| self.forged(plain_bytes))
        });
        opened.inspect_err(|_| plain.fill(0))
    }

    /// Decrypts `block` where it is if it has this MAC.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: most of all, the MAC is not its. `block` is then all zeros.
    pub fn open_in_place(
        &self,
        iv: &Iv,
        mac: &Mac,
        aad: &[u8],
        block: &mut [u8],
    ) -> Result<(), OpenError> {
        let block_bytes = block.len();
        self.check_open(block_bytes)
            .and_then(|()| {
                self.cipher
                    .open_in_place(iv, mac, aad, block)
                    .map_err(|Refused| self.forged(block_bytes))
            })
            .inspect_err(|_| block.fill(0))
    }

    fn is_too_long(&self, block_bytes: usize) -> bool {
        u64::try_from(block_bytes).is_ok_and(|bytes| bytes > self.suite.block_bytes_max())
    }

    fn check_seal(&self, block_bytes: usize) -> Result<(), SealError> {
        let (suite, block_bytes_max) = (self.suite, self.suite.block_bytes_max());
        if self.is_too_long(block_bytes) {
            return Err(SealError::TooLong { suite, block_bytes, block_bytes_max });
        }
        Ok(())
    }

    fn check_open(&self, block_bytes: usize) -> Result<(), OpenError> {
        let (suite, block_bytes_max) = (self.suite, self.suite.block_bytes_max());
        if self.is_too_long(block_bytes) {
            return Err(OpenError::TooLong { suite, block_bytes, block_bytes_max });
        }
        Ok(())
    }

    fn refused(&self, block_bytes: usize) -> SealError {
        SealError::Library { suite: self.suite, block_bytes }
    }

    fn forged(&self, block_bytes: usize) -> OpenError {
        OpenError::Mac { what: self.suite.name(), block_bytes }
    }
}

impl fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockKey").field("suite", &self.suite).finish_non_exhaustive()
    }
}

fn gcm(algorithm: &'static aead::Algorithm, key: &[u8]) -> LessSafeKey {
    let key = UnboundKey::new(algorithm, key).expect("memory for a key of the suite's length");
    // "Less safe" means that the caller chooses the IV. Here it comes from the pointer.
    LessSafeKey::new(key)
}

fn ccm<C: KeyInit>(key: &[u8]) -> Box<C> {
    Box::new(C::new_from_slice(key).expect("a key of the suite's length"))
}

/// The two libraries behind one face. Lengths have been checked: inputs are as long as outputs.
impl Cipher {
    fn seal(&self, iv: &Iv, aad: &[u8], plain: &[u8], cipher: &mut [u8]) -> Result<Mac, Refused> {
        match self {
            Self::Gcm(key) => {
                let mut mac = [0; MAC_BYTES];
                let nonce = Nonce::assume_unique_for_key(*iv);
                key.seal_out_of_place_scatter(nonce, Aad::from(aad), plain, cipher, &[], &mut mac)
                    .map(|()| mac)
                    .map_err(|_| Refused)
            }
            Self::Ccm128(key) => ccm_seal(&**key, iv, aad, between(plain, cipher)?),
            Self::Ccm192(key) => ccm_seal(&**key, iv, aad, between(plain, cipher)?),
            Self::Ccm256(key) => ccm_seal(&**key, iv, aad, between(plain, cipher)?),
        }
    }

    fn seal_in_place(&self, iv: &Iv, aad: &[u8], block: &mut [u8]) -> Result<Mac, Refused> {
        match self {
            Self::Gcm(key) => {
                let nonce = Nonce::assume_unique_for_key(*iv);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), block)
                    .map_err(|_| Refused)?;
                tag.as_ref().try_into().map_err(|_| Refused)
            }
            Self::Ccm128(key) => ccm_seal(&**key, iv, aad, block.into()),
            Self::Ccm192(key) => ccm_seal(&**key, iv, aad, block.into()),
            Self::Ccm256(key) => ccm_seal(&**key, iv, aad, block.into()),
        }
    }

    fn open(
        &self,
        iv: &Iv,
        mac: &Mac,
        aad: &[u8],
        cipher: &[u8],
        plain: &mut [u8],
    ) -> Result<(), Refused> {
        match self {
            Self::Gcm(key) => {
                let nonce = Nonce::assume_unique_for_key(*iv);
                key.open_separate_gather(nonce, Aad::from(aad), cipher, mac, plain)
                    .map_err(|_| Refused)
            }
            Self::Ccm128(key) => ccm_open(&**key, iv, mac, aad, between(cipher, plain)?),
            Self::Ccm192(key) => ccm_open(&**key, iv, mac, aad, between(cipher, plain)?),
            Self::Ccm256(key) => ccm_open(&**key, iv, mac, aad, between(cipher, plain)?),
        }
    }

    fn open_in_place(
        &self,
        iv: &Iv,
        mac: &Mac,
        aad: &[u8],
        block: &mut [u8],
    ) -> Result<(), Refused> {
        match self {
            Self::Gcm(key) => {
                let nonce = Nonce::assume_unique_for_key(*iv);
                key.open_in_place_separate_tag(nonce, Aad::from(aad), mac, block)
                    .map(|_| ())
                    .map_err(|_| Refused)
            }
            Self::Ccm128(key) => ccm_open(&**key, iv, mac, aad, block.into()),
            Self::Ccm192(key) => ccm_open(&**key, iv, mac, aad, block.into()),
            Self::Ccm256(key) => ccm_open(&**key, iv, mac, aad, block.into()),
        }
    }
}

fn between<'a>(from: &'a [u8], to: &'a mut [u8]) -> Result<InOutBuf<'a, 'a, u8>, Refused> {
    InOutBuf::new(from, to).map_err(|_| Refused)
}

fn ccm_seal<C: AeadInOut<NonceSize = U12, TagSize = U16>>(
    key: &C,
    iv: &Iv,
    aad: &[u8],
    block: InOutBuf<'_, '_, u8>,
) -> Result<Mac, Refused> {
    key.encrypt_inout_detached(&(*iv).into(), aad, block).map(Into::into).map_err(|_| Refused)
}

fn ccm_open<C: AeadInOut<NonceSize = U12, TagSize = U16>>(
    key: &C,
    iv: &Iv,
    mac: &Mac,
    aad: &[u8],
    block: InOutBuf<'_, '_, u8>,
) -> Result<(), Refused> {
    key.decrypt_inout_detached(&(*iv).into(), aad, block, &(*mac).into()).map_err(|_| Refused)
}

/// Where a block's bytes are.
enum Gathered<'a> {
    /// Still in the one segment that has them all.
    One(&'a [u8]),
    /// In the output, copied from several.
    Copied,
    /// The segments have more or fewer bytes than the output.
    WrongLength,
}

/// Copies the segments together in `out`, unless a single one is all there is to it.
fn gather<'a>(segments: impl IntoIterator<Item = &'a [u8]>, out: &mut [u8]) -> Gathered<'a> {
    let mut filled = 0;
    let mut whole = None;
    for segment in segments {
        if segment.is_empty() {
            continue;
        }
        if segment.len() == out.len() {
            whole = Some(segment);
        } else if let Some(room) = out.get_mut(filled..filled + segment.len()) {
            room.copy_from_slice(segment);
        } else {
            return Gathered::WrongLength;
        }
        filled += segment.len();
    }
    match whole {
        _ if filled != out.len() => Gathered::WrongLength,
        Some(segment) => Gathered::One(segment),
        None => Gathered::Copied,
    }
}
