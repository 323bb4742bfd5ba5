//! Waiting for quiet: the rare caller pays, the worker only looks at one counter before it sleeps.

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex};

/// Where callers wait until a condition over the queues holds.
///
/// Whoever may have made such a condition true publishes that under the queue's own lock and
/// *then* looks for waiters; a waiter announces itself and *then* takes the same lock to look.
/// One of the two sees the other.
#[derive(Default)]
pub(crate) struct Idle {
    waiters: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Idle {
    pub(crate) fn has_waiters(&self) -> bool {
        self.waiters.load(Ordering::SeqCst) != 0
    }

    /// Lets the waiters look again. Called with none of the queues' locks held: a waiter takes
    /// those while it holds this one.
    pub(crate) fn announce(&self) {
        if self.has_waiters() {
            let _guard = self.lock.lock();
            self.changed.notify_all();
        }
    }

    /// Returns once `holds` does. It must not be called from anything `holds` depends on.
    pub(crate) fn wait_until(&self, mut holds: impl FnMut() -> bool) {
        self.waiters.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock.lock();
        while !holds() {
            guard = self.changed.wait(guard);
        }
        drop(guard);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}
