//! What background I/O may cost those who wait: found by measuring, not by a constant.
//!
//! A count of background I/Os says nothing about what they cost. One of 128 KiB among reads of
//! 8 KiB doubles the time of a read on a drive with a narrow link, and is not noticed on a
//! fast one. So what is held is the *time* of synchronous I/Os at the device: beside background
//! I/O it may be so many times what it is without.
//!
//! Both are measured in windows of interactive I/Os. Each begins quietly: background I/O is held
//! back until some synchronous ones have had the device without it. In the rest of the window
//! it has its share, and the mean time of the synchronous ones says whether that is too much:
//!
//! ```text
//!   ├─ quiet ─┼──────────── open ────────────┤├─ quiet ─┼──── …
//!    mean: alone       mean: beside             share lowered, if beside > alone × slowdown,
//!                                               raised, if beside is far below
//! ```
//!
//! The share is a distance (so many interactive I/Os end between the end of a background I/O and
//! the next one's start) or, on a device that does not mind, background I/Os beyond the minimum of
//! their class. It is bounded on both sides, so the background always gets on. A window in which no
//! background I/O was met says nothing of what one costs. Where hardly anybody waits, the distance is
//! given up; and with no interactive I/O there is nothing to hold.

/// What background I/O may cost synchronous I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyBudget {
    /// Mean time of synchronous I/Os at the device beside background I/O, in thousandths of what it
    /// is without.
    pub slowdown_permille: u32,
    /// Interactive I/Os that end between a background I/O's end and the next one's start, at most:
    /// the background's least share.
    pub spacing_max: u32,
    /// Background I/Os at the device beyond the minimum of their class, at most: its greatest.
    pub extra_max: u32,
}

impl LatencyBudget {
    /// By eye: half as long again is hardly noticed; one background I/O for 32 others still ends a
    /// scrub; a few beyond the minimum are enough to fill what readers leave.
    pub const SHIPPED: Self = Self { slowdown_permille: 1500, spacing_max: 32, extra_max: 3 };
}

/// Interactive I/Os of a window.
const WINDOW: u32 = 256;
/// Synchronous ones that must have had the device to themselves before the quiet ends, …
const ALONE_WANTED: u32 = 16;
/// … and interactive ones after which it ends all the same.
const QUIET_MAX: u32 = 64;
/// Synchronous ones beside background I/O without which a window says nothing.
const BESIDE_WANTED: u32 = 32;
/// With fewer of them in a window hardly anybody waits, and there is nothing to hold.
const WAITED_MIN: u32 = 8;
/// Below so many thousandths of the budget the share is raised.
const ROOMY_PERMILLE: u64 = 850;

/// The share that background I/O has beside other I/O.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    budget: LatencyBudget,
    spacing: u32,
    extra: u32,
    /// Interactive I/Os that have ended since a background one did.
    since_background: u32,
    window: Window,
}

/// What has ended in the present window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Interactive I/Os.
    ended: u32,
    /// Synchronous ones of them.
    waited: u32,
    alone: Mean,
    beside: Mean,
    /// One of those beside did meet a background I/O.
    has_met: bool,
}

impl Window {
    fn is_quiet(&self) -> bool {
        self.alone.count < ALONE_WANTED && self.ended < QUIET_MAX
    }

    fn take(&mut self, sample: Option<Sample>) {
        if let Some(sample) = sample {
            self.waited += 1;
            if !self.is_quiet() {
                self.beside.add(sample.service_ns);
                self.has_met |= !sample.was_alone;
            } else if sample.was_alone {
                self.alone.add(sample.service_ns);
            }
        }
        self.ended += 1;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    count: u32,
    sum_ns: u64,
}

impl Mean {
    fn add(&mut self, ns: u64) {
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    fn ns(self) -> Option<u64> {
        self.sum_ns.checked_div(u64::from(self.count))
    }
}

/// How a synchronous I/O went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) service_ns: u64,
    /// No background I/O was at the device at any time in between.
    pub(crate) was_alone: bool,
}

impl Pace {
    pub(crate) fn new(budget: LatencyBudget) -> Self {
        Self { budget, spacing: 0, extra: 0, since_background: 0, window: Window::default() }
    }

    /// Takes a new budget; what was found stays, as far as it allows it.
    pub(crate) fn adjust(&mut self, budget: LatencyBudget) {
        self.budget = budget;
        self.spacing = self.spacing.min(budget.spacing_max);
        self.extra = self.extra.min(budget.extra_max);
    }

    /// Background I/Os of a class that may be at the device beside others.
    pub(crate) fn limit(&self, min: u32, max: u32) -> u32 {
        if self.window.is_quiet() || self.since_background < self.spacing {
            return 0;
        }
        self.share(min, max)
    }

    /// The same where nothing is to be held just now.
    pub(crate) fn share(&self, min: u32, max: u32) -> u32 {
        min.saturating_add(self.extra).min(max.max(min))
    }

    pub(crate) fn background_ended(&mut self) {
        self.since_background = 0;
    }

    /// An interactive I/O ended; `sample`: it was a synchronous one.
    pub(crate) fn interactive_ended(&mut self, sample: Option<Sample>) {
        self.since_background = self.since_background.saturating_add(1);
        self.window.take(sample);
        if self.window.ended >= WINDOW {
            let window = std::mem::take(&mut self.window);
            self.judge(window);
        }
    }

    fn judge(&mut self, Window { waited, alone, beside, has_met, .. }: Window) {
        if waited < WAITED_MIN {
            self.come_nearer();
            return;
        }
        let is_enough = alone.count >= ALONE_WANTED && beside.count >= BESIDE_WANTED;
        if !is_enough || !has_met {
            return;
        }
        let (Some(alone_ns), Some(beside_ns)) = (alone.ns(), beside.ns()) else { return };
        let budget_ns = alone_ns.saturating_mul(u64::from(self.budget.slowdown_permille)) / 1000;
        if beside_ns > budget_ns {
            self.lower();
        } else if beside_ns < budget_ns.saturating_mul(ROOMY_PERMILLE) / 1000 {
            self.raise();
        }
    }

    fn lower(&mut self) {
        match self.extra.checked_sub(1) {
            Some(extra) => self.extra = extra,
            None => {
                let spacing = self.spacing.saturating_add(self.spacing / 2 + 1);
                self.spacing = spacing.min(self.budget.spacing_max);
            }
        }
    }

    fn raise(&mut self) {
        if self.spacing == 0 {
            self.extra = (self.extra + 1).min(self.budget.extra_max);
        } else {
            self.come_nearer();
        }
    }

    fn come_nearer(&mut self) {
        self.spacing -= self.spacing.div_ceil(3);
    }
}
