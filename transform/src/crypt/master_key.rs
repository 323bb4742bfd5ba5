//! The key of a dataset, from which the keys of its blocks are derived.

use std::fmt;

use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use super::Salt;
use super::block_key::BlockKey;
use super::error::KeyError;
use super::suite::{KEY_BYTES_MAX, Suite};

/// A dataset's master key: never used on data, only to derive [`BlockKey`]s.
///
/// Overwritten when dropped; printing it shows the suite alone.
pub struct MasterKey {
    suite: Suite,
    bytes: Zeroizing<[u8; KEY_BYTES_MAX]>,
}

impl MasterKey {
    /// The master key of these bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError`] unless there are exactly [`Suite::key_bytes`].
    pub fn new(suite: Suite, key: &[u8]) -> Result<Self, KeyError> {
        let wanted_bytes = suite.key_bytes();
        KeyError::check(suite.name(), wanted_bytes, key)?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES_MAX]);
        bytes[..wanted_bytes].copy_from_slice(key);
        Ok(Self { suite, bytes })
    }

    /// The suite the key was made for.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The key of the blocks with this salt.
    ///
    /// HKDF with SHA-512 (RFC 5869): no salt in HKDF's sense, the block's salt as info, as many
    /// bytes as the suite's keys have. This costs two to four microseconds, in which GCM seals
    /// 32 KiB: derive once for many blocks ([`KeyCache`](super::KeyCache)).
    ///
    /// # Panics
    ///
    /// If the library has no memory for a key.
    pub fn derive(&self, salt: &Salt) -> BlockKey {
        let key_bytes = self.suite.key_bytes();
        let mut derived = Zeroizing::new([0; KEY_BYTES_MAX]);
        let derived = &mut derived[..key_bytes];
        hkdf::Salt::new(hkdf::HKDF_SHA512, &[])
            .extract(&self.bytes[..key_bytes])
            .expand(&[salt], OutputBytes(key_bytes))
            .and_then(|output| output.fill(derived))
            .expect("HKDF gives up to 255 hashes' worth of bytes");
        BlockKey::new(self.suite, derived).expect("as many bytes as the suite's keys have")
    }
}

/// How many bytes HKDF shall give.
struct OutputBytes(usize);

impl hkdf::KeyType for OutputBytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("suite", &self.suite).finish_non_exhaustive()
    }
}
