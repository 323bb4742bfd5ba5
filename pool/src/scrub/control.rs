//! Pause, go on, cancel: from any thread, at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const RUN: u8 = 0;
const PAUSE: u8 = 1;
const CANCEL: u8 = 2;

/// What its owner wants of a scrub or a destroy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Run,
    Pause,
    Cancel,
}

/// A hand on a scrub or a [destroy](crate::destroy) that is running elsewhere. It is looked at between
/// blocks: what is under way when it is paused or cancelled is waited for.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<AtomicU8>);

impl Control {
    /// Nothing new is started. What is cancelled stays cancelled.
    pub fn pause(&self) {
        self.change(RUN, PAUSE);
    }

    /// What is paused may go on. Whoever ran it runs it again.
    pub fn resume(&self) {
        self.change(PAUSE, RUN);
    }

    /// Ends it early, for good. Its last checkpoint is good for another one.
    pub fn cancel(&self) {
        self.0.store(CANCEL, Ordering::Release);
    }

    pub(crate) fn wish(&self) -> Wish {
        match self.0.load(Ordering::Acquire) {
            RUN => Wish::Run,
            PAUSE => Wish::Pause,
            _ => Wish::Cancel,
        }
    }

    fn change(&self, from: u8, to: u8) {
        // Another wish than `from` is one that this change does not concern.
        _ = self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }
}
