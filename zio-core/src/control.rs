//! A hand on requests that are under way: take back what no device has yet, or change who
//! wants it (spec 1.17).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::Mutex;
use slab::Slab;

use crate::types::Priority;

/// Where an I/O of a controlled request waits: the queue of a device.
pub trait Holding: Send + Sync {
    /// Takes an I/O back and answers it with [`VdevErrorKind::Cancelled`](crate::VdevErrorKind),
    /// if it still waits.
    fn cancel(self: Arc<Self>, ticket: u64);

    /// Moves an I/O to the class, if it still waits.
    fn reprioritise(self: Arc<Self>, ticket: u64, priority: Priority);
}

/// No class was asked for.
const AS_IT_WAS: u8 = u8::MAX;

/// A hand on one request or many, given to them before they start.
///
/// Clones are the same hand.
#[derive(Clone, Default)]
pub struct Control(Arc<State>);

struct State {
    cancelled: AtomicBool,
    priority: AtomicU8,
    waiting: Mutex<Slab<(Arc<dyn Holding>, u64)>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            cancelled: AtomicBool::new(false),
            priority: AtomicU8::new(AS_IT_WAS),
            waiting: Mutex::default(),
        }
    }
}

impl Control {
    /// A hand on nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the requests: I/O that waits in a device's queue is taken back, none is started
    /// any more, and they end with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled). What a
    /// device has already is left to it, and may still succeed. There is no way back.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        self.each(|queue, ticket| queue.cancel(ticket));
    }

    /// Have they been cancelled?
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Changes the class of the requests, also of their I/O that waits in a queue. Each I/O gets the
    /// nearest class that fits it; one that is with its device is not affected.
    /// [`Priority::Now`] is nobody's class, and changes nothing.
    pub fn set_priority(&self, priority: Priority) {
        if priority == Priority::Now {
            return;
        }
        self.0.priority.store(priority as u8, Ordering::SeqCst);
        // What was said last, should somebody else say something else meanwhile.
        self.each(|queue, ticket| {
            queue.reprioritise(ticket, self.priority().unwrap_or(priority));
        });
    }

    /// The class asked for last.
    pub fn priority(&self) -> Option<Priority> {
        let number = self.0.priority.load(Ordering::SeqCst);
        Priority::ALL.into_iter().find(|priority| *priority as u8 == number)
    }

    /// An I/O is about to wait in a queue under this ticket. Whoever puts it there looks
    /// at [`is_cancelled`](Self::is_cancelled) and [`priority`](Self::priority) once more *after*
    /// it: what is said before the I/O is there does not find it.
    pub fn enter(&self, queue: Arc<dyn Holding>, ticket: u64) -> Entered {
        let key = self.0.waiting.lock().insert((queue, ticket));
        Entered { state: Arc::clone(&self.0), key }
    }

    /// Calls for each I/O that waits, without a lock.
    fn each(&self, act: impl Fn(Arc<dyn Holding>, u64)) {
        let waiting: Vec<_> =
            self.0.waiting.lock().iter().map(|(_, (queue, at))| (Arc::clone(queue), *at)).collect();
        for (queue, ticket) in waiting {
            act(queue, ticket);
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("cancelled", &self.is_cancelled())
            .field("priority", &self.priority())
            .field("waiting", &self.0.waiting.lock().len())
            .finish()
    }
}

/// An I/O is in the list of its control until this is dropped.
pub struct Entered {
    state: Arc<State>,
    key: usize,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.state.waiting.lock().remove(self.key);
    }
}
