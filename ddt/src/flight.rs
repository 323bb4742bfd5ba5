//! Writes in flight: the leader's token and who waits for it.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::key::Key;
use crate::phys::Copies;
use crate::table::Slot;

/// A write in flight.
pub(crate) struct Flight<W> {
    pub(crate) key: Key,
    pub(crate) slot: Slot,
    pub(crate) waiters: Waiters<W>,
}

/// The twins that joined a write in flight, in the order they came.
#[must_use = "these writes wait to be told how their leader fared"]
pub struct Waiters<W>(SmallVec<[W; 2]>);

impl<W> Waiters<W> {
    pub(crate) fn new() -> Self {
        Self(SmallVec::new())
    }

    pub(crate) fn push(&mut self, waiter: W) {
        self.0.push(waiter);
    }

    /// How many waited.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody waited.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<W> IntoIterator for Waiters<W> {
    type Item = W;
    type IntoIter = WaitersIter<W>;

    fn into_iter(self) -> WaitersIter<W> {
        WaitersIter(self.0.into_iter())
    }
}

/// Hands out [`Waiters`] one by one.
pub struct WaitersIter<W>(smallvec::IntoIter<[W; 2]>);

impl<W> Iterator for WaitersIter<W> {
    type Item = W;

    fn next(&mut self) -> Option<W> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<W: fmt::Debug> fmt::Debug for Waiters<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<W: fmt::Debug> fmt::Debug for WaitersIter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitersIter").field(&self.0.as_slice()).finish()
    }
}

/// The duty to write a block, and the right to say how that went.
///
/// There is one token for each write in flight, it cannot be copied, and exactly one call of
/// `complete` or `fail` takes it. A token that is dropped, say by a panic on its way, counts as a
/// failure: the next writer of the block leads anew, and the twins that waited are found in
/// `take_orphans`.
#[must_use = "the block is to be written, and the table told of it by `complete` or `fail`"]
pub struct LeadToken {
    key: Key,
    copies: Copies,
    flight: u32,
    armed: bool,
    home: Arc<Abandoned>,
}

impl LeadToken {
    pub(crate) fn new(key: Key, copies: Copies, flight: u32, home: &Arc<Abandoned>) -> Self {
        Self { key, copies, flight, armed: true, home: Arc::clone(home) }
    }

    /// What is to be written.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The number of copies asked for.
    pub fn copies(&self) -> Copies {
        self.copies
    }

    pub(crate) fn is_of(&self, home: &Arc<Abandoned>) -> bool {
        Arc::ptr_eq(&self.home, home)
    }

    /// Ends the token's life; the flight's number is the caller's now.
    pub(crate) fn spend(mut self) -> u32 {
        self.armed = false;
        self.flight
    }
}

impl Drop for LeadToken {
    fn drop(&mut self) {
        if self.armed {
            self.home.report(self.flight);
        }
    }
}

impl fmt::Debug for LeadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeadToken")
            .field("key", &self.key)
            .field("copies", &self.copies)
            .finish_non_exhaustive()
    }
}

/// The duty to write [extra copies](crate::Table::lead_ditto) of a block, and the right to say how
/// that went. As a [`LeadToken`], and it counts as a failure when dropped.
#[must_use = "the copies are to be written, and the table told of it by `complete_ditto` or `fail_ditto`"]
#[derive(Debug)]
pub struct DittoToken(pub(crate) LeadToken);

impl DittoToken {
    /// What is to be written.
    pub fn key(&self) -> &Key {
        self.0.key()
    }

    /// The number of copies that are to be written.
    pub fn copies(&self) -> Copies {
        self.0.copies()
    }
}

/// A token that belongs to another table. It is handed back unspent.
#[derive(Debug, thiserror::Error)]
#[error("token for {:x?} belongs to another table", token.key().checksum())]
pub struct ForeignToken {
    /// The token.
    pub token: LeadToken,
}

/// Flights whose tokens were dropped: the one thing a token shares with its table.
#[derive(Default)]
pub(crate) struct Abandoned {
    any: AtomicBool,
    flights: Mutex<Vec<u32>>,
}

impl Abandoned {
    fn report(&self, flight: u32) {
        self.flights.lock().push(flight);
        // Pairs with the load in `take`: who sees the flag finds the flight.
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn take(&self) -> Vec<u32> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut flights = self.flights.lock();
        self.any.store(false, Ordering::Relaxed);
        mem::take(&mut flights)
    }
}
