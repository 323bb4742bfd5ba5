//! The two halves of a queue, each of which lives under its own lock.

use zio_core::Task;
use zio_core::task::Place;

use crate::id::Number;
use crate::list::Stack;
use crate::park::Outcome;
use crate::park::line::Line;
use crate::park::roster::Roster;

/// Who may still add tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Everybody.
    Open,
    /// Only the workers: what is queued is being finished, with all that follows from it.
    WorkersOnly,
    /// Nobody. The workers leave when the queue is empty.
    Shut,
}

/// The half that dispatchers lock. The newest task is on top.
pub(super) struct Intake<T: Task> {
    pub(super) front: Stack<T>,
    pub(super) back: Stack<T>,
    pub(super) front_came: u64,
    pub(super) back_came: u64,
    pub(super) gate: Gate,
    /// The keeper has been asked to look, and has not yet.
    pub(super) asked: bool,
    /// A worker found no end of work: the keeper is to hire, though nothing may wait just now.
    pub(super) pressing: bool,
    pub(super) roster: Roster,
}

impl<T: Task> Intake<T> {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            front: Stack::new(),
            back: Stack::new(),
            front_came: 0,
            back_came: 0,
            gate: Gate::Open,
            asked: false,
            pressing: false,
            roster: Roster::new(slots),
        }
    }

    pub(super) fn push(&mut self, task: T, place: Place) -> Number {
        let (stack, came) = match place {
            Place::Front => (&mut self.front, &mut self.front_came),
            Place::Back => (&mut self.back, &mut self.back_came),
        };
        stack.push(task);
        *came += 1;
        Number { place, number: *came }
    }

    pub(super) const fn waiting(&self) -> usize {
        self.front.len() + self.back.len()
    }

    pub(super) const fn came(&self) -> u64 {
        self.front_came + self.back_came
    }
}

/// Everything that had come to a shard at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(super) front: u64,
    pub(super) back: u64,
}

/// The half that workers lock. The oldest task is on top.
pub(super) struct Outlet<T: Task> {
    pub(super) front: Line<T>,
    pub(super) back: Line<T>,
    /// By seat, what each worker of the queue runs for this shard.
    running: Box<[Option<Number>]>,
    pub(super) counts: OutletCounts,
}

/// What has come. Never decreases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntakeCounts {
    pub(crate) dispatched: u64,
    pub(crate) sleeps: u64,
    pub(crate) wakes: u64,
    /// Threads that have not been told to leave. (This one does decrease.)
    pub(crate) live: usize,
}

/// What has gone. Never decreases.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OutletCounts {
    /// Tasks that have run.
    pub(crate) finished: u64,
    /// Those of them that panicked.
    pub(crate) panics: u64,
    /// Tasks that were taken back.
    pub(crate) cancelled: u64,
    /// Tasks that workers of other shards have begun.
    pub(crate) stolen: u64,
}

impl<T: Task> Outlet<T> {
    pub(super) fn new(seats: usize) -> Self {
        Self {
            front: Line::new(),
            back: Line::new(),
            running: vec![None; seats].into_boxed_slice(),
            counts: OutletCounts::default(),
        }
    }

    pub(super) fn line(&mut self, place: Place) -> &mut Line<T> {
        match place {
            Place::Front => &mut self.front,
            Place::Back => &mut self.back,
        }
    }

    /// The oldest task of a line, which the worker in `seat` is going to run.
    pub(super) fn take(&mut self, place: Place, seat: usize) -> Option<T> {
        let (task, number) = self.line(place).take()?;
        self.running[seat] = Some(Number { place, number });
        Some(task)
    }

    /// The worker in `seat` has run its task.
    pub(super) fn settle(&mut self, seat: usize, outcome: Outcome) {
        self.running[seat] = None;
        self.counts.finished += 1;
        self.counts.panics += u64::from(outcome == Outcome::Panicked);
    }

    pub(super) const fn waiting(&self) -> usize {
        self.front.len() + self.back.len()
    }

    /// How many tasks have left the queue, in whatever way.
    pub(super) const fn gone(&self) -> u64 {
        self.front.gone() + self.back.gone()
    }

    pub(super) fn is_running(&self, number: Number) -> bool {
        self.running.contains(&Some(number))
    }

    /// Has everything up to the mark run, or been taken back?
    pub(super) fn is_past(&self, mark: Mark) -> bool {
        let upto = |place| match place {
            Place::Front => mark.front,
            Place::Back => mark.back,
        };
        self.front.gone() >= mark.front
            && self.back.gone() >= mark.back
            && self.running.iter().flatten().all(|task| task.number > upto(task.place))
    }
}
