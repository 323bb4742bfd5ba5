//! Who is there, who sleeps, who looks for work, whom to wake: the decisions of park/wake, without
//! any waiting.

/// Where a shard's workers are, as far as the others need to know.
///
/// A worker is *asleep*, or *searching* (it was hired or woken, or spins, and has not found a task
/// yet), or neither, which means that it runs a task, is between two, or helps another shard. The
/// rule (kept by the callers, under the lock this lives in): **if a task waits and somebody sleeps,
/// somebody is searching.**
pub(crate) struct Roster {
    /// Slots of sleeping workers, the last to fall asleep on top: its cache is the warmest.
    asleep: Vec<usize>,
    /// By slot: has been told to get up, and has not noticed yet.
    called: Box<[Option<Call>]>,
    /// Slots without a thread. The lowest is filled first, so the first worker has slot 0.
    vacant: Vec<usize>,
    /// Threads that have not been told to leave.
    live: usize,
    searching: usize,
    /// The fewest that slept at the same time since the last look: so many nobody needed.
    surplus: usize,
    sleeps: u64,
    wakes: u64,
}

/// Why a sleeper is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// To look for work. It is searching.
    Search,
    /// To leave: it is not needed.
    Leave,
}

impl Roster {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            asleep: Vec::with_capacity(slots),
            called: vec![None; slots].into_boxed_slice(),
            vacant: (0..slots).rev().collect(),
            live: 0,
            searching: 0,
            surplus: 0,
            sleeps: 0,
            wakes: 0,
        }
    }

    /// A new worker's slot, if there is room for one. It is searching.
    pub(crate) fn hire(&mut self) -> Option<usize> {
        let slot = self.vacant.pop()?;
        self.live += 1;
        self.searching += 1;
        self.surplus = 0;
        Some(slot)
    }

    /// The hired one cannot come.
    pub(crate) fn unhire(&mut self, slot: usize) {
        self.found();
        self.live -= 1;
        self.vacate(slot);
    }

    /// The sleeper to dismiss, if through all the time since the last call there was one that
    /// nobody needed. Of several, the one that has slept longest. The first worker stays.
    #[must_use]
    pub(crate) fn dismiss(&mut self) -> Option<usize> {
        let surplus = std::mem::replace(&mut self.surplus, self.asleep.len());
        if surplus == 0 {
            return None;
        }
        let place = self.asleep.iter().position(|&slot| slot != 0)?;
        let slot = self.asleep.remove(place);
        self.called[slot] = Some(Call::Leave);
        self.live -= 1;
        self.surplus -= 1;
        Some(slot)
    }

    /// A worker is gone; `dismissed` tells whether it was told to go.
    pub(crate) fn leave(&mut self, slot: usize, dismissed: bool) {
        self.live -= usize::from(!dismissed);
        self.vacate(slot);
    }

    fn vacate(&mut self, slot: usize) {
        let place = self.vacant.partition_point(|&other| other > slot);
        self.vacant.insert(place, slot);
    }

    /// There is a task: the sleeper to wake, unless somebody is looking already.
    #[must_use]
    pub(crate) fn call(&mut self) -> Option<usize> {
        if self.searching > 0 { None } else { self.call_any() }
    }

    /// A sleeper to wake, come what may.
    #[must_use]
    pub(crate) fn call_any(&mut self) -> Option<usize> {
        let slot = self.asleep.pop()?;
        self.called[slot] = Some(Call::Search);
        self.searching += 1;
        self.surplus = self.surplus.min(self.asleep.len());
        self.wakes += 1;
        Some(slot)
    }

    pub(crate) fn search(&mut self) {
        self.searching += 1;
    }

    /// A searcher stops searching: it has a task, or it leaves, or it will sleep.
    pub(crate) fn found(&mut self) {
        self.searching -= 1;
    }

    pub(crate) fn sleep(&mut self, slot: usize) {
        self.asleep.push(slot);
        self.sleeps += 1;
    }

    /// Asked by the sleeper itself; answered once per call.
    pub(crate) fn was_called(&mut self, slot: usize) -> Option<Call> {
        self.called[slot].take()
    }

    /// Could there be one more?
    pub(crate) fn has_room(&self) -> bool {
        !self.vacant.is_empty()
    }

    pub(crate) const fn live(&self) -> usize {
        self.live
    }

    pub(crate) const fn is_searched(&self) -> bool {
        self.searching > 0
    }

    pub(crate) const fn sleepers(&self) -> usize {
        self.asleep.len()
    }

    pub(crate) const fn sleeps(&self) -> u64 {
        self.sleeps
    }

    pub(crate) const fn wakes(&self) -> u64 {
        self.wakes
    }
}

#[cfg(test)]
mod tests {
    use super::{Call, Roster};

    fn full(slots: usize) -> Roster {
        let mut roster = Roster::new(slots);
        for slot in 0..slots {
            assert_eq!(roster.hire(), Some(slot));
            roster.found();
        }
        assert_eq!((roster.hire(), roster.live()), (None, slots));
        roster
    }

    #[test]
    fn one_search_at_a_time_and_the_last_to_sleep_wakes_first() {
        let mut roster = full(3);
        assert_eq!(roster.call(), None, "nobody sleeps");
        for slot in [2, 0, 1] {
            roster.sleep(slot);
        }
        assert_eq!(roster.call(), Some(1));
        assert_eq!(roster.call(), None, "one is on its way");
        assert_eq!(roster.was_called(1), Some(Call::Search));
        assert_eq!((roster.was_called(1), roster.was_called(0)), (None, None));
        assert_eq!(roster.call(), None, "it is up and looking");
        roster.found();
        assert_eq!(roster.call(), Some(0));
        assert_eq!(roster.call_any(), Some(2), "shutdown calls all");
        assert_eq!((roster.sleeps(), roster.wakes()), (3, 3));
    }

    #[test]
    fn one_leaves_at_a_time_and_only_who_was_not_needed_all_along() {
        let mut roster = full(4);
        assert_eq!(roster.dismiss(), None, "all are busy");
        for slot in [0, 3, 1] {
            roster.sleep(slot);
        }
        assert_eq!(roster.dismiss(), None, "they have not slept through");
        assert_eq!(roster.call(), Some(1));
        roster.found();
        roster.sleep(1);
        assert_eq!(roster.dismiss(), Some(3), "two slept through; the first stays");
        assert_eq!(roster.was_called(3), Some(Call::Leave));
        assert_eq!(roster.live(), 3);
        assert_eq!(roster.dismiss(), Some(1));
        assert_eq!(roster.dismiss(), None, "only the first is left asleep");
        roster.leave(3, true);
        roster.leave(1, true);
        assert_eq!((roster.hire(), roster.live()), (Some(1), 3), "the lowest slot first");
        roster.unhire(1);
        assert_eq!((roster.hire(), roster.hire()), (Some(1), Some(3)));
    }
}
