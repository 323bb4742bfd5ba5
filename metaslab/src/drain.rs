//! How fast a vdev drains what it was given.
//!
//! By Little's law the time that a byte takes is the bytes under way, on average, over the
//! bytes done per time. Both are sums that need no stamp on each write:
//!
//! ```text
//! bytes ▲    ┌──┐
//! under │ ┌──┘  └──┐            area under the curve        bytes·ns
//! way   │─┘ ////// └──┐    ──────────────────────────── = ─────────── = ns
//!       └─────────────────▶ t    bytes done meanwhile          bytes
//! ```
//!
//! Time per byte and not bytes per time, because a fast vdev that has little to do is not slow.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use zio_core::{Released, Slots};

/// Bytes done after which what was before counts half.
const WINDOW_BYTES: u64 = 256 << 10;

/// Nanoseconds that never go backwards.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    pub(crate) fn system() -> Self {
        let start = Instant::now();
        Self::given(move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn given(now_ns: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ns))
    }
}

/// The writes under way to one vdev, and how long they take.
pub(crate) struct Drain {
    clock: Clock,
    /// Counted by the [`Slots`] that were handed out.
    sent_bytes: Arc<AtomicU64>,
    flow: Mutex<Flow>,
    /// For those who need no exact one; 0 before the first write is done.
    time_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct Flow {
    sent_bytes: u64,
    at_ns: u64,
    /// Bytes times the nanoseconds they were under way.
    area: u128,
    done_bytes: u64,
}

impl Flow {
    fn advance(&mut self, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.at_ns);
        self.at_ns += passed_ns;
        let area = u128::from(self.sent_bytes) * u128::from(passed_ns);
        self.area = self.area.saturating_add(area);
    }

    fn time_ns(&self) -> u64 {
        let time_ns = self.area.checked_div(u128::from(self.done_bytes)).unwrap_or(0);
        // 0 would mean that nothing is known.
        if self.done_bytes == 0 { 0 } else { u64::try_from(time_ns).unwrap_or(u64::MAX).max(1) }
    }
}

impl Drain {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            sent_bytes: Arc::default(),
            flow: Mutex::default(),
            time_ns: AtomicU64::new(0),
        })
    }

    /// Counts bytes as under way until the value is dropped.
    pub(crate) fn sent(self: &Arc<Self>, bytes: u64) -> Option<Slots> {
        let mut slots = Slots::take(&self.sent_bytes, u64::MAX / 2, bytes.min(u64::MAX / 4))?;
        slots.on_release(Arc::clone(self) as Arc<dyn Released>);
        let now_ns = (self.clock.0)();
        let mut flow = self.flow.lock();
        flow.advance(now_ns);
        flow.sent_bytes += slots.bytes();
        Some(slots)
    }

    /// Bytes under way.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// How long a write takes, as last seen; 0 while nothing is known.
    pub(crate) fn time_ns(&self) -> u64 {
        self.time_ns.load(Ordering::Relaxed)
    }
}

impl Released for Drain {
    fn released(&self, bytes: u64) {
        let now_ns = (self.clock.0)();
        let mut flow = self.flow.lock();
        flow.advance(now_ns);
        flow.sent_bytes = flow.sent_bytes.saturating_sub(bytes);
        flow.done_bytes = flow.done_bytes.saturating_add(bytes);
        self.time_ns.store(flow.time_ns(), Ordering::Relaxed);
        if flow.done_bytes >= WINDOW_BYTES {
            flow.area /= 2;
            flow.done_bytes /= 2;
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("sent_bytes", &self.sent_bytes())
            .field("time_ns", &self.time_ns())
            .finish_non_exhaustive()
    }
}
