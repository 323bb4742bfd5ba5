//! The requests of one class in order of arrival.

use std::collections::VecDeque;

/// A list sorted by id. Taking from the front is O(1), looking up and taking out of the middle
/// O(log n): what is taken from the middle leaves a mark behind, which goes when it comes to the
/// front or when marks outnumber requests.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// Never begins with a mark.
    entries: VecDeque<Arrival>,
    live: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) id: u64,
    pub(crate) arrived_ns: u64,
    /// `None`: a mark.
    slot: Option<u32>,
}

impl Arrivals {
    pub(crate) fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The oldest request: its slot and when it came.
    pub(crate) fn oldest(&self) -> Option<(u32, u64)> {
        let front = self.entries.front()?;
        Some((front.slot?, front.arrived_ns))
    }

    /// The slot of the request `id`, if it is here.
    pub(crate) fn find(&self, id: u64) -> Option<u32> {
        let index = self.search(id).ok()?;
        self.entries[index].slot
    }

    pub(crate) fn insert(&mut self, id: u64, arrived_ns: u64, slot: u32) {
        let arrival = Arrival { id, arrived_ns, slot: Some(slot) };
        self.live += 1;
        if self.entries.back().is_none_or(|last| last.id < id) {
            self.entries.push_back(arrival);
            return;
        }
        match self.search(id) {
            // It was here before and comes back.
            Ok(index) => self.entries[index] = arrival,
            Err(index) => self.entries.insert(index, arrival),
        }
    }

    pub(crate) fn remove(&mut self, id: u64) {
        if self.entries.front().is_some_and(|front| front.id == id) {
            self.entries.pop_front();
            self.live -= 1;
            while self.entries.front().is_some_and(|front| front.slot.is_none()) {
                self.entries.pop_front();
            }
        } else if let Ok(index) = self.search(id)
            && self.entries[index].slot.take().is_some()
        {
            self.live -= 1;
            if self.entries.len() > 2 * self.live + 64 {
                self.entries.retain(|arrival| arrival.slot.is_some());
            }
        }
    }

    /// Slots of all requests, oldest first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().filter_map(|arrival| arrival.slot)
    }

    /// Ids only grow, so an entry is at most as far behind the front as its id; exactly so far
    /// while all requests are of this class.
    fn search(&self, id: u64) -> Result<usize, usize> {
        let Some(front) = self.entries.front() else { return Err(0) };
        let Some(ahead) = id.checked_sub(front.id) else { return Err(0) };
        let guess = usize::try_from(ahead).unwrap_or(usize::MAX);
        if self.entries.get(guess).is_some_and(|arrival| arrival.id == id) {
            return Ok(guess);
        }
        self.entries.binary_search_by_key(&id, |arrival| arrival.id)
    }
}
