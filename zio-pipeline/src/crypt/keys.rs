//! The keys of a pool's encrypted datasets.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use transform::crypt::{
    BlockKey, HmacKey, Iv, KeyCache, KeyError, MasterKey, SALT_BYTES, Salt, Suite,
};
use zio_core::{Error, ErrorKind};

/// Blocks that one salt serves at the most. Among 2^28 random IVs of 96 bits two are equal
/// once in 2^41 salts (NIST SP 800-38D, 8.3, asks for less than once in 2^32).
const SALT_USES_MAX: u32 = 1 << 28;

/// The keys of an encrypted dataset: what its blocks are encrypted with, and what those that
/// stay in plain are authenticated with.
///
/// ```
/// use zio_pipeline::{DatasetKeys, Suite};
///
/// let keys = DatasetKeys::new(Suite::Aes256Gcm, &[7; 32])?.hmac(&[9; 64])?;
/// # Ok::<(), zio_pipeline::KeyError>(())
/// ```
#[derive(Debug)]
pub struct DatasetKeys {
    cache: KeyCache,
    hmac: Option<HmacKey>,
    salt: Mutex<Option<(Salt, u32)>>,
}

impl DatasetKeys {
    /// The keys of a dataset with this cipher suite and master key.
    ///
    /// # Errors
    /// [`KeyError`]: not the length of the suite's keys.
    pub fn new(suite: Suite, master_key: &[u8]) -> Result<Self, KeyError> {
        let cache = KeyCache::new(MasterKey::new(suite, master_key)?);
        Ok(Self { cache, hmac: None, salt: Mutex::new(None) })
    }

    /// Adds the key of blocks that are authenticated and not encrypted, 64 bytes.
    ///
    /// # Errors
    /// [`KeyError`]: not 64 bytes.
    pub fn hmac(mut self, key: &[u8]) -> Result<Self, KeyError> {
        self.hmac = Some(HmacKey::new(key)?);
        Ok(self)
    }

    /// The key of the blocks with this salt.
    pub(super) fn of_salt(&self, salt: &Salt) -> Arc<BlockKey> {
        self.cache.get(salt)
    }

    /// # Errors
    /// [`ErrorKind::Access`]: there is none.
    pub(super) fn hmac_key(&self) -> Result<&HmacKey, Error> {
        let why = "no key to authenticate a block that is not encrypted";
        self.hmac.as_ref().ok_or_else(|| Error::msg(ErrorKind::Access, why))
    }

    /// Salt and IV for a new block: the pair has never been used.
    pub(super) fn draw(&self, entropy: &Entropy) -> Result<(Salt, Iv), Error> {
        let mut current = self.salt.lock();
        let salt = match current.as_mut() {
            Some((salt, uses)) if *uses < SALT_USES_MAX => {
                *uses += 1;
                *salt
            }
            _ => {
                let mut salt = [0; SALT_BYTES];
                entropy.fill(&mut salt)?;
                *current = Some((salt, 1));
                salt
            }
        };
        drop(current);
        let mut iv = Iv::default();
        entropy.fill(&mut iv)?;
        Ok((salt, iv))
    }
}

/// Fills memory with random bytes.
type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// Where random bytes come from.
#[derive(Default)]
pub(crate) enum Entropy {
    /// The system.
    #[default]
    System,
    /// The caller: a simulation, or a device of its own.
    Given(Box<Fill>),
}

impl Entropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::System => {
                getrandom::fill(bytes).map_err(|error| Error::because(ErrorKind::Io, error))
            }
            Self::Given(fill) => {
                fill(bytes);
                Ok(())
            }
        }
    }
}

/// The keys of all datasets, by their set of objects.
#[derive(Default)]
pub(crate) struct Keys {
    pub(crate) of_all: Option<DatasetKeys>,
    pub(crate) of_objset: BTreeMap<u64, DatasetKeys>,
    pub(crate) entropy: Entropy,
}

impl Keys {
    /// # Errors
    /// [`ErrorKind::Access`]: there is none for this set of objects.
    pub(super) fn of(&self, objset: u64) -> Result<&DatasetKeys, Error> {
        let keys = self.of_objset.get(&objset).or(self.of_all.as_ref());
        keys.ok_or_else(|| {
            Error::msg(ErrorKind::Access, format!("no key for the blocks of object set {objset}"))
        })
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("of_all", &self.of_all)
            .field("of_objset", &self.of_objset)
            .finish_non_exhaustive()
    }
}
