//! Tasks that are not due yet.

use std::collections::BTreeMap;

use zio_core::{Route, Task};

use crate::id::Spot;
use crate::sync::Mutex;

/// Tasks by the time they fall due. They leave for the front of their queue, those that fall due
/// together in the order in which they came.
pub(crate) struct Delayed<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    /// By due time in ns, then number.
    waiting: BTreeMap<(u64, u64), (T, Route)>,
    /// Where those went that have left: number and whatever the owner finds them by. Only those
    /// that may still be running are kept.
    left: Vec<(u64, Spot)>,
    came: u64,
    gone: u64,
    cancelled: u64,
    /// Nothing is delayed any more.
    closed: bool,
}

/// Where a delayed task is.
pub(crate) enum Whereabouts<T> {
    /// It was still here, and has been taken out.
    Here(T),
    /// It left for this place.
    Left(Spot),
    /// It has finished, or was taken out before.
    Nowhere,
}

/// Counters. They never decrease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DelayedCounts {
    pub(crate) came: u64,
    /// Those that left, cancelled ones among them.
    pub(crate) gone: u64,
    pub(crate) cancelled: u64,
}

impl<T: Task> Delayed<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: BTreeMap::new(),
                left: Vec::new(),
                came: 0,
                gone: 0,
                cancelled: 0,
                closed: false,
            }),
        }
    }

    /// Keeps a task until it is due; returns its number and whether it is the next to fall due.
    ///
    /// # Errors
    ///
    /// Gives the task back if nothing is delayed any more.
    pub(crate) fn add(&self, task: T, route: Route, due_ns: u64) -> Result<(u64, bool), T> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(task);
        }
        state.came += 1;
        let key = (due_ns, state.came);
        state.waiting.insert(key, (task, route));
        let next = state.waiting.first_key_value().is_some_and(|(first, _)| *first == key);
        Ok((state.came, next))
    }

    /// Gives to `queue` all tasks that are due, in the order of their numbers. `queue` returns where
    /// it put the task; `finished` tells whether what was put somewhere has ended. Returns when the
    /// next one is due.
    pub(crate) fn leave(
        &self,
        now_ns: u64,
        mut queue: impl FnMut(T, Route) -> Spot,
        finished: impl Fn(Spot) -> bool,
    ) -> Option<u64> {
        let mut state = self.state.lock();
        // All that fall due before `later` leave.
        let later = match now_ns.checked_add(1) {
            Some(moment) => state.waiting.split_off(&(moment, 0)),
            None => BTreeMap::new(),
        };
        let due = std::mem::replace(&mut state.waiting, later);
        if !due.is_empty() {
            state.left.retain(|&(_, spot)| !finished(spot));
            let mut due: Vec<_> =
                due.into_iter().map(|((_, number), (task, route))| (number, task, route)).collect();
            due.sort_unstable_by_key(|&(number, ..)| number);
            for (number, task, route) in due {
                let spot = queue(task, route);
                state.left.push((number, spot));
                state.gone += 1;
            }
        }
        state.waiting.first_key_value().map(|(&(due_ns, _), _)| due_ns)
    }

    /// From now on nothing is delayed.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
    }

    /// Takes a task out, if it is still here.
    pub(crate) fn take(&self, number: u64) -> Whereabouts<T> {
        let mut state = self.state.lock();
        let key = state.waiting.keys().find(|key| key.1 == number).copied();
        match key.and_then(|key| state.waiting.remove(&key)) {
            Some((task, _)) => {
                state.gone += 1;
                state.cancelled += 1;
                Whereabouts::Here(task)
            }
            None => state
                .left
                .iter()
                .find(|left| left.0 == number)
                .map_or(Whereabouts::Nowhere, |&(_, spot)| Whereabouts::Left(spot)),
        }
    }

    /// Have all tasks whose numbers `wanted` picks left and ended?
    pub(crate) fn all_finished(
        &self,
        wanted: impl Fn(u64) -> bool,
        finished: impl Fn(Spot) -> bool,
    ) -> bool {
        let state = self.state.lock();
        !state.waiting.keys().any(|&(_, number)| wanted(number))
            && state.left.iter().all(|&(number, spot)| !wanted(number) || finished(spot))
    }

    pub(crate) fn counts(&self) -> DelayedCounts {
        let state = self.state.lock();
        DelayedCounts { came: state.came, gone: state.gone, cancelled: state.cancelled }
    }
}
