//! Time as the keeper of a set sees it: the system's, or, in tests, one that is moved by hand.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::bell::Bell;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Where a set of queues gets its time from. Workers never look at it; delayed tasks, threads that
/// leave and the look after a stuck shard go by it.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// Nanoseconds since this moment.
    System(Instant),
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn now_ns(&self) -> u64 {
        match self {
            Self::System(start) => nanos(start.elapsed()),
            Self::Manual(clock) => clock.now_ns(),
        }
    }

    /// From now on the bell rings when the time is moved by hand.
    pub(crate) fn attach(&self, bell: &Arc<Bell>) {
        if let Self::Manual(clock) = self {
            clock.0.bells.lock().push(Arc::downgrade(bell));
        }
    }

    /// How long to wait, at most, for a moment to come; `None` is until the bell rings.
    pub(crate) fn time_until(&self, at_ns: Option<u64>) -> Option<Duration> {
        match self {
            Self::System(_) => {
                at_ns.map(|at| Duration::from_nanos(at.saturating_sub(self.now_ns())))
            }
            Self::Manual(_) => None,
        }
    }

    /// Stands still. Time that is moved by hand is not waited for.
    pub(crate) fn pause(&self, pause_ns: u64) {
        if matches!(self, Self::System(_)) && pause_ns > 0 {
            std::thread::sleep(Duration::from_nanos(pause_ns));
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::System(Instant::now())
    }
}

/// Longer than 584 years is for ever.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A clock that stands still until it is moved, for tests of what takes time
/// ([`Config::clock`](crate::Config::clock)). Clones are the same clock.
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use taskq::{Config, Job, ManualClock, Taskq};
/// use zio_core::{QueueKind, Route, ZioType};
///
/// let clock = ManualClock::new();
/// let queue = Taskq::<Job>::new(Config::single("work", 1).clock(&clock));
/// let (sender, receiver) = mpsc::channel();
/// let job = Job::new(move || sender.send("an hour later").unwrap());
/// let route = Route::back(ZioType::Null, QueueKind::Issue);
/// queue.dispatch_after(job, route, Duration::from_secs(3600));
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(receiver.recv(), Ok("an hour later"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<Manual>);

#[derive(Debug, Default)]
struct Manual {
    now_ns: AtomicU64,
    bells: Mutex<Vec<Weak<Bell>>>,
}

impl ManualClock {
    /// A clock that shows zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time forward, and has everybody look at it. What falls due is done by other
    /// threads, soon after this returns.
    pub fn advance(&self, by: Duration) {
        self.0.now_ns.fetch_add(nanos(by), Ordering::SeqCst);
        self.0.bells.lock().retain(|bell| bell.upgrade().inspect(|bell| bell.ring()).is_some());
    }

    /// What the clock shows, in ns.
    fn now_ns(&self) -> u64 {
        self.0.now_ns.load(Ordering::SeqCst)
    }
}
