//! The lock of [`crate::shared`]: parking_lot's, or loom's when the interleavings are explored.

#[cfg(not(loom))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};

    /// A lock that a panic in another thread does not poison.
    #[derive(Debug)]
    pub(crate) struct Lock<V>(parking_lot::Mutex<V>);

    pub(crate) type Guard<'a, V> = parking_lot::MutexGuard<'a, V>;

    impl<V> Lock<V> {
        pub(crate) fn new(value: V) -> Self {
            Self(parking_lot::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> Guard<'_, V> {
            self.0.lock()
        }

        pub(crate) fn try_lock(&self) -> Option<Guard<'_, V>> {
            self.0.try_lock()
        }
    }
}

#[cfg(loom)]
mod real {
    //! loom's own mutex never fails a `try_lock` for being held at that very moment, and is
    //! stronger than a real one between unlock and later loads. So this one is made of an
    //! atomic flag, with the orderings of parking_lot's.

    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::Ordering;

    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64};

    #[derive(Debug)]
    pub(crate) struct Lock<V> {
        is_held: AtomicBool,
        value: loom::sync::Mutex<V>,
    }

    pub(crate) struct Guard<'a, V> {
        lock: &'a Lock<V>,
        /// `None` only while dropped.
        value: Option<loom::sync::MutexGuard<'a, V>>,
    }

    impl<V> Lock<V> {
        pub(crate) fn new(value: V) -> Self {
            Self { is_held: AtomicBool::new(false), value: loom::sync::Mutex::new(value) }
        }

        pub(crate) fn lock(&self) -> Guard<'_, V> {
            while self.is_held.swap(true, Ordering::Acquire) {
                loom::thread::yield_now();
            }
            self.guard()
        }

        pub(crate) fn try_lock(&self) -> Option<Guard<'_, V>> {
            if self.is_held.load(Ordering::Relaxed) || self.is_held.swap(true, Ordering::Acquire) {
                return None;
            }
            Some(self.guard())
        }

        fn guard(&self) -> Guard<'_, V> {
            let value = self.value.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            Guard { lock: self, value: Some(value) }
        }
    }

    impl<V> Deref for Guard<'_, V> {
        type Target = V;

        fn deref(&self) -> &V {
            self.value.as_deref().expect("not dropped")
        }
    }

    impl<V> DerefMut for Guard<'_, V> {
        fn deref_mut(&mut self) -> &mut V {
            self.value.as_deref_mut().expect("not dropped")
        }
    }

    impl<V> Drop for Guard<'_, V> {
        fn drop(&mut self) {
            self.value = None;
            // A swap, for the order of writes; parking_lot has a compare-and-swap here.
            self.lock.is_held.swap(false, Ordering::Release);
        }
    }
}

pub(crate) use real::{AtomicBool, AtomicU64, Guard, Lock};
