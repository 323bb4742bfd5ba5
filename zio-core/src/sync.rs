//! The primitives of the hand-over, exchangeable for those of a model checker.
//!
//! With `--cfg shuttle` the node, the run list and the waiters run on shuttle's
//! mutexes and threads, so that its scheduler sees every hand-over.

#[cfg(not(shuttle))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize};
    pub(crate) use std::thread::{Thread, current, park};

    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::thread_local;
}

#[cfg(shuttle)]
mod real {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicUsize};
    pub(crate) use shuttle::thread::{Thread, current, park};
    pub(crate) use shuttle::thread_local;

    /// shuttle's mutex with parking_lot's shape.
    #[derive(Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }
}

pub(crate) use real::*;
