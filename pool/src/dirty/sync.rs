//! The lock, the sleep and the time of the line, exchangeable for those of a model checker.
//!
//! With `--cfg shuttle` the line runs on shuttle's locks and threads, so that its scheduler sees every hand-over; and
//! time goes on when somebody sleeps, by leaps: a sleep may be over at any moment, and then it is as late as that.

#[cfg(not(shuttle))]
mod real {
    pub(in crate::dirty) use std::sync::atomic::AtomicBool;
    pub(in crate::dirty) use std::thread::{Thread, current, park, park_timeout};
    pub(in crate::dirty) use std::time::Instant;

    pub(in crate::dirty) use parking_lot::Mutex;
}

#[cfg(shuttle)]
mod real {
    use std::sync::{Arc, TryLockError};
    use std::time::Duration;

    use shuttle::sync::MutexGuard;
    use shuttle::sync::atomic::{AtomicU64, Ordering};

    pub(in crate::dirty) use shuttle::sync::atomic::AtomicBool;
    pub(in crate::dirty) use shuttle::thread::{Thread, current, park};

    /// shuttle's mutex with parking_lot's shape.
    pub(in crate::dirty) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(in crate::dirty) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(in crate::dirty) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        pub(in crate::dirty) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }

    shuttle::lazy_static! {
        static ref NOW_NS: AtomicU64 = AtomicU64::new(0);
        static ref SLEEPS: AtomicU64 = AtomicU64::new(0);
    }

    /// Sleeps of all threads in one schedule. The models of this crate need half of them; who wakes itself before
    /// each sleep needs hundreds.
    const SLEEPS_MAX: u64 = 60;

    /// The beginning of each schedule.
    pub(in crate::dirty) struct Instant;

    impl Instant {
        pub(in crate::dirty) fn now() -> Self {
            Self
        }

        pub(in crate::dirty) fn elapsed(&self) -> Duration {
            Duration::from_nanos(NOW_NS.load(Ordering::SeqCst))
        }
    }

    /// shuttle's own never times out. Here a thread of its own does it, unless the sleep has ended before.
    pub(in crate::dirty) fn park_timeout(longest: Duration) {
        let sleeps = SLEEPS.fetch_add(1, Ordering::SeqCst);
        assert!(sleeps < SLEEPS_MAX, "somebody is woken again and again");
        let until_ns = NOW_NS.load(Ordering::SeqCst) + longest.as_nanos() as u64;
        let (sleeper, is_over) = (current(), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&is_over);
        shuttle::thread::spawn(move || {
            if !ended.load(Ordering::SeqCst) {
                NOW_NS.fetch_max(until_ns, Ordering::SeqCst);
                sleeper.unpark();
            }
        });
        park();
        is_over.store(true, Ordering::SeqCst);
    }
}

pub(super) use real::*;
