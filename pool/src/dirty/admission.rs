//! A place in the line.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::line::{Inner, Place};
use super::sync::{self, Thread};
use super::throttle::Ticket;
use super::value::Dirty;

/// A request was not let in, and will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Its owner, or somebody else who had its ticket, did not want it any more.
    #[error("the request was cancelled before its turn came")]
    Cancelled,
    /// Nothing more is let in.
    #[error("no more dirty data is accepted")]
    Closed,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A place in the line, made by [`DirtyData::admit`](crate::dirty::DirtyData::admit): wait for it, await it, or look at it now and then. Dropped,
/// it is given up.
#[must_use = "nothing may be made dirty before this says so"]
pub struct Admission {
    inner: Arc<Inner>,
    ticket: Ticket,
    bytes: u64,
    /// Nothing is to be given back.
    over: bool,
}

impl Admission {
    pub(super) fn new(inner: Arc<Inner>, ticket: Ticket, bytes: u64) -> Self {
        Self { inner, ticket, bytes, over: false }
    }

    /// To [cancel](crate::dirty::DirtyData::cancel) it by, from elsewhere.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Blocks this thread until its turn has come. Not to be called where completions run: they make the room
    /// that it waits for.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn wait(mut self) -> Result<Dirty, Refused> {
        let waker = Waker::from(Arc::new(Unpark(sync::current())));
        loop {
            if let Some(result) = self.look(Some(&waker), true) {
                return result;
            }
            let inner = &self.inner;
            let until_ns = inner.state.lock().sleeps_until(self.ticket);
            match until_ns.map(|until_ns| until_ns.saturating_sub((inner.clock)())) {
                None => sync::park(),
                Some(0) => {}
                Some(ns) => sync::park_timeout(Duration::from_nanos(ns)),
            }
        }
    }

    /// What has become of it; `None` while it waits. Not to be called again after anything else.
    pub fn try_take(&mut self) -> Option<Result<Dirty, Refused>> {
        self.look(None, false)
    }

    fn look(&mut self, waker: Option<&Waker>, blocks: bool) -> Option<Result<Dirty, Refused>> {
        if self.over {
            return Some(Err(Refused::Cancelled));
        }
        let ticket = self.ticket;
        let (place, closed) = self.inner.change(|state, now_ns| {
            state.let_in(now_ns);
            (state.take_or_wait(ticket, waker, blocks), state.closed)
        });
        let result = match place? {
            Place::Admitted(txg) => Ok(Dirty::new(Arc::clone(&self.inner), txg, self.bytes)),
            _ if closed => Err(Refused::Closed),
            _ => Err(Refused::Cancelled),
        };
        self.over = true;
        Some(result)
    }
}

impl Future for Admission {
    type Output = Result<Dirty, Refused>;

    /// Ready as soon as somebody lets it in: a completion, a thread that waits, or
    /// [`DirtyData::turn`](crate::dirty::DirtyData::turn).
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.look(Some(cx.waker()), false).map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (ticket, bytes) = (self.ticket, self.bytes);
        self.inner.change(|state, now_ns| {
            state.refuse(ticket);
            if let Some(Place::Admitted(txg)) = state.places.remove(&ticket) {
                state.throttle.end(txg, bytes, now_ns);
            }
        });
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admission({} bytes, {:?})", self.bytes, self.ticket)
    }
}
