//! A named thread that runs for long: the reaper of a ring, a background scanner.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use crate::config::plain_name;

/// A long-running thread that is told to stop, and waited for, when this is dropped.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use taskq::{Service, Woken};
///
/// let rounds = Arc::new(AtomicU32::new(0));
/// let seen = Arc::clone(&rounds);
/// let service = Service::spawn("reaper", move |stop| {
///     while stop.wait() != Woken::Stop {
///         seen.fetch_add(1, Ordering::Relaxed);
///     }
/// })?;
/// service.notify();
/// while rounds.load(Ordering::Relaxed) == 0 {
///     std::thread::yield_now();
/// }
/// drop(service);
/// assert_eq!(rounds.load(Ordering::Relaxed), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Service {
    stop: StopFlag,
    /// Gets the body out of whatever it waits for besides its flag.
    interrupt: Box<dyn Fn() + Send + Sync>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Service {
    /// Starts a thread of this name (cut to 15 bytes) that runs `body` once. The body returns
    /// soon after its [`StopFlag`] is set; if it waits elsewhere than at the flag, see
    /// [`Self::spawn_with`].
    ///
    /// # Errors
    ///
    /// The operating system's refusal of a thread.
    pub fn spawn(name: &str, body: impl FnOnce(StopFlag) + Send + 'static) -> io::Result<Self> {
        Self::spawn_with(name, || {}, body)
    }

    /// As [`Self::spawn`]; `interrupt` is called each time the service is stopped or notified,
    /// after the flag says so, by whoever does it. It gets the body out of a wait of its own,
    /// such as one on a device.
    ///
    /// # Errors
    ///
    /// The operating system's refusal of a thread.
    pub fn spawn_with(
        name: &str,
        interrupt: impl Fn() + Send + Sync + 'static,
        body: impl FnOnce(StopFlag) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = StopFlag::default();
        let flag = stop.clone();
        let thread = thread::Builder::new().name(plain_name(name)).spawn(move || body(flag))?;
        Ok(Self { stop, interrupt: Box::new(interrupt), thread: Some(thread) })
    }

    /// Wakes the body from [`StopFlag::wait`], now or when it next gets there. Several calls
    /// before it looks count as one.
    pub fn notify(&self) {
        self.stop.notify();
        (self.interrupt)();
    }

    /// Tells the body to stop, without waiting for it.
    pub fn stop(&self) {
        self.stop.set();
        (self.interrupt)();
    }

    /// A flag of the same service, for those who notify it from elsewhere.
    pub fn flag(&self) -> StopFlag {
        self.stop.clone()
    }

    /// Has the body returned (or panicked)?
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(thread::JoinHandle::is_finished)
    }

    /// Stops the body and waits for it. From within the body itself it does not wait.
    ///
    /// # Errors
    ///
    /// The body panicked.
    pub fn join(mut self) -> Result<(), ServicePanicked> {
        self.finish()
    }

    /// Lets the body run to its end by itself; nobody stops it or waits for it.
    pub fn detach(mut self) {
        drop(self.thread.take());
    }

    fn finish(&mut self) -> Result<(), ServicePanicked> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.stop();
        if thread.thread().id() == thread::current().id() {
            return Ok(());
        }
        thread.join().map_err(|_| ServicePanicked)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The thread's own panic message has told it; a destructor has nobody to tell.
        let _ = self.finish();
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.thread.as_ref().and_then(|thread| thread.thread().name());
        f.debug_struct("Service").field("name", &name).finish_non_exhaustive()
    }
}

/// The body of a [`Service`] panicked; the message went to stderr when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicePanicked;

impl fmt::Display for ServicePanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of a service panicked")
    }
}

impl std::error::Error for ServicePanicked {}

/// Why a wait on a [`StopFlag`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The service is to stop. Every later wait says so too.
    Stop,
    /// Somebody notified it since the last wait.
    Notified,
    /// The time is over.
    TimedOut,
}

/// What the body of a [`Service`] looks at. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    state: Mutex<FlagState>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct FlagState {
    stop: bool,
    notified: bool,
    /// Only then is there anybody to wake.
    waiters: usize,
}

impl StopFlag {
    /// Is the service to stop?
    pub fn is_set(&self) -> bool {
        self.state().stop
    }

    /// Sleeps until the service is stopped or notified.
    pub fn wait(&self) -> Woken {
        self.sleep(None)
    }

    /// The same, for at most so long.
    pub fn wait_timeout(&self, timeout: Duration) -> Woken {
        self.sleep(Some(timeout))
    }

    /// Wakes the body from a wait, now or when it next gets there. Cheap while it is awake.
    pub fn notify(&self) {
        self.change(|state| state.notified = true);
    }

    fn set(&self) {
        self.change(|state| state.stop = true);
    }

    fn change(&self, change: impl FnOnce(&mut FlagState)) {
        let mut state = self.state();
        change(&mut state);
        let anybody = state.waiters > 0;
        drop(state);
        if anybody {
            self.0.changed.notify_all();
        }
    }

    fn sleep(&self, timeout: Option<Duration>) -> Woken {
        // A timeout beyond the clock's range is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.state();
        loop {
            if state.stop {
                return Woken::Stop;
            }
            if std::mem::take(&mut state.notified) {
                return Woken::Notified;
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Woken::TimedOut;
            }
            state.waiters += 1;
            state = match left {
                None => self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let result = self.0.changed.wait_timeout(state, left);
                    result.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waiters -= 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, FlagState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
