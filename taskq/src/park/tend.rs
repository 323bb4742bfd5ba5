//! The keeper's side of the handshake, and the siblings': who is hired, dismissed, sent to help.

use zio_core::Task;

use crate::park::halves::Gate;
use crate::park::shard::{RUN_TASKS, Shard};
use crate::sync::atomic::Ordering;

/// What the keeper is to do for a shard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Attention {
    Nothing,
    /// Start a thread in this slot.
    Hire(usize),
    /// All its workers are busy and tasks wait; so many have been taken so far.
    Backlog {
        gone: u64,
        waiting: usize,
    },
}

/// Who is left when a hired worker does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The tasks have no worker.
    Nobody,
    Others,
}

impl<T: Task> Shard<T> {
    /// Does the shard want help, as far as can be seen from afar?
    pub(crate) fn wants_help(&self) -> bool {
        let backlog = self.backlog();
        backlog >= RUN_TASKS || (backlog > 0 && self.exit.0.beacon.load(Ordering::Relaxed))
    }

    /// How many tasks wait, as far as can be seen from afar.
    pub(crate) fn backlog(&self) -> u64 {
        let gone = self.exit.0.gone.load(Ordering::Relaxed);
        self.door.0.came.load(Ordering::Relaxed).saturating_sub(gone)
    }

    /// Has the keeper been asked to look, since it last looked?
    pub(crate) fn take_ask(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::AcqRel)
    }

    /// The keeper looks. A worker it is told to hire counts as searching from now on.
    pub(crate) fn attend(&self) -> Attention {
        let outlet = self.outlet();
        let mut intake = self.intake();
        let waiting = outlet.waiting() + intake.waiting();
        let pressing = std::mem::take(&mut intake.pressing);
        let quiet = waiting == 0 && !(pressing && intake.gate == Gate::Open);
        if !quiet && !intake.roster.is_searched() && intake.roster.sleepers() == 0 {
            if let Some(slot) = intake.roster.hire() {
                intake.asked = false;
                return Attention::Hire(slot);
            }
            if self.has_siblings && waiting > 0 {
                // Still asked: the keeper comes back by itself.
                return Attention::Backlog { gone: outlet.gone(), waiting };
            }
        }
        intake.asked = false;
        if waiting == 0 {
            self.exit.0.beacon.store(false, Ordering::Relaxed);
        }
        Attention::Nothing
    }

    /// Hires, whether or not there is need, unless the gate is closing or nobody has room.
    pub(crate) fn hire(&self) -> Option<usize> {
        let mut intake = self.intake();
        if intake.gate == Gate::Open { intake.roster.hire() } else { None }
    }

    /// The hired one cannot come. While it counted as searching, nobody else was called; so if
    /// something waits now, somebody is.
    pub(crate) fn unhire(&self, slot: usize) -> Left {
        let outlet = self.outlet();
        let mut intake = self.intake();
        intake.roster.unhire(slot);
        let waiting = outlet.waiting() + intake.waiting();
        let called = if waiting > 0 { intake.roster.call() } else { None };
        let nobody = intake.roster.live() == 0;
        drop(intake);
        drop(outlet);
        self.wake(called);
        if nobody { Left::Nobody } else { Left::Others }
    }

    /// Has the keeper look after this shard.
    pub(crate) fn call_keeper(&self) {
        self.intake().asked = true;
        self.ask(true);
    }

    /// Lights the beacon: whoever has time is to come.
    pub(crate) fn light(&self) {
        self.exit.0.beacon.store(true, Ordering::Relaxed);
    }

    /// Wakes a sleeper to help elsewhere. `true` if there was one, or if somebody searches anyway.
    pub(crate) fn lend(&self) -> bool {
        let mut intake = self.intake();
        let searched = intake.roster.is_searched();
        let called = intake.roster.call();
        drop(intake);
        self.wake(called);
        searched || called.is_some()
    }

    /// Dismisses a worker that nobody has needed since the last call, if there is one. `true` if
    /// there may be more to dismiss later.
    pub(crate) fn thin_out(&self) -> bool {
        let mut intake = self.intake();
        let dismissed = if intake.gate == Gate::Open { intake.roster.dismiss() } else { None };
        let more = intake.roster.live() > 1;
        drop(intake);
        self.wake(dismissed);
        more
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zio_core::task::Place;

    use super::Attention;
    use crate::Job;
    use crate::park::{Next, Outcome, Quiet, Shard, Spin, Worker};

    fn push(shard: &Shard<Job>) {
        shard.push(Job::new(|| ()), Place::Back, || false);
    }

    /// Each task is gone before the keeper looks, so nothing ever waits.
    #[test]
    fn a_worker_that_gets_no_rest_gets_company_after_its_fifth_task() {
        let model = || {
            let (shard, quiet) = (Shard::new(2, 3, false, Arc::default()), Quiet::default());
            push(&shard);
            assert_eq!(shard.attend(), Attention::Hire(0));
            let mut worker = Worker::new(0, 0);
            let mut next = |outcome| {
                let next = shard.next(&mut worker, outcome, Spin(0), &quiet, || false);
                assert!(matches!(next, Next::Run(_)));
            };
            next(None);
            for _ in 2..=5 {
                push(&shard);
                assert!(shard.take_ask(), "all are busy");
                next(Some(Outcome::Done));
                assert_eq!(shard.attend(), Attention::Nothing, "nothing waits any more");
            }
            push(&shard);
            next(Some(Outcome::Done));
            assert_eq!(shard.attend(), Attention::Hire(1));
        };
        shuttle::check_random(model, 1);
    }
}
