//! Encryption and authentication of blocks, as ZFS stores them (feature `crypt`).
//!
//! An encrypted dataset has one *master key*. A block is encrypted with a key derived from it and
//! the block's eight-byte *salt*; many blocks share a salt, so a derived key is worth keeping
//! ([`KeyCache`]). With it, the block's twelve-byte *IV* and the [`Suite`]'s cipher come the
//! ciphertext, as long as the plaintext, and a sixteen-byte *MAC*. Salt, IV and MAC stand in the
//! block's pointer ([`SealParams`]).
//!
//! | what | how |
//! |---|---|
//! | key of a block | HKDF-SHA512: input = master key, no salt, info = the eight salt bytes |
//! | encrypted block | AES-128, -192 or -256 in GCM or CCM, IV of 12 bytes, MAC of 16; the data of ordinary blocks is all that is authenticated |
//! | authenticated block | plain, with HMAC-SHA512 of the stored bytes, first 16 bytes ([`HmacKey`]) |
//!
//! What is encrypted is the *stored* form: compress, [round up](crate::round_up_to_shift), then
//! seal; open, then decompress.
//!
//! ```
//! use transform::crypt::{KeyCache, MasterKey, SealParams, Suite};
//!
//! let keys = KeyCache::new(MasterKey::new(Suite::Aes256Gcm, &[7; 32])?);
//! // Both random and, together, never used twice; the caller draws them.
//! let (salt, iv) = ([1; 8], [2; 12]);
//!
//! let block = vec![0x5a; 4096];
//! let mut stored = vec![0; 4096];
//! let mac = keys.get(&salt).seal(&iv, &[], [&block[..]], &mut stored)?;
//! let pointer = SealParams { salt, iv, mac };
//!
//! let mut back = vec![0; 4096];
//! keys.get(&pointer.salt).open(&pointer.iv, &pointer.mac, &[], [&stored[..]], &mut back)?;
//! assert_eq!(back, block);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is never so
//!
//! * No key is printed, compared, or left in memory that was given back: what holds one overwrites
//!   it when dropped.
//! * Data that fails its MAC is never handed out: the output is overwritten with zeros.
//! * Nothing here draws a random number. **The same salt and IV must never seal two different
//!   blocks under one master key**: with GCM or CCM that gives both away. Draw the IV anew for every
//!   block and the salt now and then.
//!
//! # What is not here
//!
//! The MACs *inside* object-set blocks and the one a level > 0 pointer holds over its children's MACs
//! cover selected fields of structures this crate does not know; dnode and log blocks encrypt only
//! parts of themselves. Their primitives are here ([`BlockKey`] takes additional authenticated data,
//! [`HmacKey`] authenticates any list of segments), the choice of bytes is the caller's.
//!
//! # Sources
//!
//! Spec 1.14, 2.1, 7.1; NIST SP 800-38D (GCM), SP 800-38C and RFC 3610 (CCM), RFC 5869 (HKDF), RFC
//! 2104 and 4231 (HMAC). GCM, HKDF and HMAC are AWS-LC's, CCM is RustCrypto's.

mod block_key;
mod cache;
mod error;
mod hmac;
mod master_key;
mod pointer;
mod suite;

pub use block_key::BlockKey;
pub use cache::KeyCache;
pub use error::{KeyError, OpenError, SealError, SuiteIdError};
pub use hmac::{HMAC_KEY_BYTES, HmacKey};
pub use master_key::MasterKey;
pub use pointer::{ByteOrder, PointerWords, SealParams};
pub use suite::Suite;

/// Length of the salt from which a block's key is derived.
pub const SALT_BYTES: usize = 8;
/// Length of a block's initialisation vector.
pub const IV_BYTES: usize = 12;
/// Length of a block's message authentication code.
pub const MAC_BYTES: usize = 16;

/// From which, with the master key, a block's key is derived.
pub type Salt = [u8; SALT_BYTES];
/// Initialisation vector: never twice with one key.
pub type Iv = [u8; IV_BYTES];
/// Message authentication code.
pub type Mac = [u8; MAC_BYTES];
