//! A request while it waits.

use crate::class::{Class, Order};
use crate::issue::Member;
use crate::request::{Id, Request};
use crate::sweep::Key;

#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) id: Id,
    pub(crate) request: Request,
    pub(crate) arrived_ns: u64,
    pub(crate) payload: T,
}

impl<T> Queued<T> {
    pub(crate) fn class(&self) -> Class {
        self.request.class()
    }

    pub(crate) fn into_member(self) -> Member<T> {
        let Self { id, request, arrived_ns, payload } = self;
        Member { id, request, enqueued_ns: arrived_ns, payload }
    }

    /// Where it stands in the sweep of its class; `None` in a class ordered by arrival.
    pub(crate) fn sweep_key(&self, batch_ns_log2: Option<u32>) -> Option<Key> {
        match self.class().order() {
            Order::Arrival => None,
            Order::Offset => Some(Key {
                batch: batch_ns_log2.map_or(0, |log2| self.arrived_ns >> log2),
                offset_bytes: self.request.offset_bytes(),
                id: self.id.0,
            }),
        }
    }
}
