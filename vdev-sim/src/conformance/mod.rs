//! Conformance suites: what every implementor of a border must do, checked
//! through the border alone. Each suite takes a closure that makes a fresh
//! implementor, and runs each of its checks against a fresh one.
//!
//! | border | panics | returns |
//! |---|---|---|
//! | [`Vdev`](zio_core::Vdev) | [`run`] | [`check`] |
//! | [`TaskQueue`](zio_core::TaskQueue) | [`task_queue`] | [`check_task_queue`] |
//! | [`Allocator`](zio_core::Allocator) | [`allocator`] | [`check_allocator`] |
//!
//! ```
//! use vdev_sim::conformance::{self, Fixture};
//! use vdev_sim::{DiskConfig, Machine};
//!
//! conformance::run(|| Fixture::new(Machine::new(1).disk(DiskConfig::nvme(64 << 20))));
//! ```

mod allocator;
mod content;
mod refusal;
mod task_queue;
mod traffic;
mod vdev;

pub use allocator::{AllocatorFixture, allocator, check_allocator};
pub use task_queue::{Job, QueueFixture, check_task_queue, task_queue};
pub use vdev::{Fixture, check, run};

/// An implementor does not keep its contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{suite} conformance, check \"{check}\": {what}")]
pub struct Violation {
    /// The trait.
    pub suite: &'static str,
    /// The check that failed.
    pub check: &'static str,
    /// What was seen, and what should have been.
    pub what: String,
}

/// One check of a suite: its name, and what it does to a fixture.
type Check<F> = (&'static str, fn(F) -> Result<(), String>);

/// Runs all checks, each on a fresh fixture, up to the first violation.
fn run_checks<F>(
    suite: &'static str,
    checks: &[Check<F>],
    make: impl Fn() -> F,
) -> Result<(), Violation> {
    for (check, body) in checks {
        body(make()).map_err(|what| Violation { suite, check, what })?;
    }
    Ok(())
}

/// `Err` with these words unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+));
        }
    };
}
use ensure;
