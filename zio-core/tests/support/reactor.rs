//! A reactor over channels: a thread plays the device, a turn takes its answers.

use std::collections::VecDeque;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{JoinHandle, ThreadId};

use zio_core::{Reactor, Token, VdevDone, Wait};

/// I/O started while answers are handled goes out in groups of this size, as a
/// ring does it; what is left over waits for the next turn or submit.
const GROUP: usize = 4;

#[derive(Default)]
struct State {
    started: Vec<Token>,
    answers: VecDeque<Token>,
    woken: bool,
    in_flight: usize,
}

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

/// The reactor, which is its own device.
pub(crate) struct Channel {
    shared: Arc<Shared>,
    device: Mutex<Option<Sender<Token>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    turner: Mutex<Option<ThreadId>>,
}

impl Channel {
    pub(crate) fn new() -> Arc<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), arrived: Condvar::new() });
        let (device, started) = channel::<Token>();
        let answers = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for token in started {
                answers.state.lock().unwrap().answers.push_back(token);
                answers.arrived.notify_all();
            }
        });
        Arc::new(Self {
            shared,
            device: Mutex::new(Some(device)),
            thread: Mutex::new(Some(thread)),
            turner: Mutex::default(),
        })
    }

    /// Starts an I/O.
    pub(crate) fn start(&self, token: Token) {
        let full = {
            let mut state = self.shared.state.lock().unwrap();
            state.in_flight += 1;
            state.started.push(token);
            state.started.len() >= GROUP
        };
        if full {
            self.submit();
        }
    }
}

impl Channel {
    /// Who is inside a turn?
    pub(crate) fn turner(&self) -> Option<ThreadId> {
        *self.turner.lock().unwrap()
    }

    /// I/Os started and not yet with the device.
    pub(crate) fn unsubmitted(&self) -> usize {
        self.shared.state.lock().unwrap().started.len()
    }
}

impl Reactor for Channel {
    fn turn(&self, wait: Wait) -> usize {
        let before = self.turner.lock().unwrap().replace(std::thread::current().id());
        assert_eq!(before, None, "two threads turn one reactor");
        self.submit();
        let answers = {
            let mut state = self.shared.state.lock().unwrap();
            while wait == Wait::Block && state.answers.is_empty() && !state.woken {
                state = self.shared.arrived.wait(state).unwrap();
            }
            if wait == Wait::Block {
                state.woken = false;
            }
            std::mem::take(&mut state.answers)
        };
        let count = answers.len();
        for token in answers {
            self.shared.state.lock().unwrap().in_flight -= 1;
            token.finish(VdevDone { op: None, result: Ok(()) });
        }
        *self.turner.lock().unwrap() = None;
        count
    }

    fn submit(&self) {
        let device = self.device.lock().unwrap();
        let started = std::mem::take(&mut self.shared.state.lock().unwrap().started);
        for token in started {
            device.as_ref().expect("an I/O after the end").send(token).unwrap();
        }
    }

    fn wake(&self) {
        self.shared.state.lock().unwrap().woken = true;
        self.shared.arrived.notify_all();
    }

    fn in_flight(&self) -> usize {
        self.shared.state.lock().unwrap().in_flight
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.device.lock().unwrap().take();
        if let Some(thread) = self.thread.lock().unwrap().take() {
            thread.join().unwrap();
        }
    }
}
