//! The keeper's bell: whoever wants something rings, and does not wait.

use std::time::Duration;

use crate::sync::{Condvar, Mutex};

#[derive(Debug, Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    stop: bool,
    /// Only then is there anybody to wake.
    waiting: bool,
}

impl Bell {
    /// Wakes the keeper, now or when it next waits. Neither allocates nor waits for more than a
    /// short lock.
    pub(crate) fn ring(&self) {
        self.change(|state| state.rung = true);
    }

    /// The same, for the last time.
    pub(crate) fn stop(&self) {
        self.change(|state| state.stop = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let waiting = state.waiting;
        drop(state);
        if waiting {
            self.rung.notify_one();
        }
    }

    /// Waits until it is rung, or for so long, or a little shorter. `false`: the last time.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        let mut state = self.state.lock();
        if !state.rung && !state.stop && timeout != Some(Duration::ZERO) {
            state.waiting = true;
            state = self.rung.wait_for(state, timeout);
            state.waiting = false;
        }
        state.rung = false;
        !state.stop
    }
}
