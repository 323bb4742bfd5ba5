//! The clock that is handed down to the device queues: the system's, or a
//! simulated machine's.

use std::sync::Arc;
use std::time::Instant;

/// A source of nanoseconds that never go backwards.
#[derive(Clone)]
pub(crate) enum Clock {
    System(Instant),
    Given(Arc<dyn Fn() -> u64 + Send + Sync>),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::System(Instant::now())
    }

    pub(crate) fn now_ns(&self) -> u64 {
        match self {
            Self::System(start) => start.elapsed().as_nanos() as u64,
            Self::Given(now_ns) => now_ns(),
        }
    }
}
