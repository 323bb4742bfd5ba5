//! The keeper: a set's one thread that does what dispatchers and workers must not spend time on.
//! It starts workers and dismisses them, sends help to stuck shards, and lets delayed tasks go.

use std::sync::Arc;

use zio_core::task::Place;
use zio_core::{Route, Task};

use crate::engine::Engine;
use crate::id::Spot;
use crate::member::{Membership, Role};
use crate::park::{Attention, Left, RUN_TASKS};

/// At most one worker of a shard leaves in this time, and only one that nobody needed through all
/// of it (spec 5.3).
const DECAY_NS: u64 = 5_000_000_000;
/// A shard whose workers have taken no task for so long, though some wait, is stuck, and gets help
/// from its siblings. By eye: a hundred times what it takes to wake a thread, a thousandth of what
/// a human notices.
const STUCK_NS: u64 = 1_000_000;

/// What the keeper remembers of a shard in which tasks waited.
#[derive(Clone, Copy)]
struct Watch {
    /// Tasks that had left it by then.
    gone: u64,
    /// When to look again.
    look_ns: u64,
}

/// The keeper's life.
pub(crate) fn keep<T: Task>(engine: &Arc<Engine<T>>) {
    let mut watches = vec![None; engine.shards.len()];
    let mut decay_ns = None;
    loop {
        let now_ns = engine.clock.now_ns();
        let mut next_ns = None;
        for (index, watch) in watches.iter_mut().enumerate() {
            let asked = engine.shards[index].take_ask();
            if asked || watch.is_some_and(|watch: Watch| watch.look_ns <= now_ns) {
                *watch = attend(engine, index, *watch, now_ns);
            }
            next_ns = earlier(next_ns, watch.map(|watch| watch.look_ns));
        }
        decay(engine, now_ns, &mut decay_ns);
        next_ns = earlier(next_ns, decay_ns);
        next_ns = earlier(next_ns, engine.release(now_ns));
        if !engine.bell.wait(engine.clock.time_until(next_ns)) {
            break;
        }
    }
    // Nothing is pushed any more. What was has somebody to run it.
    for index in 0..engine.shards.len() {
        attend(engine, index, None, 0);
    }
}

/// The earlier of two moments that may never come.
fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// Dismisses who is not needed, when it is time. The first look after threads have come begins the
/// first period, so nobody leaves then.
fn decay<T: Task>(engine: &Arc<Engine<T>>, now_ns: u64, decay_ns: &mut Option<u64>) {
    let grown = engine.take_grown();
    let due = decay_ns.map_or(grown, |at| at <= now_ns);
    if !due {
        return;
    }
    let dynamic = engine.plan.shards.iter().zip(&engine.shards).filter(|(plan, _)| plan.dynamic);
    let more = dynamic.filter(|(_, shard)| shard.thin_out()).count() > 0;
    *decay_ns = more.then(|| now_ns.saturating_add(DECAY_NS));
}

/// Looks after a shard; returns when to look again.
fn attend<T: Task>(
    engine: &Arc<Engine<T>>,
    index: usize,
    watch: Option<Watch>,
    now_ns: u64,
) -> Option<Watch> {
    let (shard, plan) = (&engine.shards[index], &engine.plan.shards[index]);
    match shard.attend() {
        Attention::Nothing => None,
        Attention::Hire(slot) => {
            hire(engine, index, slot);
            while !plan.dynamic
                && let Some(slot) = shard.hire()
                && hire(engine, index, slot)
            {}
            None
        }
        Attention::Backlog { gone, waiting } => {
            let stuck = watch.is_some_and(|watch| watch.gone == gone && watch.look_ns <= now_ns);
            if stuck {
                shard.light();
            }
            if stuck || waiting as u64 >= RUN_TASKS {
                send_help(engine, index);
            }
            match watch {
                Some(watch) if watch.gone == gone && watch.look_ns > now_ns => Some(watch),
                _ => Some(Watch { gone, look_ns: now_ns.saturating_add(STUCK_NS) }),
            }
        }
    }
}

/// Wakes, or else hires, a worker of a sibling; that worker will find the shard that wants help.
fn send_help<T: Task>(engine: &Arc<Engine<T>>, index: usize) {
    for sibling in engine.siblings(index) {
        if engine.shards[sibling].lend() {
            return;
        }
        if let Some(slot) = engine.shards[sibling].hire() {
            hire(engine, sibling, slot);
            return;
        }
    }
}

/// Starts the thread of a hired worker. `false`: it cannot be had; if there is nobody else either,
/// the tasks have been run here.
fn hire<T: Task>(engine: &Arc<Engine<T>>, index: usize, slot: usize) -> bool {
    let (shard, plan) = (&engine.shards[index], &engine.plan.shards[index]);
    if engine.start_worker(index, slot) {
        return true;
    }
    if shard.unhire(slot) == Left::Nobody {
        let _membership = Membership::enter(engine.set, Role::Helper);
        let mut outcome = None;
        while let Some(task) =
            shard.take_as_guest(plan.keeper_seat(), outcome.take(), &engine.quiet)
        {
            outcome = Some(engine.run_as(plan, task));
        }
        engine.announce();
    }
    false
}

impl<T: Task> Engine<T> {
    /// Lets delayed tasks go that are due. Returns when the next one is.
    fn release(&self, now_ns: u64) -> Option<u64> {
        let mut work = false;
        let queue = |task: T, route: Route| {
            let route = Route { place: Place::Front, ..route };
            self.push(task, &route, || true).unwrap_or_else(|task| {
                let (number, first) = self.overflow.push(task);
                work |= first;
                Spot::Overflow(number)
            })
        };
        let next_ns = self.delayed.leave(now_ns, queue, |spot| self.is_finished(spot));
        if work {
            self.run_overflow();
        }
        next_ns
    }

    /// The end is near: lets all delayed tasks go now.
    pub(crate) fn bring_forward(&self) {
        self.release(u64::MAX);
    }
}
