//! The encryption table: names, on-disk ids, key lengths.

use std::fmt;

use super::error::SuiteIdError;

/// Cipher, key length and mode of an encrypted dataset.
///
/// The default is AES-256-GCM, which is also what the property value "on" means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Suite {
    /// AES-128 in CCM (id 3).
    Aes128Ccm,
    /// AES-192 in CCM (id 4).
    Aes192Ccm,
    /// AES-256 in CCM (id 5).
    Aes256Ccm,
    /// AES-128 in GCM (id 6).
    Aes128Gcm,
    /// AES-192 in GCM (id 7).
    Aes192Gcm,
    /// AES-256 in GCM (id 8).
    #[default]
    Aes256Gcm,
}

/// The longest key of any suite.
pub(super) const KEY_BYTES_MAX: usize = 32;

impl Suite {
    /// All suites, by id.
    pub const ALL: [Self; 6] = [
        Self::Aes128Ccm,
        Self::Aes192Ccm,
        Self::Aes256Ccm,
        Self::Aes128Gcm,
        Self::Aes192Gcm,
        Self::Aes256Gcm,
    ];

    /// Length of the master key and of the keys derived from it.
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Ccm | Self::Aes128Gcm => 16,
            Self::Aes192Ccm | Self::Aes192Gcm => 24,
            Self::Aes256Ccm | Self::Aes256Gcm => KEY_BYTES_MAX,
        }
    }

    /// The longest block the suite can seal.
    ///
    /// CCM counts a message's bytes in what the twelve bytes of IV leave of a cipher block, three
    /// bytes: one byte less than 16 MiB. GCM's limit is 2^36 − 32 bytes.
    pub const fn block_bytes_max(self) -> u64 {
        match self {
            Self::Aes128Ccm | Self::Aes192Ccm | Self::Aes256Ccm => (1 << 24) - 1,
            Self::Aes128Gcm | Self::Aes192Gcm | Self::Aes256Gcm => (1 << 36) - 32,
        }
    }

    /// The property value, as `aes-256-gcm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Ccm => "aes-128-ccm",
            Self::Aes192Ccm => "aes-192-ccm",
            Self::Aes256Ccm => "aes-256-ccm",
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes192Gcm => "aes-192-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }

    /// The on-disk id.
    pub const fn id(self) -> u8 {
        match self {
            Self::Aes128Ccm => 3,
            Self::Aes192Ccm => 4,
            Self::Aes256Ccm => 5,
            Self::Aes128Gcm => 6,
            Self::Aes192Gcm => 7,
            Self::Aes256Gcm => 8,
        }
    }

    /// What an on-disk id names.
    ///
    /// # Errors
    ///
    /// [`SuiteIdError`] tells the values that are resolved before a key is made (inherit, on, off)
    /// from those nobody assigned.
    pub const fn from_id(id: u8) -> Result<Self, SuiteIdError> {
        Ok(match id {
            0 => return Err(SuiteIdError::PropertyOnly { id, name: "inherit" }),
            1 => return Err(SuiteIdError::PropertyOnly { id, name: "on" }),
            2 => return Err(SuiteIdError::PropertyOnly { id, name: "off" }),
            3 => Self::Aes128Ccm,
            4 => Self::Aes192Ccm,
            5 => Self::Aes256Ccm,
            6 => Self::Aes128Gcm,
            7 => Self::Aes192Gcm,
            8 => Self::Aes256Gcm,
            _ => return Err(SuiteIdError::Unknown { id }),
        })
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
