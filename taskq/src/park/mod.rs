//! One shard: a queue of tasks and the workers that sleep on it. The handshake between those who
//! dispatch and those who sleep is told in the README beside this file.

mod roster;
mod shard;

pub(crate) use shard::{Outcome, Pushed, Shard, Spin};
