//! The locks and threads this crate is made of: the standard library's, or, in the crate's own
//! unit tests, those of the shuttle model checker, which tries many schedules of the same code.
//!
//! Not `parking_lot`'s: on its first contention a thread makes a record there, which may allocate,
//! and dispatch promises not to.

use std::sync::PoisonError;
use std::time::Duration;

#[cfg(test)]
use shuttle::sync;
#[cfg(test)]
pub(crate) use shuttle::{hint::spin_loop, sync::atomic, thread, thread_local};
#[cfg(not(test))]
use std::sync;
#[cfg(not(test))]
pub(crate) use std::{hint::spin_loop, sync::atomic, thread, thread_local};

pub(crate) use sync::MutexGuard;

/// A lock without poison: nothing of the users' runs under it.
#[derive(Debug, Default)]
pub(crate) struct Mutex<V>(sync::Mutex<V>);

impl<V> Mutex<V> {
    pub(crate) fn new(value: V) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A condition variable for the same.
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    /// May return for no reason.
    pub(crate) fn wait<'a, V>(&self, guard: MutexGuard<'a, V>) -> MutexGuard<'a, V> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for at most so long, if told. (The model checker's never times out.)
    pub(crate) fn wait_for<'a, V>(
        &self,
        guard: MutexGuard<'a, V>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, V> {
        match timeout {
            None => self.wait(guard),
            Some(timeout) => {
                self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Has the thread come to its end?
#[cfg(not(test))]
pub(crate) fn is_finished(thread: &thread::JoinHandle<()>) -> bool {
    thread.is_finished()
}

/// The model checker cannot tell; so nobody is forgotten before the end.
#[cfg(test)]
pub(crate) fn is_finished(_thread: &thread::JoinHandle<()>) -> bool {
    false
}
