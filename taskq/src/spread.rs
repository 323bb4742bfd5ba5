//! Which of several shards a task goes to.

use std::cell::Cell;

use crate::sync::thread_local;

thread_local! {
    static TURN: Cell<u32> = const { Cell::new(0) };
}

/// Equal affinities meet on one shard. Affinity 0 is none: each thread deals its tasks out in
/// turn, so that one slow task delays few of those that follow it, and no state is shared.
pub(crate) fn pick(shards: usize, affinity: u32) -> usize {
    if shards == 1 {
        return 0;
    }
    let number = if affinity != 0 {
        affinity
    } else {
        TURN.try_with(|turn| turn.replace(turn.get().wrapping_add(1))).unwrap_or(0)
    };
    number as usize % shards
}
