//! A set of queues without threads, for tests: the caller's thread runs the tasks, when told to.

use std::collections::VecDeque;

use zio_core::task::Place;
use zio_core::{QueueKind, Route, Task, TaskQueue, ZioType};

use crate::config::Lane;
use crate::member::{self, Membership, Role, SetId};
use crate::sync::Mutex;

/// Tasks wait until [`Self::step`] or [`Self::run_until_idle`] runs them on the calling thread:
/// front tasks first, each of the two kinds in the order of dispatch, whatever their type and
/// kind. While a task runs, `on_worker` names the queue it was dispatched to.
///
/// A panic in a task goes to the caller: in a test it is the message.
///
/// ```
/// use std::sync::mpsc;
/// use taskq::{Inline, Job};
/// use zio_core::{QueueKind, Route, TaskQueue, ZioType};
///
/// let queue = Inline::new();
/// let (sender, receiver) = mpsc::channel();
/// for (route, name) in [
///     (Route::back(ZioType::Read, QueueKind::Issue), "second"),
///     (Route::front(ZioType::Read, QueueKind::Issue), "first"),
/// ] {
///     let sender = sender.clone();
///     queue.dispatch(Job::new(move || sender.send(name).unwrap()), route);
/// }
/// assert_eq!(receiver.try_recv(), Err(mpsc::TryRecvError::Empty));
/// assert_eq!(queue.run_until_idle(), 2);
/// assert_eq!((receiver.recv(), receiver.recv()), (Ok("first"), Ok("second")));
/// ```
pub struct Inline<T> {
    set: SetId,
    state: Mutex<State<T>>,
}

struct State<T> {
    front: VecDeque<(T, Route)>,
    back: VecDeque<(T, Route)>,
    shut: bool,
}

impl<T: Task> Inline<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            set: SetId::fresh(),
            state: Mutex::new(State { front: VecDeque::new(), back: VecDeque::new(), shut: false }),
        }
    }

    /// Runs the next task. `false` if there is none.
    pub fn step(&self) -> bool {
        let next = {
            let mut state = self.state.lock();
            state.front.pop_front().or_else(|| state.back.pop_front())
        };
        let Some((task, route)) = next else { return false };
        let lane = if route.class.is_background() { Lane::Background } else { Lane::Normal };
        let _membership = Membership::enter(self.set, Role::Worker(route.ty, route.kind, lane));
        task.run();
        true
    }

    /// Runs tasks, those they dispatch too, until none is left. Returns how many it ran.
    pub fn run_until_idle(&self) -> usize {
        let mut count = 0;
        while self.step() {
            count += 1;
        }
        count
    }

    /// The lane of the running task, if one runs on this thread.
    pub fn lane(&self) -> Option<Lane> {
        member::lane_in(self.set)
    }

    /// Number of waiting tasks.
    pub fn len(&self) -> usize {
        let state = self.state.lock();
        state.front.len() + state.back.len()
    }

    /// Is no task waiting?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Task> Default for Inline<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Task> TaskQueue<T> for Inline<T> {
    /// Queues the task. After shutdown it is run here, unless a task is running on this thread,
    /// which then also runs this one when it has ended.
    fn dispatch(&self, task: T, route: Route) {
        let shut = {
            let mut state = self.state.lock();
            match route.place {
                Place::Front => state.front.push_back((task, route)),
                Place::Back => state.back.push_back((task, route)),
            }
            state.shut
        };
        if shut && self.on_worker().is_none() {
            self.run_until_idle();
        }
    }

    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        member::worker_in(self.set)
    }

    fn shutdown(&self) {
        self.state.lock().shut = true;
        if self.on_worker().is_none() {
            self.run_until_idle();
        }
    }
}

impl<T> std::fmt::Debug for Inline<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inline").finish_non_exhaustive()
    }
}
