//! Derived keys, kept.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::Salt;
use super::block_key::BlockKey;
use super::master_key::MasterKey;

/// How many keys are kept. A writer uses one salt for millions of blocks and takes a new one now and
/// then; reads meet those of a dataset's past, few at a time.
const KEYS_MAX: usize = 16;

/// A master key and the block keys derived from it last, shared by threads.
///
/// The lock covers the search through at most sixteen salts; derivation runs outside. Two threads
/// that miss the same salt at once derive the same key twice, which is cheaper than making one
/// wait for the other.
pub struct KeyCache {
    master: MasterKey,
    /// The most recently used last.
    recent: Mutex<Vec<(Salt, Arc<BlockKey>)>>,
}

impl KeyCache {
    /// An empty cache in front of `master`.
    pub fn new(master: MasterKey) -> Self {
        Self { master, recent: Mutex::new(Vec::with_capacity(KEYS_MAX)) }
    }

    /// The key of the blocks with this salt, derived if it is not at hand.
    ///
    /// # Panics
    ///
    /// As [`MasterKey::derive`].
    pub fn get(&self, salt: &Salt) -> Arc<BlockKey> {
        if let Some(key) = self.find(salt) {
            return key;
        }
        let key = Arc::new(self.master.derive(salt));
        self.keep(*salt, &key);
        key
    }

    /// The master key behind the cache.
    pub fn master(&self) -> &MasterKey {
        &self.master
    }

    fn find(&self, salt: &Salt) -> Option<Arc<BlockKey>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = recent.iter().rposition(|(kept, _)| kept == salt)?;
        let key = Arc::clone(&recent[at].1);
        recent[at..].rotate_left(1);
        Some(key)
    }

    fn keep(&self, salt: Salt, key: &Arc<BlockKey>) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.iter().any(|(kept, _)| *kept == salt) {
            return;
        }
        let oldest = (recent.len() == KEYS_MAX).then(|| recent.remove(0));
        recent.push((salt, Arc::clone(key)));
        drop(recent);
        // Overwriting the old key, if this was the last use of it, needs no lock.
        drop(oldest);
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache").field("suite", &self.master.suite()).finish_non_exhaustive()
    }
}
