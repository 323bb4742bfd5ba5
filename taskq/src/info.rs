//! Who works here.

use zio_core::{QueueKind, ZioType};

use crate::config::Lane;

/// One worker thread ([`Taskq::workers`](crate::Taskq::workers)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its name, as the operating system shows it.
    pub thread: String,
    /// The queue it serves.
    pub queue: String,
    /// Row of the table it says it works for.
    pub ty: ZioType,
    /// Column of the table it says it works for.
    pub kind: QueueKind,
    /// How strong it was to be.
    pub lane: Lane,
    /// The niceness it has, from −20 (strong) to 19 (weak); `None` where the system knows none by
    /// thread, or would not tell.
    pub nice: Option<i32>,
}
