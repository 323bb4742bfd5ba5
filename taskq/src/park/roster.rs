//! Who sleeps, who looks for work, whom to wake: the decisions of park/wake, without any waiting.

/// Where a shard's workers are, as far as the others need to know.
///
/// A worker is *asleep*, or *searching* (it was woken, or spins, and has not found a task yet), or
/// neither, which means that it runs a task or is between two. The rule (kept by the callers,
/// under the lock this lives in): **if a task waits and somebody sleeps, somebody is searching.**
pub(crate) struct Roster {
    /// Slots of sleeping workers, the last to fall asleep on top: its cache is the warmest.
    asleep: Vec<usize>,
    /// By slot: has been told to get up, and has not noticed yet.
    called: Box<[bool]>,
    searching: usize,
    sleeps: u64,
    wakes: u64,
}

impl Roster {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            asleep: Vec::with_capacity(workers),
            called: vec![false; workers].into_boxed_slice(),
            searching: 0,
            sleeps: 0,
            wakes: 0,
        }
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
        self.called[slot] = true;
        self.searching += 1;
        self.wakes += 1;
        Some(slot)
    }

    pub(crate) fn search(&mut self) {
        self.searching += 1;
    }

    /// A searcher stops searching: it has a task, or it leaves.
    pub(crate) fn found(&mut self) {
        self.searching -= 1;
    }

    pub(crate) fn sleep(&mut self, slot: usize) {
        self.asleep.push(slot);
        self.sleeps += 1;
    }

    /// Asked by the sleeper itself; `true` once per call. It is searching then.
    pub(crate) fn was_called(&mut self, slot: usize) -> bool {
        std::mem::take(&mut self.called[slot])
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
    use super::Roster;

    #[test]
    fn one_search_at_a_time_and_the_last_to_sleep_wakes_first() {
        let mut roster = Roster::new(3);
        assert_eq!(roster.call(), None, "nobody sleeps");
        for slot in [2, 0, 1] {
            roster.sleep(slot);
        }
        assert_eq!(roster.call(), Some(1));
        assert_eq!(roster.call(), None, "one is on its way");
        assert!(roster.was_called(1) && !roster.was_called(1) && !roster.was_called(0));
        assert_eq!(roster.call(), None, "it is up and looking");
        roster.found();
        assert_eq!(roster.call(), Some(0));
        assert_eq!(roster.call_any(), Some(2), "shutdown calls all");
        assert_eq!((roster.sleeps(), roster.wakes()), (3, 3));
    }
}
