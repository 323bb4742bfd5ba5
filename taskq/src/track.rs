//! Waiting for tasks, taking them back, delaying them.

use std::sync::Arc;
use std::time::Duration;

use zio_core::task::Place;
use zio_core::{Route, Task};

use crate::clock::nanos;
use crate::delayed::Whereabouts;
use crate::engine::Engine;
use crate::id::{Cancel, Spot};
use crate::member;

impl<T: Task> Engine<T> {
    pub(crate) fn dispatch_after(self: &Arc<Self>, task: T, route: Route, delay: Duration) -> Spot {
        let due_ns = self.clock.now_ns().saturating_add(nanos(delay));
        match self.delayed.add(task, route, due_ns) {
            Ok((number, next)) => {
                if next {
                    self.bell.ring();
                }
                Spot::Delayed(number)
            }
            Err(task) => self.dispatch(task, &Route { place: Place::Front, ..route }),
        }
    }

    /// Has this task run, or been taken back?
    pub(crate) fn is_finished(&self, spot: Spot) -> bool {
        match spot {
            Spot::Shard { index, number } => self.shards[index].is_finished(number),
            Spot::Overflow(number) => self.overflow.counts().finished >= number,
            Spot::Delayed(number) => {
                self.delayed.all_finished(|other| other == number, |spot| self.is_finished(spot))
            }
        }
    }

    pub(crate) fn cancel(&self, spot: Spot) -> Cancel<T> {
        let cancelled = match spot {
            Spot::Shard { index, number } => self.shards[index].cancel(number),
            // Whoever runs the overflow is about to.
            Spot::Overflow(_) if !self.is_finished(spot) => Cancel::Running,
            Spot::Overflow(_) => Cancel::Finished,
            Spot::Delayed(number) => match self.delayed.take(number) {
                Whereabouts::Here(task) => Cancel::Pending(task),
                Whereabouts::Left(spot) => return self.cancel(spot),
                Whereabouts::Nowhere => Cancel::Finished,
            },
        };
        if matches!(cancelled, Cancel::Pending(_)) {
            self.announce();
        }
        cancelled
    }

    pub(crate) fn wait_for(&self, spot: Spot) -> bool {
        if member::role_in(self.set).is_none() {
            self.quiet.progress.wait_until(|| self.is_finished(spot));
            return true;
        }
        self.is_finished(spot)
    }

    pub(crate) fn wait_idle(&self) {
        if member::role_in(self.set).is_none() {
            self.quiet.idle.wait_until(|| self.is_idle());
        }
    }

    pub(crate) fn wait_outstanding(&self) {
        if member::role_in(self.set).is_some() {
            return;
        }
        // First those that may move on to where the others are.
        let delayed = self.delayed.counts().came;
        let marks: Vec<_> = self.shards.iter().map(|shard| (shard, shard.mark())).collect();
        let overflow = self.overflow.counts().dispatched;
        self.quiet.progress.wait_until(|| {
            self.delayed.all_finished(|number| number <= delayed, |spot| self.is_finished(spot))
                && marks.iter().all(|(shard, mark)| shard.is_past(*mark))
                && self.overflow.counts().finished >= overflow
        });
    }
}
