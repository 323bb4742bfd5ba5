//! One shard: a queue of tasks and the workers that sleep on it. The handshake between those who
//! dispatch and those who sleep is told in the README beside this file.

mod halves;
mod line;
mod roster;
mod shard;
mod tend;
mod work;

pub(crate) use shard::{Pushed, RUN_TASKS, Shard};
pub(crate) use tend::{Attention, Left};
pub(crate) use work::{Next, Quiet, Spin, Worker};

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Panicked,
}
