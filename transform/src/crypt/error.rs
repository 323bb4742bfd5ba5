//! Why a key, a block or an id is refused. No error carries key or data.

use super::suite::Suite;

/// A key of the wrong length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} takes a key of {wanted_bytes} bytes, got {got_bytes}")]
pub struct KeyError {
    /// What the key is for.
    pub what: &'static str,
    /// Length it must have.
    pub wanted_bytes: usize,
    /// Length it has.
    pub got_bytes: usize,
}

impl KeyError {
    pub(super) fn check(what: &'static str, wanted_bytes: usize, key: &[u8]) -> Result<(), Self> {
        let got_bytes = key.len();
        if got_bytes == wanted_bytes { Ok(()) } else { Err(Self { what, wanted_bytes, got_bytes }) }
    }
}

/// Why an id names no suite.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum SuiteIdError {
    /// The id is in the table, but as the value of a property, resolved before a key is made.
    #[error("encryption id {id} ({name}) is a property value, not a cipher")]
    PropertyOnly {
        /// The id found.
        id: u8,
        /// Its name in the table.
        name: &'static str,
    },
    /// The id is beyond the table this crate knows (0 to 8).
    #[error("encryption id {id} is unknown (known: 0 to 8)")]
    Unknown {
        /// The id found.
        id: u8,
    },
}

/// Why a block was not sealed. The output then holds zeros: no plaintext gets to disk by mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The segments together are not as long as the output.
    #[error("{suite}: output has {cipher_bytes} bytes, the segments do not add up to that")]
    Length {
        /// The key's suite.
        suite: Suite,
        /// Length of the output.
        cipher_bytes: usize,
    },
    /// The block is longer than the mode can seal.
    #[error("{suite}: block of {block_bytes} bytes, at most {block_bytes_max} can be sealed")]
    TooLong {
        /// The key's suite.
        suite: Suite,
        /// Length of the block.
        block_bytes: usize,
        /// [`Suite::block_bytes_max`].
        block_bytes_max: u64,
    },
    /// The library refused, for want of memory; it has no other reason left.
    #[error("{suite}: the library refused to seal {block_bytes} bytes")]
    Library {
        /// The key's suite.
        suite: Suite,
        /// Length of the block.
        block_bytes: usize,
    },
}

/// Why a block was not opened. The output then holds zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The MAC is not the data's: wrong key, salt, IV or MAC, or data that was tampered with. After a
    /// good checksum this is no bit rot: somebody changed both.
    #[error("{what}: {block_bytes} bytes do not have the MAC expected of them")]
    Mac {
        /// The suite's name, or `hmac-sha512`.
        what: &'static str,
        /// Length of the block.
        block_bytes: usize,
    },
    /// The segments together are not as long as the output.
    #[error("{suite}: output has {plain_bytes} bytes, the segments do not add up to that")]
    Length {
        /// The key's suite.
        suite: Suite,
        /// Length of the output.
        plain_bytes: usize,
    },
    /// The block is longer than the mode can seal, so it never was.
    #[error("{suite}: block of {block_bytes} bytes, at most {block_bytes_max} can be sealed")]
    TooLong {
        /// The key's suite.
        suite: Suite,
        /// Length of the block.
        block_bytes: usize,
        /// [`Suite::block_bytes_max`].
        block_bytes_max: u64,
    },
}
