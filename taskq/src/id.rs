//! What a caller keeps of a task it may want to wait for or to take back.

use zio_core::task::Place;

/// One dispatched task of one set of queues: what [`Taskq::wait_for`](crate::Taskq::wait_for) and
/// [`Taskq::cancel`](crate::Taskq::cancel) take. It is two numbers, not a claim on anything; a set
/// other than the one that gave it makes no sense of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskId(pub(crate) Spot);

/// Where a task was put. Numbers count from 1 and grow with each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Spot {
    /// So many tasks have come to this place of this shard.
    Shard { index: usize, number: Number },
    /// So many tasks have come to the overflow.
    Overflow(u64),
    /// So many tasks have been delayed.
    Delayed(u64),
}

/// A task's number in one of the two lines of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Number {
    pub(crate) place: Place,
    pub(crate) number: u64,
}

/// What became of an attempt to take a task back.
#[derive(Debug, PartialEq, Eq)]
pub enum Cancel<T> {
    /// It had not begun, and never will. Here it is.
    Pending(T),
    /// Too late: it is running, or about to, and will end by itself
    /// ([`Taskq::wait_for`](crate::Taskq::wait_for) waits for that).
    Running,
    /// Too late: it has run. Or it was cancelled before.
    Finished,
}
