//! Authentication of blocks that are not encrypted.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::error::{KeyError, OpenError};
use super::{MAC_BYTES, Mac};

/// Length of an [`HmacKey`].
pub const HMAC_KEY_BYTES: usize = 64;

const NAME: &str = "hmac-sha512";

/// The key with which an encrypted dataset authenticates what it leaves in plain: HMAC-SHA512, of
/// which the first [`MAC_BYTES`] are kept.
///
/// A level-0 block of an unencrypted object type in such a dataset has the MAC of its stored bytes
/// in its pointer. The key is overwritten when dropped.
pub struct HmacKey(hmac::Key);

impl HmacKey {
    /// The key of these [`HMAC_KEY_BYTES`] bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError`] for any other length.
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        KeyError::check(NAME, HMAC_KEY_BYTES, key)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA512, key)))
    }

    /// The MAC of the segments, in order. How the data is cut does not matter.
    pub fn authenticate<'a>(&self, segments: impl IntoIterator<Item = &'a [u8]>) -> Mac {
        let mut context = hmac::Context::with_key(&self.0);
        segments.into_iter().for_each(|segment| context.update(segment));
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&context.sign().as_ref()[..MAC_BYTES]);
        mac
    }

    /// Whether the segments have this MAC, compared in constant time.
    ///
    /// # Errors
    ///
    /// [`OpenError::Mac`] if they have not.
    pub fn verify<'a>(
        &self,
        segments: impl IntoIterator<Item = &'a [u8]>,
        mac: &Mac,
    ) -> Result<(), OpenError> {
        let mut block_bytes = 0;
        let counted = segments.into_iter().inspect(|segment| block_bytes += segment.len());
        let actual = self.authenticate(counted);
        verify_slices_are_equal(&actual, mac)
            .map_err(|_| OpenError::Mac { what: NAME, block_bytes })
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacKey").finish_non_exhaustive()
    }
}
