//! How many entries there may be.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit on entries that several tables share, exact at any number of threads.
///
/// Only writers are held to it: the pointers of a pool that is opened are counted and always let in.
#[derive(Clone)]
pub struct Quota(Option<Arc<Shared>>);

struct Shared {
    entries_max: usize,
    entries: AtomicUsize,
}

impl Quota {
    /// No limit, and nothing counted.
    pub const fn unlimited() -> Self {
        Self(None)
    }

    /// At most `entries_max` entries in all tables that are given this quota or a clone of it.
    pub fn new(entries_max: usize) -> Self {
        Self(Some(Arc::new(Shared { entries_max, entries: AtomicUsize::new(0) })))
    }

    /// The limit, if there is one.
    pub fn entries_max(&self) -> Option<usize> {
        self.0.as_ref().map(|shared| shared.entries_max)
    }

    /// One entry more for a writer, unless there are too many.
    pub(crate) fn admit(&self) -> bool {
        let Some(shared) = &self.0 else { return true };
        let more = |entries: usize| (entries < shared.entries_max).then(|| entries + 1);
        shared.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// One entry more, whatever the limit.
    pub(crate) fn count(&self) {
        if let Some(shared) = &self.0 {
            shared.entries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many entries less.
    pub(crate) fn release(&self, entries: usize) {
        if let Some(shared) = &self.0 {
            shared.entries.fetch_sub(entries, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Quota").field(&self.entries_max()).finish()
    }
}
