//! A collection of finished zios: many in flight, one place to take them from.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::engine::{Context, Engine};
use crate::sync::{Mutex, Thread};
use crate::zio::{Finished, Sink};

#[derive(Default)]
struct State {
    ready: VecDeque<(u64, Finished)>,
    /// Sent off and not yet taken.
    outstanding: usize,
    waiters: SmallVec<[Thread; 1]>,
}

struct Inner {
    engine: Arc<Engine>,
    state: Mutex<State>,
}

/// Where finished zios are collected, each under the tag it was sent off with:
/// the interface for keeping a device busy from one thread. Nothing is
/// allocated per zio.
///
/// As with a ring, what is sent off goes to the device in small groups, and
/// all of it at the latest when [`Completions::next`] has to wait.
pub struct Completions(Arc<Inner>);

impl Completions {
    /// An empty collection for zios of `engine`.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self(Arc::new(Inner { engine, state: Mutex::new(State::default()) }))
    }

    /// Counts one more zio and returns where to send it.
    pub fn expect_one(&self) -> Arc<dyn Sink> {
        self.0.state.lock().outstanding += 1;
        Arc::clone(&self.0) as Arc<dyn Sink>
    }

    /// Hands what was sent off to the devices, without waiting for anything.
    pub fn submit(&self) {
        self.0.engine.submit();
    }

    /// Zios sent off and not yet taken.
    pub fn outstanding(&self) -> usize {
        self.0.state.lock().outstanding
    }

    /// The next finished zio with its tag, in order of completion. Waits for
    /// one, driving the devices on this thread; `None` when nothing is
    /// outstanding. Inside a completion, where waiting would wait for itself,
    /// `None` also when nothing is there yet.
    pub fn next(&self) -> Option<(u64, Finished)> {
        loop {
            if let Some(first) = self.try_next() {
                return Some(first);
            }
            if self.outstanding() == 0 || Context::is_executing() {
                return None;
            }
            self.0.engine.wait_until(|me| {
                let mut state = self.0.state.lock();
                let over = !state.ready.is_empty() || state.outstanding == 0;
                if !over && !state.waiters.iter().any(|waiter| waiter.id() == me.id()) {
                    state.waiters.push(me.clone());
                }
                over
            });
        }
    }

    /// The next finished zio, if one is there.
    pub fn try_next(&self) -> Option<(u64, Finished)> {
        let mut state = self.0.state.lock();
        let first = state.ready.pop_front()?;
        state.outstanding -= 1;
        Some(first)
    }
}

impl Sink for Inner {
    fn deliver(&self, tag: u64, finished: Finished) {
        let waiters = {
            let mut state = self.state.lock();
            state.ready.push_back((tag, finished));
            std::mem::take(&mut state.waiters)
        };
        for thread in waiters {
            self.engine.wake(&thread);
        }
    }
}

impl Drop for Completions {
    /// What was sent off goes on.
    fn drop(&mut self) {
        self.0.engine.submit();
    }
}

impl fmt::Debug for Completions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Completions({} outstanding)", self.outstanding())
    }
}
